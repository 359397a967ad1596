//! What people do about sagas: every verb accepted where it repairs, refused where it would break a rule, and the end is
//! the same with the process killed at every moment.

mod world;

use domain::order::Status as OrderStatus;
use domain::payment::Status::{Authorized, Captured, Expired, Refunded, Voided};
use domain::saga::Action::{Compensate, HandOver, Resume, Retry, Skip};
use domain::saga::SagaState::{Compensated, Compensating, Completed, HandedOver, NeedsAttention, Waiting};
use domain::saga::{Action, Direction, ErrorKind, Event, Failure, SagaNeedsAttention};
use domain::shipment::Status as ShipmentStatus;
use saga_engine::engine::{Act, Refusal, Way, fits, plan};
use saga_orchestrator::shop::{Leg, amount};
use saga_orchestrator::{Outcome, sagas};
use world::World;
use world::people::asks;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends, names};

const FULFILMENT: &str = "order_fulfilment";
const REFUND: &str = "order_refund";

/// An order that the warehouse gives up after the capture: `order_refund` takes it back.
fn refunding(world: &mut World, token: &str) {
    world.unavailable.insert("DispatchShipment", 4);
    world.place(token);
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.cancel_shipment(), Outcome::Done);
    world.pass(MINUTES(5));
}

fn taken_back(payments: &[domain::payment::Status], reason: &str) -> Ends {
    let expected = ends(OrderStatus::Cancelled, reason, payments, HandedOver);
    Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), ..expected }
}

#[test]
fn a_refund_that_failed_is_asked_for_anew_and_the_order_is_taken_back() {
    let story = |world: &mut World| {
        refunding(world, "tok_refund_fails_once");
        assert!(world.needs_attention(REFUND), "{:#?}", names(world));
        assert_eq!(world.refuses(REFUND, Resume), Refusal::StandsStill("refund"));
        assert_eq!(world.refuses(REFUND, Compensate), Refusal::ForwardOnly);
        assert_eq!(world.refuses(REFUND, HandOver), Refusal::NobodyTakesOver);
        world.does(REFUND, Retry);
        world.settle();
    };
    always_ends(story, &taken_back(&[Refunded], "shipment_cancelled"));
}

#[test]
fn a_refund_that_was_made_by_hand_lets_the_rest_be_taken_back() {
    let story = |world: &mut World| {
        refunding(world, "tok_refund_fails");
        world.does(REFUND, Skip);
        world.settle();
    };
    always_ends(story, &taken_back(&[Captured], "shipment_cancelled"));
}

#[test]
fn a_void_that_kept_failing_is_asked_for_once_more() {
    let story = |world: &mut World| {
        world.place("tok_void_fails_5_times");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(60));
        assert!(world.needs_attention(FULFILMENT), "{:#?}", names(world));
        world.does(FULFILMENT, Retry);
        world.settle();
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_hold_that_was_let_go_by_hand_ends_the_way_back() {
    let story = |world: &mut World| {
        world.place("tok_void_fails");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(60));
        assert!(world.needs_attention(FULFILMENT), "{:#?}", names(world));
        assert_eq!(world.refuses(FULFILMENT, Compensate), Refusal::GoesBack("customer_request".into()));
        assert_eq!(world.refuses(FULFILMENT, HandOver), Refusal::GoesBack("customer_request".into()));
        world.does(FULFILMENT, Skip);
        world.settle();
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Authorized], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_provider_that_is_silent_is_asked_again_at_once() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_void_silent");
    world.settle();
    assert_eq!(world.cancel(), Outcome::Done);
    world.pass(MINUTES(60));
    assert!(world.needs_attention(FULFILMENT));
    let voids = |world: &World| world.commands_sent.iter().filter(|c| c.starts_with("RequestPaymentVoid")).count();
    let before = voids(&world);
    world.does(FULFILMENT, Retry);
    world.settle();
    assert_eq!(voids(&world), before + 1, "it is sent now, not at the next check");
    assert_eq!(world.fulfilment().state(), Compensating, "the call for a person is answered");
    world.pass(MINUTES(60));
    assert_eq!(world.fulfilment().state(), NeedsAttention, "and comes again when nothing helps");
}

