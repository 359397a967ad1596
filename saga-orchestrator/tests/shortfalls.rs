//! The provider does less than it was asked for: nothing ships, nothing is asked for a second time by itself, and a person
//! is told in words.

mod world;

use domain::ids::PaymentId;
use domain::money::{Currency, Money};
use domain::order::Status as OrderStatus;
use domain::payment::{Event as P, ProviderResult, RequestKind, ResultSource, Status as PaymentStatus};
use domain::saga::Action;
use domain::saga::SagaState::{Completed, HandedOver, NeedsAttention, Waiting};
use domain::shipment::Status as ShipmentStatus;
use proptest::prelude::*;
use saga_orchestrator::Outcome;
use saga_orchestrator::shop::Outside;
use world::people::asks;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends};
use world::{Fact, World};

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

/// An order at its capture, paid with this card.
fn at_the_capture(world: &mut World, token: &str) {
    world.place(token);
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
}

fn captured(world: &mut World, amount: i64, source: ResultSource) -> Outcome {
    let told = world.bank_tells_of(RequestKind::Capture, 0, ProviderResult::Captured { amount: eur(amount) }, source);
    world.settle();
    told
}

/// How often each kind of request was made of the provider, by the log.
fn requests(world: &World) -> [usize; 4] {
    let made = |is: fn(&P) -> bool| {
        let is_made = |fact: &&Fact| matches!(fact, Fact::Outside(_, Outside::Payment(_, event)) if is(event));
        world.log.iter().filter(is_made).count()
    };
    [
        made(|event| matches!(event, P::PaymentAuthorizationRequested(_))),
        made(|event| matches!(event, P::CaptureRequested(_))),
        made(|event| matches!(event, P::VoidRequested(_))),
        made(|event| matches!(event, P::RefundRequested(_))),
    ]
}

fn last_error(world: &World, saga: &str) -> String {
    let view = world.view(&saga_orchestrator::sagas::stream(saga, ORDER));
    view.last_error().map(ToString::to_string).unwrap_or_default()
}

const STOCK: [(i64, i64, i64); 2] = [(10, 0, 3), (5, 0, 1)];

fn stands_still(payment: PaymentStatus, shipment: ShipmentStatus) -> Ends {
    Ends { shipment, stock: STOCK, ..ends(OrderStatus::Confirmed, "", &[payment], NeedsAttention) }
}

#[test]
fn a_capture_of_less_ships_nothing_and_calls_a_person_once_the_bank_was_asked() {
    let story = |world: &mut World| {
        at_the_capture(world, "tok_capture_short");
        world.pass(MINUTES(5));
        assert_eq!(requests(world), [1, 1, 0, 0], "no second request by itself");
        let error = last_error(world, "order_fulfilment");
        assert!(error.contains("fell_short") && error.contains("0.01 EUR of the 4.00 EUR"), "{error}");
    };
    always_ends(story, &stands_still(PaymentStatus::Captured, ShipmentStatus::Ready));
}

#[test]
fn a_part_alone_calls_nobody_and_ships_nothing() {
    let mut world = World::with_stock(10, 5);
    at_the_capture(&mut world, "tok_capture_short");
    let ends = world.ends();
    assert_ne!(ends.fulfilment, NeedsAttention, "the bank is asked first");
    assert_eq!((ends.shipment, ends.payments), (ShipmentStatus::Ready, vec![PaymentStatus::Captured]));
}

#[test]
fn an_authorization_of_less_calls_a_person_and_is_not_asked_for_again() {
    let story = |world: &mut World| {
        world.place("tok_authorize_short");
        world.pass(MINUTES(5));
        assert_eq!(requests(world), [1, 0, 0, 0]);
    };
    let pending = ends(OrderStatus::Pending, "", &[PaymentStatus::Authorized], NeedsAttention);
    always_ends(story, &Ends { stock: [(10, 3, 0), (5, 1, 0)], ..pending });
}

#[test]
fn the_rest_that_comes_later_lets_the_order_go_on() {
    let story = |world: &mut World| {
        at_the_capture(world, "tok_capture_told");
        assert_eq!(captured(world, 1, ResultSource::Webhook), Outcome::Done);
        assert_eq!(captured(world, 1, ResultSource::Fetch), Outcome::Done);
        assert_eq!(world.ends().fulfilment, NeedsAttention);
        assert_eq!(captured(world, 400, ResultSource::Webhook), Outcome::Done);
    };
    let (shipment, stock) = (ShipmentStatus::Dispatched, [(7, 0, 0), (4, 0, 0)]);
    let shipped = ends(OrderStatus::Shipped, "", &[PaymentStatus::Captured], Waiting);
    always_ends(story, &Ends { shipment, stock, ..shipped });
}

