//! What the events of a saga say about it.

use std::time::Duration;

use super::*;
use crate::aggregate::Timestamp;
use crate::command::Command;
use crate::ids::{NAMESPACE, OrderId, ShipmentId};
use crate::money::Money;
use crate::shipment::{self, PlanShipment};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_timestamp(1_760_000_000, 0).unwrap() + Duration::from_secs(seconds)
}

fn started() -> Event {
    let order_id = OrderId::default();
    Event::SagaStarted(SagaStarted {
        saga: "order_fulfilment".into(),
        definition_version: 1,
        subject: Subject { order_id },
        source: Source { stream: order_id.stream(), version: 0, event: "OrderPlaced".into() },
        facts: Facts::Order(OrderFacts {
            order_id,
            items: vec![],
            total: Money::zero(Default::default()),
            payment_method: "tok_approve".into(),
            tags: vec![],
            placed_on: at(0).date_naive(),
        }),
    })
}

fn command() -> IssuedCommand {
    let id = ShipmentId::derive(OrderId::default(), 0);
    let command = shipment::Command::PlanShipment(PlanShipment { order_id: OrderId::default(), lines: vec![] });
    let command = Command::Shipment { id, command };
    IssuedCommand {
        id: saga_engine::ids::command(&NAMESPACE, "saga_order_fulfilment-x", "plan_shipment", "do", 0, &id.stream()),
        target: id.stream(),
        name: command.name().into(),
        body: CommandBody::of(&command),
    }
}

fn step_started(from: Party) -> Event {
    Event::StepStarted(StepStarted {
        step: "plan_shipment".into(),
        kind: Kind::Compensatable,
        group: 0,
        commands: vec![command()],
        awaits: Some(Awaits { fact: "ShipmentReady".into(), from }),
        check_at: Some(at(10)),
        deadline: Some(at(100)),
    })
}

fn answered() -> Event {
    let answers = vec![Answer { command_id: command().id, rejected: None }];
    Event::CommandAnswered(CommandAnswered {
        step: "plan_shipment".into(),
        group: 0,
        direction: Direction::Do,
        answers,
        deadline: None,
    })
}

fn failure(code: &str) -> Failure {
    Failure { kind: ErrorKind::Rejected, code: code.into(), detail: "because".into() }
}

fn view(events: &[Event]) -> View {
    View::of(events.iter().zip(0u64..).map(|(event, second)| (event, at(second))))
}

#[test]
fn what_is_written_is_read_back_to_the_byte() {
    for event in [started(), step_started(Party::Warehouse), answered()] {
        let encoded = event.encode();
        let read = Event::decode(encoded.event_type, encoded.schema_version, encoded.data.get()).unwrap();
        assert_eq!(read, event);
        assert_eq!(read.encode().data.get(), encoded.data.get());
        assert!(Event::TYPES.contains(&(event.name(), 1)));
    }
}

#[test]
fn an_unknown_type_and_a_newer_schema_are_told_apart() {
    assert!(matches!(Event::decode("SagaFlew", 1, "{}"), Err(crate::DecodeError::UnknownType(_))));
    assert!(matches!(Event::decode("SagaCompleted", 2, "{}"), Err(crate::DecodeError::NewerSchema { .. })));
}

#[test]
fn a_saga_that_waits_for_the_warehouse_is_settled_only_once_its_command_is_answered() {
    let open = view(&[started(), step_started(Party::Warehouse)]);
    assert_eq!((open.state(), open.settled()), (SagaState::Waiting, false));
    let waiting = view(&[started(), step_started(Party::Warehouse), answered()]);
    assert_eq!((waiting.state(), waiting.settled()), (SagaState::Waiting, true));
    assert_eq!(waiting.waits_for(), ["plan_shipment: ShipmentReady from the warehouse"]);
    assert_eq!(waiting.deadline(), Some(at(100)));
}

#[test]
fn a_saga_that_waits_for_the_provider_is_never_settled() {
    let waiting = view(&[started(), step_started(Party::Provider), answered()]);
    assert_eq!((waiting.state(), waiting.settled()), (SagaState::Waiting, false));
}

