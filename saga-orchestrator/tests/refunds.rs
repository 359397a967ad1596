//! Several refunds of one payment at a time: each saga goes by the outcome of its own, and while money that must go back
//! is still with the shop, somebody is after it.

mod world;

use std::time::Duration;

use domain::ids::{PaymentId, RequestId};
use domain::money::{Currency, Money};
use domain::order::Status as OrderStatus;
use domain::payment::Status::{Refunded, SucceededLate};
use domain::payment::{ProviderResult, RequestKind, ResultSource};
use domain::saga::Action::{Compensate, Retry};
use domain::saga::SagaState::{Compensated, Compensating, Completed, HandedOver, NeedsAttention, Waiting};
use domain::shipment::Status as ShipmentStatus;
use proptest::prelude::*;
use saga_orchestrator::Outcome;
use uuid::Uuid;
use world::World;
use world::people::asks;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends, names};

const FULFILMENT: &str = "order_fulfilment";
const REFUND: &str = "order_refund";

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

/// The bank tells the total that was captured.
fn captured(world: &mut World, amount: i64, source: ResultSource) -> Outcome {
    let told = world.bank_tells_of(RequestKind::Capture, 0, ProviderResult::Captured { amount: eur(amount) }, source);
    world.settle();
    told
}

fn refunds(world: &World) -> Vec<RequestId> {
    world.requests_of(RequestKind::Refund, 0)
}

/// The bank tells what became of a refund, which is named by how many were asked for before it.
fn told(world: &mut World, nth: usize, result: ProviderResult, source: ResultSource) {
    let refund = refunds(world)[nth];
    assert_eq!(world.bank_tells_about(refund, 0, result, source), Outcome::Done);
    world.settle();
}

fn refunded(world: &mut World, nth: usize, amount: i64) {
    told(world, nth, ProviderResult::Refunded { amount: eur(amount) }, ResultSource::Webhook);
}

fn refund_fails(world: &mut World, nth: usize) {
    told(world, nth, ProviderResult::RefundFailed { code: "account_closed".into() }, ResultSource::Webhook);
}

/// 3 of 4 EUR were captured and the capture stands still; what then begins asks for the 3 back, and when that is open at
/// the bank, the bank tells of the fourth: two refunds are open, of the 3 (the first) and of the 1 (the second).
fn two_refunds(world: &mut World, begins: fn(&mut World)) {
    one_refund(world, begins);
    assert_eq!(captured(world, 400, ResultSource::Webhook), Outcome::Done);
    assert_eq!(refunds(world).len(), 2, "{:#?}", names(world));
}

fn one_refund(world: &mut World, begins: fn(&mut World)) {
    world.place("tok_capture_and_refund_told");
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(captured(world, 300, ResultSource::Webhook), Outcome::Done);
    assert_eq!(captured(world, 300, ResultSource::Fetch), Outcome::Done);
    assert_eq!(world.ends().fulfilment, NeedsAttention, "{:#?}", names(world));
    begins(world);
    world.settle();
    assert_eq!(refunds(world).len(), 1, "{:#?}", names(world));
}

/// A person lets the fulfilment go back: undoing its authorization asks for the refund.
fn goes_back(world: &mut World) {
    world.does(FULFILMENT, Compensate);
}

/// The customer cancels: `order_refund` asks for the refund.
fn is_handed_over(world: &mut World) {
    assert_eq!(world.cancel(), Outcome::Done);
}

fn went_back(payment: domain::payment::Status, reconciled: domain::saga::SagaState) -> Ends {
    let cancelled = ends(OrderStatus::Cancelled, "operator", &[payment], Compensated);
    Ends { shipment: ShipmentStatus::Cancelled, reconciled: vec![reconciled], ..cancelled }
}

fn was_taken_back(payment: domain::payment::Status, reconciled: domain::saga::SagaState) -> Ends {
    let cancelled = ends(OrderStatus::Cancelled, "customer_request", &[payment], HandedOver);
    Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), reconciled: vec![reconciled], ..cancelled }
}

#[test]
fn another_refund_does_not_end_a_compensation_whose_own_fails_and_is_asked_again() {
    let story = |world: &mut World| {
        two_refunds(world, goes_back);
        refunded(world, 1, 100);
        assert_eq!(world.ends().fulfilment, Compensating, "{:#?}", names(world));
        refund_fails(world, 0);
        world.pass(Duration::from_secs(5));
        assert_eq!(refunds(world).len(), 3, "{:#?}", names(world));
        refunded(world, 2, 300);
        assert!(world.provider.keeps_nothing());
    };
    always_ends(story, &went_back(Refunded, Completed));
}