fn taken_back(world: &mut World) -> Ends {
    let cancelled = ends(OrderStatus::Cancelled, "customer_request", &[PaymentStatus::Refunded], HandedOver);
    assert!(world.provider.keeps_nothing());
    Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), ..cancelled }
}

#[test]
fn a_cancellation_gives_back_what_was_taken_and_not_what_was_asked_for() {
    let mut world = World::with_stock(10, 5);
    at_the_capture(&mut world, "tok_capture_short");
    world.pass(MINUTES(5));
    assert_eq!(world.cancel(), Outcome::Done);
    world.pass(MINUTES(5));
    assert_eq!(world.ends(), taken_back(&mut world));
    let payment = &world.payments[&PaymentId::derive(ORDER, 0)].0;
    assert_eq!((payment.captured, payment.refunded), (eur(1), eur(1)));
}

#[test]
fn a_person_hands_a_shortfall_over_and_what_was_taken_goes_back() {
    let mut world = World::with_stock(10, 5);
    at_the_capture(&mut world, "tok_capture_short");
    world.pass(MINUTES(5));
    assert_eq!(world.acts("order_fulfilment", &asks(Action::HandOver)), Ok(()));
    world.pass(MINUTES(5));
    assert_eq!(world.ends(), Ends { reason: "operator".to_owned(), ..taken_back(&mut world) });
}

#[test]
fn a_refund_of_less_needs_a_person() {
    let mut held = World::with_stock(10, 5);
    held.place("tok_refund_short");
    held.settle();
    assert_eq!((held.hold(), held.ready()), (Outcome::Done, Outcome::Done));
    held.settle();
    assert_eq!(held.cancel(), Outcome::Done);
    held.pass(MINUTES(5));
    let ends = held.ends();
    assert_eq!((ends.order, ends.refund), (OrderStatus::CancelPending, Some(NeedsAttention)));
    assert_eq!(requests(&held), [1, 1, 0, 1], "no second refund by itself");
    assert!(
        last_error(&held, "order_refund").contains("refunded 0.01 EUR of the 4.00 EUR"),
        "{}",
        last_error(&held, "order_refund")
    );
}

#[test]
fn money_that_is_taken_after_the_refund_began_goes_back_too() {
    let mut world = World::with_stock(10, 5);
    at_the_capture(&mut world, "tok_capture_told");
    captured(&mut world, 1, ResultSource::Webhook);
    captured(&mut world, 1, ResultSource::Fetch);
    assert_eq!(world.cancel(), Outcome::Done);
    world.pass(MINUTES(1));
    assert_eq!(captured(&mut world, 400, ResultSource::Webhook), Outcome::Done);
    world.pass(MINUTES(5));
    let payment = &world.payments[&PaymentId::derive(ORDER, 0)].0;
    assert_eq!((payment.captured, payment.refunded), (eur(400), eur(400)));
    assert_eq!(world.ends().reconciled, [Completed]);
}

/// What a webhook or the bank on being asked may say of the capture: less, equal, more than was asked for.
fn a_word() -> impl Strategy<Value = (i64, ResultSource)> {
    let amount = prop_oneof![3 => 1..400i64, 2 => Just(400i64), 1 => 401..1_000i64, 1 => -5..1i64];
    let source = prop_oneof![Just(ResultSource::Webhook), Just(ResultSource::Response), Just(ResultSource::Fetch)];
    (amount, source)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn with_totals_in_any_order_nothing_ships_short_and_nothing_is_asked_twice(
        words in proptest::collection::vec((a_word(), any::<bool>()), 1..8), cancels_at in proptest::option::of(0..8usize)
    ) {
        let mut world = World::with_stock(10, 5);
        at_the_capture(&mut world, "tok_capture_told");
        for (nth, ((amount, source), waits)) in words.into_iter().enumerate() {
            if cancels_at == Some(nth) {
                world.cancel();
                world.settle();
            }
            captured(&mut world, amount, source);
            if waits {
                world.pass(MINUTES(2));
            }
            let payment = &world.payments[&PaymentId::derive(ORDER, 0)].0;
            prop_assert!(payment.refunded.amount + payment.refund_pending.amount <= payment.captured.amount);
            prop_assert!(payment.captured.amount <= 400);
            if payment.captured.amount < 400 {
                let shipment = world.ends().shipment;
                prop_assert!(!matches!(shipment, ShipmentStatus::Dispatched | ShipmentStatus::Delivered), "{shipment:?}");
            }
            let [authorizations, captures, ..] = requests(&world);
            prop_assert_eq!((authorizations, captures), (1, 1));
        }
    }
}