#[test]
fn a_lost_shipment_that_was_settled_with_the_customer_completes_the_order() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.loses_shipment(), Outcome::Done);
        world.settle();
        assert!(world.needs_attention(FULFILMENT), "{:#?}", names(world));
        assert!(matches!(world.refuses(FULFILMENT, Retry), Refusal::CannotCome { step: "record_shipped", .. }));
        assert_eq!(world.refuses(FULFILMENT, Resume), Refusal::StandsStill("record_shipped"));
        assert_eq!(world.refuses(FULFILMENT, Compensate), Refusal::AfterPivot("capture"));
        assert!(matches!(world.refuses(FULFILMENT, HandOver), Refusal::TooLate(_)));
        world.does(FULFILMENT, Skip);
        world.settle();
    };
    let expected = ends(OrderStatus::Completed, "", &[Captured], Completed);
    always_ends(story, &Ends { shipment: ShipmentStatus::Lost, stock: [(7, 0, 0), (4, 0, 0)], ..expected });
}

#[test]
fn a_warehouse_that_is_late_calls_a_person_again_after_as_long_again() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    assert_eq!(world.refuses(FULFILMENT, Resume), Refusal::NotCalled("plan_shipment"));
    world.pass(MINUTES(73 * 60));
    assert!(world.needs_attention(FULFILMENT));
    assert!(matches!(world.refuses(FULFILMENT, Retry), Refusal::NothingToSend { .. }), "the warehouse knows of it");
    assert!(matches!(world.refuses(FULFILMENT, Skip), Refusal::NotSkipped { .. }));
    world.does(FULFILMENT, Resume);
    assert_eq!(world.fulfilment().state(), Waiting);
    assert_eq!(world.fulfilment().deadline(), Some(world.now + MINUTES(72 * 60)));
    world.pass(MINUTES(71 * 60));
    assert_eq!(world.fulfilment().state(), Waiting);
    world.pass(MINUTES(2 * 60));
    assert_eq!(world.fulfilment().state(), NeedsAttention);
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.fulfilment().step(), Some("record_shipped"));
}

#[test]
fn an_order_is_taken_back_before_the_money_is() {
    let pending = |world: &mut World| {
        world.place("tok_3ds_abandon");
        world.settle();
        world.does(FULFILMENT, Compensate);
        world.pass(MINUTES(5));
    };
    always_ends(pending, &ends(OrderStatus::Rejected, "operator", &[Voided], Compensated));
    let confirmed = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.refuses(FULFILMENT, HandOver), Refusal::BeforePivot("capture"));
        world.does(FULFILMENT, Compensate);
        world.settle();
    };
    let expected = ends(OrderStatus::Cancelled, "operator", &[Voided], Compensated);
    always_ends(confirmed, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn while_the_capture_is_open_nobody_can_turn_the_saga_round() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_capture_silent");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.refuses(FULFILMENT, Compensate), Refusal::PivotOpen("capture"));
    assert_eq!(world.refuses(FULFILMENT, HandOver), Refusal::PivotOpen("capture"));
    assert!(matches!(world.refuses(FULFILMENT, Skip), Refusal::NotSkipped { .. }));
    world.does(FULFILMENT, Retry);
    world.settle();
    assert_eq!(world.provider.asked.values().max(), Some(&2), "the provider is asked again, about the same request");
    world.pass(MINUTES(10));
    assert_eq!(world.ends().payments, [Captured]);
}

