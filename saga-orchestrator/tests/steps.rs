//! From the table, step by step: each repeated, refused and without an answer, and each prefix of a saga's events leads
//! to the same end.

mod world;

use std::time::Duration;

use chrono::TimeDelta;
use domain::saga::{Direction, ErrorKind, Event, Failure, LateBy, LegStatus, Note, SagaState};
use domain::shipment::Status as ShipmentStatus;
use saga_engine::{Answered, next_timer, pending, react};
use saga_orchestrator::shop::Input;
use saga_orchestrator::{Outcome, sagas};
use world::World;
use world::shop::ORDER;
use world::story::{MINUTES, names};

fn stream() -> String {
    sagas::stream("order_fulfilment", ORDER)
}

/// A saga that has gone all the way.
fn completed() -> World {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.deliver(), Outcome::Done);
    world.settle();
    assert_eq!(world.saga_state("order_fulfilment", ORDER), SagaState::Completed);
    world
}

/// The saga as it stood after each of its events, with the commands that were pending then.
fn at_each_event(world: &World) -> Vec<(saga_orchestrator::shop::State, Vec<saga_engine::engine::Pending>)> {
    let events = world.sagas[&stream()].len();
    let states = (1..=events).map(|count| world.state_after(&stream(), count));
    states.map(|state| (state.clone(), pending(&state, world.now))).collect()
}

#[test]
fn every_answer_that_comes_again_changes_nothing() {
    let world = completed();
    let end = world.state(&stream());
    for (state, steps) in at_each_event(&world) {
        for step in steps {
            let answers: Vec<_> =
                step.commands.iter().map(|c| Answered { command_id: c.id, outcome: Outcome::Done }).collect();
            let input = Input::Answers(answers);
            assert_eq!(react(&end, &input, world.now, &world.config), []);
            // Once taken in, it is not taken in again.
            let mut after = state.clone();
            for event in react(&state, &input, world.now, &world.config) {
                world::evolve(&mut after, &event, world.now);
            }
            let awaits = after.legs.iter().any(|leg| leg.status == LegStatus::Open && leg.awaits_asked());
            assert!(react(&after, &input, world.now, &world.config).is_empty() || awaits);
        }
    }
}

#[test]
fn every_command_is_sent_again_to_the_byte_after_any_event() {
    let world = completed();
    for (state, steps) in at_each_event(&world) {
        for step in steps {
            for command in step.commands {
                let issued = state.legs.iter().flat_map(|leg| &leg.commands).find(|(c, _)| c.id == command.id).unwrap();
                assert_eq!(issued.0.body, command.body);
            }
        }
    }
}

#[test]
fn every_step_refused_before_the_pivot_goes_back_and_after_it_never() {
    let mut refused_steps = Vec::new();
    let world = completed();
    for (state, steps) in at_each_event(&world) {
        for step in steps {
            let name =
                state.legs.iter().rev().find(|leg| leg.commands.iter().any(|(c, _)| c.id == step.commands[0].id));
            let (name, kind) = name.map(|leg| (leg.step.name, leg.step.kind)).unwrap();
            let outcome = Outcome::Rejected { code: "no-such-luck".into(), detail: "the test says no".into() };
            let answers =
                step.commands.iter().map(|c| Answered { command_id: c.id, outcome: outcome.clone() }).collect();
            let events = react(&state, &Input::Answers(answers), world.now, &world.config);
            let back = events.iter().any(|event| matches!(event, Event::CompensationStarted(_)));
            let attention = events.iter().any(|event| matches!(event, Event::SagaNeedsAttention(_)));
            let over = events.iter().any(|event| matches!(event, Event::SagaHandedOver(_)));
            // What is done once more begins when what the attempt before left is let go.
            let redone = events.iter().any(|event| matches!(event, Event::UndoStarted(e) if e.step != name));
            match kind {
                domain::saga::Kind::Start | domain::saga::Kind::Compensatable => assert!(back || redone, "{name}"),
                domain::saga::Kind::Pivot => assert!(redone, "{name}"),
                domain::saga::Kind::Retriable => assert!(!back && (attention || over), "{name}: {events:?}"),
            }
            refused_steps.push(name);
        }
    }
    for step in sagas::order_fulfilment::ORDER_FULFILMENT.steps {
        let sends = !matches!(step.name, "start" | "risk_review" | "hold_released");
        assert_eq!(refused_steps.contains(&step.name), sends, "{}", step.name);
    }
}