#[test]
fn a_compensating_refund_that_keeps_failing_needs_attention_despite_another() {
    let story = |world: &mut World| {
        two_refunds(world, goes_back);
        refunded(world, 1, 100);
        refund_fails(world, 0);
        world.pass(Duration::from_secs(5));
        refund_fails(world, 2);
        world.pass(Duration::from_secs(5));
    };
    always_ends(story, &Ends { fulfilment: NeedsAttention, ..went_back(SucceededLate, Completed) });
}

#[test]
fn a_refund_of_the_way_back_that_fails_is_not_the_reconciliation_s() {
    let story = |world: &mut World| {
        two_refunds(world, goes_back);
        refund_fails(world, 0);
        assert_eq!(world.ends().reconciled, [Waiting], "{:#?}", names(world));
        refunded(world, 1, 100);
        world.pass(Duration::from_secs(5));
        refunded(world, 2, 300);
    };
    always_ends(story, &went_back(Refunded, Completed));
}

#[test]
fn a_failed_refund_of_a_reconciliation_is_not_counted_as_another_saga_s() {
    let back = |world: &mut World| {
        two_refunds(world, goes_back);
        refund_fails(world, 1);
        refunded(world, 0, 300);
        assert_eq!(refunds(world).len(), 2, "nothing was asked for anew: {:#?}", names(world));
    };
    always_ends(back, &went_back(SucceededLate, NeedsAttention));
    let over = |world: &mut World| {
        two_refunds(world, is_handed_over);
        refund_fails(world, 1);
        assert_eq!(world.ends().refund, Some(Waiting), "{:#?}", names(world));
        refunded(world, 0, 300);
    };
    always_ends(over, &was_taken_back(SucceededLate, NeedsAttention));
}

#[test]
fn a_refund_of_the_order_refund_that_fails_is_not_the_reconciliation_s() {
    let story = |world: &mut World| {
        two_refunds(world, is_handed_over);
        refund_fails(world, 0);
        assert_eq!((world.ends().refund, world.ends().reconciled), (Some(NeedsAttention), vec![Waiting]));
        refunded(world, 1, 100);
        assert_eq!(world.ends().refund, Some(NeedsAttention), "its own money is not back");
        world.does(REFUND, Retry);
        world.settle();
        refunded(world, 2, 300);
    };
    always_ends(story, &was_taken_back(Refunded, Completed));
}

#[test]
fn what_another_saga_gives_back_is_not_asked_for_in_vain() {
    // The first refund falls short, and what is missing of it goes back together with what was captured late.
    let elsewhere = |world: &mut World, begins| {
        one_refund(world, begins);
        told(world, 0, ProviderResult::Refunded { amount: eur(100) }, ResultSource::Fetch);
        assert_eq!(captured(world, 400, ResultSource::Webhook), Outcome::Done);
        refunded(world, 1, 300);
    };
    let back = |world: &mut World| {
        elsewhere(world, goes_back);
        assert_eq!(world.ends().fulfilment, NeedsAttention, "{:#?}", names(world));
        world.does(FULFILMENT, Retry);
        world.settle();
    };
    always_ends(back, &went_back(Refunded, Completed));
    let over = |world: &mut World| {
        elsewhere(world, is_handed_over);
        assert_eq!(world.ends().refund, Some(NeedsAttention), "{:#?}", names(world));
        world.does(REFUND, Retry);
        world.settle();
    };
    always_ends(over, &was_taken_back(Refunded, Completed));
}

#[test]
fn money_captured_after_a_failed_refund_goes_back_together_with_its_amount() {
    let more = |world: &mut World, begins| {
        one_refund(world, begins);
        refund_fails(world, 0);
        assert_eq!(captured(world, 301, ResultSource::Webhook), Outcome::Done);
        refunded(world, 1, 301);
    };
    let back = |world: &mut World| {
        more(world, goes_back);
        world.pass(Duration::from_secs(5));
        assert_eq!(refunds(world).len(), 2, "nothing is asked for in vain: {:#?}", names(world));
    };
    always_ends(back, &went_back(Refunded, Completed));
    let over = |world: &mut World| {
        more(world, is_handed_over);
        world.does(REFUND, Retry);
        world.settle();
        assert_eq!(refunds(world).len(), 2, "nothing is asked for in vain: {:#?}", names(world));
    };
    always_ends(over, &was_taken_back(Refunded, Completed));
}