#[test]
fn an_order_whose_money_is_taken_is_handed_over_until_its_goods_leave() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.hold(), Outcome::Done);
        assert_eq!(world.ready(), Outcome::Done);
        world.pass(MINUTES(5));
        assert_eq!((world.ends().fulfilment, world.ends().payments), (Waiting, vec![Captured]));
        assert_eq!(world.refuses(FULFILMENT, Compensate), Refusal::AfterPivot("capture"));
        world.does(FULFILMENT, HandOver);
        world.settle();
        for action in Action::ALL {
            let again = world.acts(FULFILMENT, &asks_anew(action));
            assert_eq!(again, Err(Refusal::Ended));
        }
    };
    always_ends(story, &taken_back(&[Refunded], "operator"));
}

fn asks_anew(action: Action) -> Act {
    let request_id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("another {}", action.as_str()).as_bytes());
    Act { request_id, ..asks(action) }
}

#[test]
fn goods_that_may_have_left_are_not_taken_back() {
    let mut world = World::with_stock(10, 5);
    world.unavailable.insert("DispatchShipment", 1_000);
    world.place("tok_approve");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.pass(MINUTES(60));
    assert!(world.needs_attention(FULFILMENT), "{:#?}", names(&world));
    assert!(matches!(world.refuses(FULFILMENT, HandOver), Refusal::TooLate(_)));
    assert!(matches!(world.refuses(FULFILMENT, Skip), Refusal::NotSkipped { .. }));
    world.unavailable.clear();
    world.does(FULFILMENT, Retry);
    world.settle();
    assert_eq!(world.ends().shipment, ShipmentStatus::Dispatched);
    assert!(matches!(world.refuses(FULFILMENT, HandOver), Refusal::TooLate(_)));
}

#[test]
fn nothing_is_handed_over_while_something_is_undone_on_the_side() {
    let mut world = World::with_stock(10, 5);
    world.unavailable.insert("AllowOrderDispatch", 1_000);
    world.place("tok_capture_once_void_fails");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.pass(MINUTES(60));
    assert_eq!(world.ends().payments, [Authorized, Captured], "{:#?}", names(&world));
    assert_eq!(world.refuses(FULFILMENT, HandOver), Refusal::Undoing("authorise"));
    // What stands still comes before what still goes on trying.
    world.does(FULFILMENT, Retry);
    let acted = world.fulfilment().actions.remove(0);
    assert_eq!((acted.step.as_deref(), acted.direction), (Some("authorise"), Some(Direction::Undo)));
}

#[test]
fn only_what_people_can_do_outside_counts_as_done() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.deliver(), Outcome::Done);
    world.settle();
    let state = world.state(&sagas::stream(FULFILMENT, ORDER));
    let skips = state.definition.unwrap().people.skips;
    let mut ways: Vec<_> = Vec::new();
    for leg in &state.legs {
        for direction in [Direction::Do, Direction::Undo] {
            let leg = Leg { direction, ..leg.clone() };
            if skips(&state, &leg).is_ok() {
                ways.push(format!("{} {}", direction.as_str(), leg.step.name));
            }
        }
    }
    assert_eq!(ways, ["undo authorise", "do record_shipped"]);
}

#[test]
fn the_same_request_again_changes_nothing() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    let stream = sagas::stream(FULFILMENT, ORDER);
    world.does(FULFILMENT, Compensate);
    let once = world.sagas[&stream].len();
    world.forget();
    world.does(FULFILMENT, Compensate);
    assert_eq!(world.sagas[&stream].len(), once);
    let view = world.fulfilment();
    let told: Vec<_> = view.actions.iter().map(|a| (a.action, a.actor.as_str(), a.reason.as_str())).collect();
    assert_eq!(told, [(Compensate, "alice", "the bank said so")]);
}

fn unsupported() -> Event {
    let (code, detail) = ("unknown-definition".to_owned(), "run the release that does".to_owned());
    let failure = Failure { kind: ErrorKind::Unsupported, code, detail };
    let (step, group, direction) = (String::new(), 0, Direction::Do);
    Event::SagaNeedsAttention(SagaNeedsAttention { step, group, direction, failure, stuck: true, source: None })
}