#[test]
fn every_step_without_an_answer_is_tried_again_later_each_time() {
    let world = completed();
    for (state, steps) in at_each_event(&world) {
        for step in steps {
            let silent = Outcome::Unavailable { detail: "nobody there".into(), retry_after: None };
            let mut state = state.clone();
            let (mut now, mut before) = (world.now, Duration::ZERO);
            for attempt in 1..=3 {
                let answers =
                    step.commands.iter().map(|c| Answered { command_id: c.id, outcome: silent.clone() }).collect();
                let events = react(&state, &Input::Answers(answers), now, &world.config);
                let Some(Event::StepRetryScheduled(retry)) = events.first() else { panic!("no retry: {events:?}") };
                assert_eq!((retry.attempt, retry.failure.kind), (attempt, ErrorKind::Unavailable));
                let wait = (retry.next_at - now).to_std().unwrap();
                assert!(wait > before, "the waits grow: {before:?}, then {wait:?}");
                before = wait;
                for event in &events {
                    world::evolve(&mut state, event, now);
                }
                let due = |state: &_, now| pending(state, now).iter().any(|p| p.commands[0].id == step.commands[0].id);
                assert!(!due(&state, now), "not before its time");
                now = retry.next_at;
                assert!(due(&state, now), "but then");
            }
        }
    }
}

/// A process that is paused with a command in its hand must not become able to act when the ends of reservations are
/// long forgotten.
#[test]
fn the_times_of_a_refusal_as_too_late_are_those_of_the_next_attempt_only() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.unavailable.insert("ReserveStock", u32::MAX);
    world.settle();
    let (mut state, mut now) = (world.state(&stream()), world.now);
    let mut answered = |outcome: Outcome| {
        let timer = next_timer(&state, now);
        now = timer.unwrap_or(now).max(now);
        let step = pending(&state, now).remove(0);
        let answers = step.commands.iter().map(|c| Answered { command_id: c.id, outcome: outcome.clone() }).collect();
        for event in react(&state, &Input::Answers(answers), now, &world.config) {
            world::evolve(&mut state, &event, now);
        }
        (step.too_late, now)
    };
    let late = |at: domain::Timestamp| LateBy { now: at + TimeDelta::hours(25), stream_time: None };
    let nobody = || Outcome::Unavailable { detail: "nobody there".into(), retry_after: None };
    let (_, now) = answered(nobody());
    let late = late(now);
    answered(Outcome::TooLate(late));
    assert_eq!(answered(nobody()).0, Some(late), "the refusal proves that the step is still open");
    assert_eq!(answered(nobody()).0, None, "it does so once");
    assert_eq!(answered(Outcome::TooLate(late)).0, None);
    assert_eq!(answered(Outcome::Done).0, Some(late), "and again when it is refused again");
}

#[test]
fn every_undo_without_an_answer_goes_on_and_calls_a_person() {
    for undo in ["RequestPaymentVoid", "CancelShipment", "ReleaseReservation", "CancelOrder"] {
        let mut world = World::with_stock(10, 5);
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.unavailable.insert(undo, u32::MAX);
        world.pass(MINUTES(7));
        assert_eq!(world.saga_state("order_fulfilment", ORDER), SagaState::NeedsAttention, "{undo}");
        world.unavailable.clear();
        world.pass(MINUTES(2));
        assert_eq!(world.saga_state("order_fulfilment", ORDER), SagaState::Compensated, "{undo}: {:#?}", names(&world));
    }
}