/// What happens to an order whose capture has fallen short, and whose money is to go back.
#[derive(Debug, Clone)]
enum Happens {
    Captured(i64, ResultSource),
    Refunded(prop::sample::Index, bool, ResultSource),
    RefundFails(prop::sample::Index),
    IsCancelled,
    IsRetried,
    Silence(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let source = || prop_oneof![Just(ResultSource::Webhook), Just(ResultSource::Response), Just(ResultSource::Fetch)];
    let any_refund = any::<prop::sample::Index>;
    prop_oneof![
        2 => (301..400i64, source()).prop_map(|(amount, source)| Happens::Captured(amount, source)),
        2 => source().prop_map(|source| Happens::Captured(400, source)),
        4 => (any_refund(), any::<bool>(), source()).prop_map(|(nth, all, source)| Happens::Refunded(nth, all, source)),
        4 => any_refund().prop_map(Happens::RefundFails),
        1 => Just(Happens::IsCancelled),
        2 => Just(Happens::IsRetried),
        3 => (1..400u64).prop_map(Happens::Silence),
    ]
}

fn happened(world: &mut World, what: Happens, request: u128) {
    let a_refund = |world: &World, nth: prop::sample::Index| {
        let all = refunds(world);
        (!all.is_empty()).then(|| all[nth.index(all.len())])
    };
    match what {
        Happens::Captured(amount, source) => drop(captured(world, amount, source)),
        Happens::Refunded(nth, all, source) => {
            if let Some(refund) = a_refund(world, nth) {
                let asked = world.payments[&PaymentId::derive(ORDER, 0)].0.requests[&refund].amount;
                let amount = if all { asked } else { eur((asked.amount / 2).max(1)) };
                world.bank_tells_about(refund, 0, ProviderResult::Refunded { amount }, source);
            }
        }
        Happens::RefundFails(nth) => {
            if let Some(refund) = a_refund(world, nth) {
                let failed = ProviderResult::RefundFailed { code: "account_closed".into() };
                world.bank_tells_about(refund, 0, failed, ResultSource::Webhook);
            }
        }
        Happens::IsCancelled => drop(world.cancel()),
        Happens::IsRetried => retried(world, request),
        Happens::Silence(seconds) => world.pass(Duration::from_secs(seconds)),
    }
    world.settle();
}

/// A person tries once more whatever stands still.
fn retried(world: &mut World, request: u128) {
    for saga in world.sagas.keys().cloned().collect::<Vec<_>>() {
        if world.view(&saga).state() == NeedsAttention {
            let asked = saga_engine::engine::Act { request_id: Uuid::from_u128(request), ..asks(Retry) };
            _ = world.acts_on(&saga, &asked);
        }
    }
    world.settle();
}

/// Money of a cancelled order that is still with the shop.
fn kept(world: &World) -> i64 {
    let payment = &world.payments[&PaymentId::derive(ORDER, 0)].0;
    let cancelled = world.ends().order == OrderStatus::Cancelled;
    if cancelled { payment.captured.amount - payment.refunded.amount } else { 0 }
}

/// Whether a saga is after the money, or has called a person: one that only asks about an unknown outcome is not.
fn is_after_it(world: &World) -> bool {
    let seeks = |saga: &String| {
        let view = world.view(saga);
        !view.state().is_end() && view.step() != Some("pursue")
    };
    world.sagas.keys().any(seeks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn with_any_outcome_of_any_refund_no_money_is_forgotten_or_sought_in_vain(
        begins in prop_oneof![Just(goes_back as fn(&mut World)), Just(is_handed_over as fn(&mut World))],
        story in proptest::collection::vec(happens(), 4..16)
    ) {
        let mut world = World::with_stock(10, 5);
        one_refund(&mut world, begins);
        for (what, request) in story.into_iter().zip(1..) {
            happened(&mut world, what, request);
            let payment = &world.payments[&PaymentId::derive(ORDER, 0)].0;
            prop_assert!(payment.refunded.amount + payment.refund_pending.amount <= payment.captured.amount);
            prop_assert!(kept(&world) == 0 || is_after_it(&world), "{:#?}", names(&world));
        }
        // From now on the bank does what it is asked for, and a person tries again what stands still.
        captured(&mut world, 400, ResultSource::Webhook);
        world.cancel();
        for request in 100..108 {
            world.pass(MINUTES(1));
            for refund in world.payments[&PaymentId::derive(ORDER, 0)].0.open_requests() {
                if refund.kind == RequestKind::Refund {
                    let all = ProviderResult::Refunded { amount: refund.amount };
                    world.bank_tells_about(refund.request_id, 0, all, ResultSource::Webhook);
                }
            }
            world.settle();
            retried(&mut world, request);
        }
        world.pass(MINUTES(10));
        prop_assert_eq!(kept(&world), 0, "{:#?}", names(&world));
        if world.ends().order == OrderStatus::Cancelled {
            prop_assert!(world.sagas.keys().all(|saga| world.view(saga).state().is_end()), "{:#?}", names(&world));
        }
    }
}
