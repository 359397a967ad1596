//! What the bank and we may disagree about: outcomes that stay unknown, and successes after the end. In the end nothing
//! is held or kept of an order that came to nothing, however often the process dies on the way.

mod world;

use std::time::Duration;

use domain::Command;
use domain::ids::PaymentId;
use domain::money::{Currency, Money};
use domain::order::Status as OrderStatus;
use domain::payment::Status::{Authorized, Captured, Refunded, SucceededLate, Voided};
use domain::payment::{self, ExpirePayment, ProviderResult};
use domain::saga::SagaState::{Compensated, Completed, NeedsAttention, Waiting};
use domain::shipment::Status as ShipmentStatus;
use saga_orchestrator::Outcome;
use world::World;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends};

const TOTAL: Money = Money { amount: 400, currency: Currency::EUR };

fn held(world: &World) -> ProviderResult {
    ProviderResult::Authorized { amount: TOTAL, capture_before: world.now + Duration::from_secs(7 * 86_400) }
}

fn rejected_late(reason: &str, payment: payment::Status) -> Ends {
    ends(OrderStatus::Rejected, reason, &[payment], Compensated)
}

/// The customer confirms when the payment has expired and the order is rejected.
fn confirmed_too_late(world: &mut World, token: &str) {
    world.place(token);
    world.pass(MINUTES(40));
    assert_eq!(world.ends(), rejected_late("payment_timeout", payment::Status::Expired));
}

#[test]
fn an_authorisation_after_the_end_is_let_go() {
    let story = |world: &mut World| {
        confirmed_too_late(world, "tok_3ds_late");
        let held = held(world);
        assert_eq!(world.bank_tells(0, held), Outcome::Done);
        world.settle();
    };
    always_ends(story, &Ends { reconciled: vec![Completed], ..rejected_late("payment_timeout", Voided) });
}

#[test]
fn money_taken_after_the_end_is_given_back() {
    let story = |world: &mut World| {
        confirmed_too_late(world, "tok_3ds_late");
        assert_eq!(world.bank_tells(0, ProviderResult::Captured { amount: TOTAL }), Outcome::Done);
        world.settle();
    };
    always_ends(story, &Ends { reconciled: vec![Completed], ..rejected_late("payment_timeout", Refunded) });
}

#[test]
fn of_two_late_captures_the_one_whose_money_went_back_with_the_other_calls_nobody() {
    let story = |world: &mut World| {
        confirmed_too_late(world, "tok_3ds_late");
        world.unavailable.insert("RequestPaymentRefund", u32::MAX);
        let part = Money { amount: 100, ..TOTAL };
        assert_eq!(world.bank_tells(0, ProviderResult::Captured { amount: part }), Outcome::Done);
        world.settle();
        assert_eq!(world.bank_tells(0, ProviderResult::Captured { amount: TOTAL }), Outcome::Done);
        world.settle();
        world.unavailable.clear();
        world.pass(MINUTES(5));
        assert_eq!(world.requests_of(payment::RequestKind::Refund, 0).len(), 1, "one refund is of all that remains");
    };
    always_ends(story, &Ends { reconciled: vec![Completed; 2], ..rejected_late("payment_timeout", Refunded) });
}

#[test]
fn a_bank_that_declines_and_then_holds_the_money_after_all_lets_it_go() {
    let story = |world: &mut World| {
        world.place("tok_decline");
        world.settle();
        let held = held(world);
        assert_eq!(world.bank_tells(0, held), Outcome::Done);
        world.settle();
    };
    always_ends(story, &Ends { reconciled: vec![Completed], ..rejected_late("payment_declined", Voided) });
}

#[test]
fn a_late_success_that_cannot_be_taken_back_needs_a_person() {
    let no_void = |world: &mut World| {
        confirmed_too_late(world, "tok_3ds_late_void_fails");
        let held = held(world);
        assert_eq!(world.bank_tells(0, held), Outcome::Done);
        world.settle();
    };
    let late = rejected_late("payment_timeout", SucceededLate);
    always_ends(no_void, &Ends { reconciled: vec![NeedsAttention], ..late.clone() });
    let no_refund = |world: &mut World| {
        confirmed_too_late(world, "tok_3ds_late_refund_fails");
        assert_eq!(world.bank_tells(0, ProviderResult::Captured { amount: TOTAL }), Outcome::Done);
        world.settle();
    };
    always_ends(no_refund, &Ends { reconciled: vec![NeedsAttention], ..late });
}