#[test]
fn a_saga_that_goes_back_shows_what_is_undone_and_what_is_still_to_come() {
    let step = |name: &str| StepRef { step: name.into(), group: 0 };
    let failed = StepFailed {
        step: "plan_shipment".into(),
        group: 0,
        source: None,
        failure: failure("no"),
        answers: vec![],
        leaves_nothing: false,
    };
    let undo = UndoStarted {
        step: "plan_shipment".into(),
        group: 0,
        round: 0,
        commands: vec![command()],
        awaits: None,
        next_at: None,
        check_at: None,
    };
    let mut events = vec![
        started(),
        step_started(Party::Warehouse),
        Event::StepFailed(failed),
        Event::CompensationStarted(CompensationStarted {
            reason: "no".into(),
            steps: vec![step("plan_shipment"), step("start")],
        }),
        Event::UndoStarted(undo),
    ];
    let back = view(&events);
    assert_eq!((back.state(), back.settled(), back.step()), (SagaState::Compensating, false, Some("plan_shipment")));
    assert_eq!(back.compensations(), [(step("plan_shipment"), Some(LegStatus::Open)), (step("start"), None)]);
    assert_eq!(back.error_kind(), Some("rejected"));
    events.push(Event::UndoSucceeded(UndoSucceeded { step: "plan_shipment".into(), group: 0, source: None }));
    events.push(Event::SagaCompensated(SagaCompensated { reason: "no".into() }));
    let end = view(&events);
    assert_eq!((end.state(), end.settled(), end.ended_at), (SagaState::Compensated, true, Some(at(6))));
    assert!(end.waits_for().is_empty());
}

#[test]
fn attention_goes_away_when_the_step_goes_on() {
    let attention = SagaNeedsAttention {
        step: "plan_shipment".into(),
        group: 0,
        direction: Direction::Do,
        failure: failure("overdue"),
        stuck: false,
        source: None,
    };
    let mut events = vec![started(), step_started(Party::Warehouse), answered(), Event::SagaNeedsAttention(attention)];
    assert_eq!(view(&events).state(), SagaState::NeedsAttention);
    assert!(view(&events).settled());
    events.push(Event::StepSucceeded(StepSucceeded {
        step: "plan_shipment".into(),
        group: 0,
        source: None,
        lapses_at: None,
        renew_at: None,
    }));
    assert_eq!(view(&events).state(), SagaState::Running);
}

#[test]
fn a_retry_shows_its_attempt_its_time_and_its_error() {
    let retry = StepRetryScheduled {
        step: "plan_shipment".into(),
        group: 0,
        direction: Direction::Do,
        attempt: 1,
        next_at: at(5),
        check_at: None,
        answers: vec![],
        failure: failure("busy"),
        too_late: None,
    };
    let view = view(&[started(), step_started(Party::Warehouse), Event::StepRetryScheduled(retry)]);
    assert_eq!((view.attempts(), view.next_attempt()), (2, Some(at(5))));
    assert_eq!(view.last_error().map(ToString::to_string).as_deref(), Some("busy: because"));
}

fn acted(action: Action, step: Option<&str>) -> Event {
    Event::OperatorActed(OperatorActed {
        action,
        actor: "alice".into(),
        reason: "the carrier called".into(),
        step: step.map(str::to_owned),
        group: step.map(|_| 0),
        direction: step.map(|_| Direction::Do),
        deadline: step.map(|_| at(900)),
        request_id: uuid::Uuid::from_u128(9),
    })
}