#[test]
fn what_no_program_could_follow_is_resumed_first_by_one_that_can() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    let stream = sagas::stream(FULFILMENT, ORDER);
    let now = world.now;
    world.sagas.get_mut(&stream).unwrap().push((unsupported(), now));
    world.forget();
    assert_eq!(world.fulfilment().state(), NeedsAttention);
    for action in [Retry, Skip, Compensate, HandOver] {
        assert_eq!(world.refuses(FULFILMENT, action), Refusal::ResumeFirst);
    }
    assert_eq!(fits(&world.state(&stream), now, &world.config), [Resume]);
    world.does(FULFILMENT, Resume);
    assert_eq!(world.fulfilment().state(), Waiting);
    // One that cannot refuses everything.
    let Some((Event::SagaStarted(started), _)) = world.sagas.get_mut(&stream).unwrap().first_mut() else { panic!() };
    started.definition_version = 99;
    world.forget();
    for action in Action::ALL {
        assert!(matches!(world.acts(FULFILMENT, &asks_anew(action)), Err(Refusal::Unknown { version: 99, .. })));
    }
}

#[test]
fn a_step_that_is_not_there_is_named_with_those_that_are() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_3ds_abandon");
    world.settle();
    let asked = Act { step: Some("capture".into()), ..asks(Retry) };
    let there = "`authorise`".to_owned();
    assert_eq!(world.acts(FULFILMENT, &asked), Err(Refusal::NotThere { step: "capture".into(), there }));
    let asked = Act { step: Some("authorise".into()), ..asks(Retry) };
    assert_eq!(world.acts(FULFILMENT, &asked), Ok(()));
}

#[test]
fn a_plan_says_what_really_happens_on_a_failure() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    let stream = sagas::stream(FULFILMENT, ORDER);
    let plan = plan(&world.state(&stream), world.now, &world.config);
    assert_eq!(plan.at, ["plan_shipment"]);
    assert_eq!(plan.next.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), ["capture"]);
    let fails = &plan.fails[0];
    assert_eq!((fails.step, fails.way, fails.irreversible.len()), ("plan_shipment", Way::Compensate, 0));
    let planned: Vec<_> =
        fails.steps.iter().flat_map(|s| &s.sends).map(|sent| format!("{} {}", sent.command, sent.target)).collect();
    let voided = fails.steps[1].sends[0].body.parse().unwrap();
    let facts = world.state(&stream).facts;
    assert_eq!(amount(&voided, facts.as_ref()).map(|money| money.amount), Some(400));
    let before = world.commands_sent.len();
    world.does(FULFILMENT, Compensate);
    world.settle();
    assert_eq!(world.commands_sent[before..], planned);
}

#[test]
fn a_plan_tells_what_cannot_be_undone_and_who_would_take_over() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_capture_silent");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    let stream = sagas::stream(FULFILMENT, ORDER);
    let fails = |world: &World| plan(&world.state(&stream), world.now, &world.config).fails.remove(0);
    let capture = fails(&world);
    assert_eq!((capture.way, capture.first), (Way::Compensate, Some("authorise")));
    world.unavailable.insert("DispatchShipment", 1_000);
    world.pass(MINUTES(20));
    let dispatch = fails(&world);
    assert_eq!((dispatch.step, dispatch.way), ("dispatch", Way::HandOver), "{:#?}", names(&world));
    let steps: Vec<_> = dispatch.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["refund", "cancel_shipment", "release", "cancel_order"]);
    assert_eq!(dispatch.irreversible, [("capture", "money is captured: it can only be refunded")]);
}

#[test]
fn a_customer_who_never_paid_costs_nothing_when_a_person_gives_up() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_silent");
    world.settle();
    world.does(FULFILMENT, Retry);
    world.pass(MINUTES(40));
    assert!(matches!(world.ends().payments[..], [Voided | Expired]));
    assert_eq!(world.ends().stock, world::story::UNCHANGED);
}