#[test]
fn an_unknown_authorisation_that_turns_out_well_is_left_to_the_order() {
    let story = |world: &mut World| {
        world.place("tok_silent_for_long");
        world.pass(MINUTES(10));
        assert_eq!(world.ends().reconciled, [Waiting], "the outcome was unknown");
        world.provider.speaks = true;
        world.pass(MINUTES(10));
    };
    let (shipment, stock) = (ShipmentStatus::Planned, [(10, 0, 3), (5, 0, 1)]);
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment, stock, reconciled: vec![Completed], ..expected });
}

#[test]
fn an_unknown_outcome_is_pursued_when_the_order_has_long_ended() {
    let story = |world: &mut World| {
        world.place("tok_silent_for_long");
        world.pass(MINUTES(2));
        let (id, command) = (PaymentId::derive(ORDER, 0), payment::Command::ExpirePayment(ExpirePayment {}));
        assert_eq!(world.decide(Command::Payment { id, command }), Outcome::Done);
        world.pass(MINUTES(60));
        let ended = rejected_late("payment_timeout", payment::Status::Expired);
        assert_eq!(world.ends(), Ends { reconciled: vec![NeedsAttention], ..ended });
        world.provider.speaks = true;
        world.pass(MINUTES(10));
    };
    // One pursued the outcome, which was a late success, and one took that back.
    always_ends(story, &Ends { reconciled: vec![Completed; 2], ..rejected_late("payment_timeout", Voided) });
}

#[test]
fn an_outcome_that_nobody_tells_for_ten_minutes_calls_a_person_and_is_still_pursued() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_silent_for_long");
    world.pass(MINUTES(2));
    let (id, command) = (PaymentId::derive(ORDER, 0), payment::Command::ExpirePayment(ExpirePayment {}));
    assert_eq!(world.decide(Command::Payment { id, command }), Outcome::Done);
    world.pass(MINUTES(20));
    assert_eq!(world.ends().reconciled, [NeedsAttention]);
    world.provider.speaks = true;
    world.pass(MINUTES(150));
    assert_eq!((world.ends().reconciled, world.ends().payments), (vec![Completed; 2], vec![Voided]));
    assert!(world.provider.keeps_nothing());
}

#[test]
fn an_outcome_that_nobody_tells_for_a_month_is_asked_for_a_few_times_a_day() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_silent_for_long");
    world.pass(MINUTES(2));
    let (id, command) = (PaymentId::derive(ORDER, 0), payment::Command::ExpirePayment(ExpirePayment {}));
    assert_eq!(world.decide(Command::Payment { id, command }), Outcome::Done);
    let saga = world.all_of("payment_reconciliation").remove(0);
    world.pass(MINUTES(2 * 24 * 60));
    let two_days = world.sagas[&saga].len();
    assert!(two_days < 350, "every five minutes on the first day, then a person was called: {two_days}");
    world.pass(MINUTES(30 * 24 * 60));
    let a_month = world.sagas[&saga].len() - two_days;
    assert!((100..150).contains(&a_month), "every six hours: {a_month}");
    world.provider.speaks = true;
    world.pass(MINUTES(6 * 60));
    assert_eq!((world.ends().reconciled, world.ends().payments), (vec![Completed; 2], vec![Voided]));
}

#[test]
fn a_bank_that_is_away_for_hours_in_the_middle_of_a_void_is_asked_until_it_is_back() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        world.provider.down = true;
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(120));
        assert_eq!(world.ends().payments, [Authorized]);
        world.provider.down = false;
        world.pass(MINUTES(15));
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_bank_that_takes_the_money_at_once_is_not_asked_for_it_again() {
    let story = |world: &mut World| {
        world.place("tok_captured_at_once");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert!(!world.commands_sent.iter().any(|sent| sent.starts_with("RequestPaymentCapture")));
    };
    let (shipment, stock) = (ShipmentStatus::Dispatched, [(7, 0, 0), (4, 0, 0)]);
    always_ends(story, &Ends { shipment, stock, ..ends(OrderStatus::Shipped, "", &[Captured], Waiting) });
}

#[test]
fn what_was_taken_at_once_is_refunded_when_the_order_is_cancelled() {
    let story = |world: &mut World| {
        world.place("tok_captured_at_once");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.settle();
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Refunded], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn what_was_taken_at_once_and_cannot_be_refunded_needs_a_person() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_captured_at_once_refund_fails");
    world.settle();
    assert_eq!(world.cancel(), Outcome::Done);
    world.pass(MINUTES(60));
    assert_eq!((world.ends().fulfilment, world.ends().payments), (NeedsAttention, vec![Captured]));
}