#[test]
fn what_a_person_does_is_told_and_answers_the_call() {
    let attention = |stuck| {
        Event::SagaNeedsAttention(SagaNeedsAttention {
            step: "plan_shipment".into(),
            group: 0,
            direction: Direction::Do,
            failure: failure("overdue"),
            stuck,
            source: None,
        })
    };
    let events = [started(), step_started(Party::Warehouse), answered(), attention(false)];
    let mut resumed = view(&events);
    resumed.fold(&acted(Action::Resume, Some("plan_shipment")), at(7));
    assert_eq!((resumed.state(), resumed.deadline()), (SagaState::Waiting, Some(at(900))));
    let told = &resumed.actions[0];
    assert_eq!((told.action, told.actor.as_str(), told.at), (Action::Resume, "alice", at(7)));
    assert_eq!((told.step.as_deref(), told.direction), (Some("plan_shipment"), Some(Direction::Do)));
    let encoded = acted(Action::HandOver, None).encode();
    assert!(encoded.data.get().starts_with(r#"{"action":"hand-over","actor":"alice","reason":"#));
    assert_eq!(Event::decode("OperatorActed", 1, encoded.data.get()).unwrap(), acted(Action::HandOver, None));
}

#[test]
fn a_saga_that_nobody_could_follow_goes_on_once_it_is_resumed() {
    let attention = Event::SagaNeedsAttention(SagaNeedsAttention {
        step: String::new(),
        group: 0,
        direction: Direction::Do,
        failure: Failure { kind: ErrorKind::Unsupported, ..failure("unknown-definition") },
        stuck: true,
        source: None,
    });
    let mut events = vec![started(), step_started(Party::Warehouse), answered(), attention];
    assert_eq!(view(&events).state(), SagaState::NeedsAttention);
    events.push(acted(Action::Resume, None));
    assert_eq!(view(&events).state(), SagaState::Waiting);
}

#[test]
fn only_attention_for_want_of_an_answer_ends_with_the_first_answer() {
    let unavailable = Failure { kind: ErrorKind::Unavailable, ..failure("unavailable") };
    for (failure, then) in [(unavailable, SagaState::Waiting), (failure("overdue"), SagaState::NeedsAttention)] {
        let attention = SagaNeedsAttention {
            step: "plan_shipment".into(),
            group: 0,
            direction: Direction::Do,
            failure,
            stuck: false,
            source: None,
        };
        let called = [started(), step_started(Party::Warehouse), Event::SagaNeedsAttention(attention)];
        assert_eq!(view(&called).state(), SagaState::NeedsAttention);
        let answered = called.into_iter().chain([answered()]).collect::<Vec<_>>();
        assert_eq!(view(&answered).state(), then);
    }
}

fn calls_for_a_person(failure: Failure, stuck: bool) -> Event {
    let (step, group, direction) = ("plan_shipment".into(), 0, Direction::Do);
    Event::SagaNeedsAttention(SagaNeedsAttention { step, group, direction, failure, stuck, source: None })
}

#[test]
fn a_saga_that_needs_attention_for_want_of_an_answer_is_not_settled() {
    let unavailable = || Failure { kind: ErrorKind::Unavailable, ..failure("unavailable") };
    let begun = [started(), step_started(Party::Warehouse)];
    let called = view(&[&begun[..], &[calls_for_a_person(unavailable(), false)]].concat());
    assert_eq!((called.state(), called.settled()), (SagaState::NeedsAttention, false));
    for (failure, stuck) in [(failure("overdue"), false), (failure("refused"), true), (unavailable(), true)] {
        let called = view(&[&begun[..], &[calls_for_a_person(failure, stuck)]].concat());
        assert_eq!((called.state(), called.settled()), (SagaState::NeedsAttention, true));
    }
}

#[test]
fn what_stands_still_settles_a_saga_also_while_something_else_of_it_is_not_answered() {
    let unavailable = Failure { kind: ErrorKind::Unavailable, ..failure("unavailable") };
    let other = Event::StepStarted(StepStarted {
        step: "allow_dispatch".into(),
        kind: Kind::Retriable,
        group: 0,
        commands: vec![command()],
        awaits: None,
        check_at: None,
        deadline: None,
    });
    let (unanswered, stuck) = (calls_for_a_person(unavailable, false), calls_for_a_person(failure("refused"), true));
    let mut both = view(&[started(), step_started(Party::Warehouse), unanswered, other]);
    assert!(!both.settled());
    let Event::SagaNeedsAttention(stuck) = stuck else { panic!("it is a call for a person") };
    both.fold(&Event::SagaNeedsAttention(SagaNeedsAttention { step: "allow_dispatch".into(), ..stuck }), at(9));
    assert_eq!((both.state(), both.settled()), (SagaState::NeedsAttention, true));
}