#[test]
fn an_undo_that_is_refused_stands_still_until_a_person_acts() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    let state = world.state(&stream());
    let cancel = Input::Fact(
        domain::saga::Source { stream: ORDER.stream(), version: 99, event: "OrderCancellationRequested".into() },
        Box::new(saga_orchestrator::shop::Outside::Order(domain::order::Event::OrderCancellationRequested(
            domain::order::OrderCancellationRequested { reason: "x".into() },
        ))),
    );
    let mut back = state.clone();
    for event in react(&state, &cancel, world.now, &world.config) {
        world::evolve(&mut back, &event, world.now);
    }
    let step = pending(&back, world.now).remove(0);
    let no = Outcome::Rejected { code: "no".into(), detail: "no".into() };
    let answers = step.commands.iter().map(|c| Answered { command_id: c.id, outcome: no.clone() }).collect();
    let events = react(&back, &Input::Answers(answers), world.now, &world.config);
    let Some(Event::SagaNeedsAttention(attention)) = events.first() else { panic!("{events:?}") };
    assert_eq!((attention.direction, attention.stuck), (Direction::Undo, true));
    assert_eq!(attention.failure, Failure { kind: ErrorKind::Rejected, code: "no".into(), detail: "no".into() });
}

#[test]
fn a_lost_shipment_needs_a_person_also_when_the_news_comes_early() {
    for early in [false, true] {
        let mut world = World::with_stock(10, 5);
        world.place("tok_approve");
        world.settle();
        if early {
            world.unavailable.insert("ShipStock", 2);
        }
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        let lost = domain::shipment::ReportShipmentLost { reason: "at sea".into() };
        assert_eq!(world.shipment(domain::shipment::Command::ReportShipmentLost(lost)), Outcome::Done);
        world.pass(MINUTES(5));
        let ends = world.ends();
        assert_eq!(
            (ends.shipment, ends.fulfilment),
            (ShipmentStatus::Lost, SagaState::NeedsAttention),
            "early: {early}"
        );
    }
}

#[test]
fn a_delivery_that_comes_early_completes_the_order() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    world.unavailable.insert("ShipStock", 2);
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.deliver(), Outcome::Done);
    world.pass(MINUTES(5));
    assert_eq!(world.saga_state("order_fulfilment", ORDER), SagaState::Completed, "{:#?}", names(&world));
}

#[test]
fn a_saga_of_an_unknown_definition_needs_a_person_by_name() {
    let mut world = completed();
    let mut events = world.sagas[&stream()][..3].to_vec();
    if let Event::SagaStarted(started) = &mut events[0].0 {
        started.definition_version = 99;
    }
    world.sagas.insert(stream(), events);
    world.forget();
    world.input(&stream(), &Input::Time);
    world.input(&stream(), &Input::Time);
    let view = world.view(&stream());
    assert_eq!((view.state(), world.sagas[&stream()].len()), (SagaState::NeedsAttention, 4), "it is said once");
    assert!(view.last_error().unwrap().detail.contains("version 99 of the saga `order_fulfilment`"));
}

/// Up to 0.2.0 no hold was noted as that of the review.
#[test]
fn a_review_that_began_with_the_table_of_0_2_0_ends_by_its_release() {
    let mut world = World::with_stock(10, 5);
    world.config.risk.review_above.insert("EUR".into(), 300);
    world.place("tok_approve");
    world.settle();
    let mut events = world.sagas[&stream()].clone();
    let mut told = Vec::new();
    for (event, _) in &mut events {
        if let Event::SagaInputRecorded(noted) = event {
            told.push((noted.note, noted.about.take().map(|step| step.step)));
        }
    }
    assert_eq!(told, [(Note::Held, Some("risk_review".to_owned()))], "the hold is told once");
    if let Event::SagaStarted(started) = &mut events[0].0 {
        started.definition_version = 1;
    }
    world.sagas.insert(stream(), events);
    world.forget();
    world.pass(MINUTES(60));
    assert_eq!((world.saga_state("order_fulfilment", ORDER), world.ends().payments.len()), (SagaState::Waiting, 0));
    assert_eq!(world.release_hold(), Outcome::Done);
    world.settle();
    assert_eq!(world.ends().order, domain::order::Status::Confirmed, "{:#?}", names(&world));
}
