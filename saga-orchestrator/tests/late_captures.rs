//! Money that turns out to be taken after the saga has asked to let it go. It goes back once, whatever becomes of the void
//! and whatever people do about it, and what was taken for a cancelled order is never kept.

mod world;

use std::time::Duration;

use domain::Aggregate;
use domain::ids::PaymentId;
use domain::money::{Currency, Money};
use domain::order::Status as OrderStatus;
use domain::payment::Status::{Captured, Refunded, SucceededLate};
use domain::payment::{self, PaymentCaptured, ProviderResult, RequestKind, ResultSource};
use domain::saga::Action::{Retry, Skip};
use domain::saga::SagaState::{Compensated, Compensating, Completed, NeedsAttention, Waiting};
use domain::saga::Source;
use domain::shipment::Status as ShipmentStatus;
use proptest::prelude::*;
use saga_engine::engine::{Act, Refusal};
use saga_orchestrator::Outcome;
use saga_orchestrator::shop::Outside;
use uuid::Uuid;
use world::people::asks;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends, names};
use world::{Fact, World};

const FULFILMENT: &str = "order_fulfilment";

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn told(world: &mut World, kind: RequestKind, result: ProviderResult) -> Outcome {
    let told = world.bank_tells_of(kind, 0, result, ResultSource::Webhook);
    world.settle();
    told
}

/// The bank tells the total that was captured.
fn captured(world: &mut World, amount: i64) {
    let said = told(world, RequestKind::Capture, ProviderResult::Captured { amount: eur(amount) });
    assert_eq!(said, Outcome::Done, "{:#?}", names(world));
}

fn void_fails(world: &mut World) {
    let said = told(world, RequestKind::Void, ProviderResult::VoidFailed { code: "already_captured".into() });
    assert_eq!(said, Outcome::Done);
}

fn asked_for(world: &World, kind: RequestKind) -> usize {
    world.requests_of(kind, 0).len()
}

fn payment(world: &World) -> &payment::Payment {
    &world.payments[&PaymentId::derive(ORDER, 0)].0
}

/// An order whose customer cancels while its capture is open; the bank says nothing of the capture yet.
fn cancelled_at_the_capture(world: &mut World, token: &str) {
    world.place(token);
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!(world.cancel(), Outcome::Done);
    world.settle();
}

/// The bank says that the capture has failed, so that the saga asks to let the money go.
fn given_up(world: &mut World, token: &str) {
    cancelled_at_the_capture(world, token);
    let no = ProviderResult::CaptureFailed { code: "hiccup".into() };
    assert_eq!(told(world, RequestKind::Capture, no), Outcome::Done);
    assert!(asked_for(world, RequestKind::Void) > 0, "{:#?}", names(world));
}

/// As `given_up`; the void fails until the saga stands still.
fn stands_still(world: &mut World, token: &str) {
    given_up(world, token);
    world.pass(MINUTES(60));
    assert_eq!(world.ends().fulfilment, NeedsAttention, "{:#?}", names(world));
    assert_eq!(asked_for(world, RequestKind::Void), 5);
}

fn went_back(payment: payment::Status) -> Ends {
    let cancelled = ends(OrderStatus::Cancelled, "customer_request", &[payment], Compensated);
    Ends { shipment: ShipmentStatus::Cancelled, reconciled: vec![Completed], ..cancelled }
}

/// Nothing was given back twice, and nothing is kept.
fn went_back_once(world: &World) {
    assert_eq!(asked_for(world, RequestKind::Refund), 1, "{:#?}", names(world));
    assert_eq!((payment(world).captured, payment(world).refunded), (eur(400), eur(400)));
    assert!(world.provider.keeps_nothing());
}

#[test]
fn money_taken_after_a_void_has_failed_is_refunded_and_no_other_void_is_requested() {
    let story = |world: &mut World| {
        given_up(world, "tok_capture_told_void_fails");
        assert_eq!(world.ends().fulfilment, Compensating, "{:#?}", names(world));
        captured(world, 400);
        let voids = asked_for(world, RequestKind::Void);
        world.pass(MINUTES(60));
        assert_eq!(asked_for(world, RequestKind::Void), voids);
        went_back_once(world);
    };
    always_ends(story, &went_back(Refunded));
}

#[test]
fn a_saga_that_stands_still_at_a_void_goes_on_by_itself_when_the_money_was_taken() {
    let story = |world: &mut World| {
        stands_still(world, "tok_capture_told_void_fails");
        captured(world, 400);
        went_back_once(world);
    };
    always_ends(story, &went_back(Refunded));
}

#[test]
fn a_person_who_takes_the_void_as_done_before_the_money_was_taken_does_not_keep_it() {
    let story = |world: &mut World| {
        stands_still(world, "tok_capture_told_void_fails");
        world.does(FULFILMENT, Skip);
        world.settle();
        assert_eq!((world.ends().order, world.ends().fulfilment), (OrderStatus::Cancelled, Compensated));
        captured(world, 400);
        went_back_once(world);
    };
    always_ends(story, &went_back(Refunded));
}

#[test]
fn a_void_that_a_person_skips_before_the_capture_is_known_does_not_keep_the_money() {
    let story = |world: &mut World| {
        stands_still(world, "tok_capture_told_void_fails");
        world.silent_feed = true;
        captured(world, 400);
        world.does(FULFILMENT, Skip);
        world.settle();
        world.silent_feed = false;
        world.settle();
        went_back_once(world);
    };
    always_ends(story, &went_back(Refunded));
}

#[test]
fn a_person_who_tries_again_to_let_go_what_was_taken_has_it_refunded() {
    let story = |world: &mut World| {
        stands_still(world, "tok_capture_told_void_fails");
        world.silent_feed = true;
        captured(world, 400);
        world.does(FULFILMENT, Retry);
        world.settle();
        // A process that is killed here reads its sagas again only with the feed.
        let asked = asked_for(world, RequestKind::Refund);
        assert!(asked == 1 || world.kill_at.is_some(), "not a person once more: {:#?}", names(world));
        world.silent_feed = false;
        world.settle();
        went_back_once(world);
    };
    always_ends(story, &went_back(Refunded));
}

/// Books the capture as 0.2.0 did: nothing in the log says that its money must go back.
fn captured_as_older_releases_booked_it(world: &mut World) {
    let id = PaymentId::derive(ORDER, 0);
    let request_id = world.requests_of(RequestKind::Capture, 0)[0];
    world.provider.book(id, request_id, &ProviderResult::Captured { amount: eur(400) });
    let (payment, next) = world.payments.get_mut(&id).expect("the payment was requested");
    let (order_id, placed_on, portion) = (ORDER, payment.placed_on.expect("the payment was requested"), None);
    let booked = PaymentCaptured { order_id, request_id, provider_ref: None, amount: eur(400), portion, placed_on };
    let event = payment::Event::PaymentCaptured(booked);
    payment.evolve(&event);
    let source = Source { stream: id.stream(), version: *next, event: "PaymentCaptured".to_owned() };
    *next += 1;
    world.log.push(Fact::Outside(source, Outside::Payment(id, event)));
    world.settle();
}

#[test]
fn a_void_that_a_person_retries_after_an_older_release_booked_a_capture_refunds_it() {
    let story = |world: &mut World| {
        stands_still(world, "tok_capture_told_void_fails");
        captured_as_older_releases_booked_it(world);
        assert_eq!(world.ends().payments, [Captured]);
        world.does(FULFILMENT, Retry);
        world.settle();
        went_back_once(world);
    };
    always_ends(story, &Ends { reconciled: vec![], ..went_back(Refunded) });
}

#[test]
fn money_taken_while_the_void_is_under_way_goes_back_whatever_is_told_of_the_void() {
    let story = |world: &mut World| {
        given_up(world, "tok_capture_told_void_told");
        captured(world, 400);
        assert_eq!(world.ends(), went_back(Refunded), "{:#?}", names(world));
        void_fails(world);
        world.pass(MINUTES(10));
        went_back_once(world);
    };
    always_ends(story, &went_back(Refunded));
}

#[test]
fn money_taken_while_a_void_is_unknown_is_refunded_and_the_void_is_pursued() {
    let story = |world: &mut World| {
        given_up(world, "tok_capture_told_void_told");
        world.pass(MINUTES(2));
        assert_eq!(world.ends().reconciled, [Waiting], "{:#?}", names(world));
        captured(world, 400);
        void_fails(world);
        went_back_once(world);
    };
    always_ends(story, &Ends { reconciled: vec![Completed; 2], ..went_back(Refunded) });
}

#[test]
fn money_whose_capture_was_first_unknown_then_failed_and_then_was_taken_goes_back() {
    let story = |world: &mut World| {
        cancelled_at_the_capture(world, "tok_capture_told_void_fails");
        world.pass(MINUTES(2));
        assert_eq!(world.ends().reconciled, [Waiting], "{:#?}", names(world));
        let no = ProviderResult::CaptureFailed { code: "hiccup".into() };
        assert_eq!(told(world, RequestKind::Capture, no), Outcome::Done);
        captured(world, 400);
        went_back_once(world);
    };
    always_ends(story, &Ends { reconciled: vec![Completed; 2], ..went_back(Refunded) });
}

#[test]
fn a_part_that_was_taken_goes_back_and_so_does_the_rest_when_it_is_taken() {
    let story = |world: &mut World| {
        given_up(world, "tok_capture_told_void_fails");
        captured(world, 300);
        assert_eq!((payment(world).refunded, world.ends().fulfilment), (eur(300), Compensated), "{:#?}", names(world));
        captured(world, 300);
        captured(world, 400);
        assert_eq!((payment(world).captured, payment(world).refunded), (eur(400), eur(400)));
        assert_eq!(asked_for(world, RequestKind::Refund), 2);
    };
    always_ends(story, &Ends { reconciled: vec![Completed; 2], ..went_back(Refunded) });
}

#[test]
fn money_taken_at_once_after_a_void_was_asked_for_goes_back() {
    let story = |world: &mut World| {
        world.place("tok_silent_void_fails");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.settle();
        assert!(asked_for(world, RequestKind::Void) > 0, "{:#?}", names(world));
        let taken = ProviderResult::Captured { amount: eur(400) };
        assert_eq!(told(world, RequestKind::Authorization, taken), Outcome::Done);
        went_back_once(world);
    };
    always_ends(story, &Ends { shipment: ShipmentStatus::None, ..went_back(Refunded) });
}

#[test]
fn what_was_taken_twice_for_an_order_that_ships_goes_back_once() {
    let story = |world: &mut World| {
        world.place("tok_capture_once_void_fails");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.pass(MINUTES(60));
        captured(world, 400);
        assert_eq!(asked_for(world, RequestKind::Refund), 1, "{:#?}", names(world));
    };
    let (shipment, stock) = (ShipmentStatus::Dispatched, [(7, 0, 0), (4, 0, 0)]);
    let shipped = ends(OrderStatus::Shipped, "", &[Refunded, Captured], Waiting);
    always_ends(story, &Ends { shipment, stock, reconciled: vec![Completed], ..shipped });
}

#[test]
fn a_refund_of_money_taken_after_a_void_was_asked_for_that_fails_calls_a_person() {
    let story = |world: &mut World| {
        stands_still(world, "tok_capture_told_void_fails_refund_fails");
        captured(world, 400);
        world.pass(MINUTES(60));
        assert_eq!(payment(world).refundable(), eur(400));
    };
    always_ends(story, &Ends { reconciled: vec![NeedsAttention], ..went_back(SucceededLate) });
}

#[test]
fn a_void_that_the_payment_does_not_know_of_cannot_be_taken_as_done() {
    let story = |world: &mut World| {
        world.unavailable.insert("RequestPaymentVoid", u32::MAX);
        cancelled_at_the_capture(world, "tok_capture_told_void_fails");
        let no = ProviderResult::CaptureFailed { code: "hiccup".into() };
        assert_eq!(told(world, RequestKind::Capture, no), Outcome::Done);
        world.pass(MINUTES(30));
        assert_eq!(world.ends().fulfilment, NeedsAttention, "{:#?}", names(world));
        assert!(matches!(world.refuses(FULFILMENT, Skip), Refusal::NotSkipped { .. }));
        captured(world, 400);
        assert_eq!(world.ends().payments, [Captured], "nobody has asked to let it go yet");
        world.unavailable.clear();
        world.pass(MINUTES(10));
        went_back_once(world);
    };
    always_ends(story, &Ends { reconciled: vec![], ..went_back(Refunded) });
}

/// What happens to an order whose money was asked to be let go, and whose capture may yet have taken it.
#[derive(Debug, Clone)]
enum Happens {
    Captured(i64, ResultSource),
    VoidFails(prop::sample::Index),
    Refunded(prop::sample::Index, bool, ResultSource),
    RefundFails(prop::sample::Index),
    IsRetried,
    IsSkipped,
    FeedIsSilent(bool),
    Silence(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let source = || prop_oneof![Just(ResultSource::Webhook), Just(ResultSource::Response), Just(ResultSource::Fetch)];
    let any_request = any::<prop::sample::Index>;
    prop_oneof![
        1 => (1..400i64, source()).prop_map(|(amount, source)| Happens::Captured(amount, source)),
        2 => source().prop_map(|source| Happens::Captured(400, source)),
        4 => any_request().prop_map(Happens::VoidFails),
        3 => (any_request(), any::<bool>(), source()).prop_map(|(nth, all, source)| Happens::Refunded(nth, all, source)),
        2 => any_request().prop_map(Happens::RefundFails),
        2 => Just(Happens::IsRetried),
        2 => Just(Happens::IsSkipped),
        1 => any::<bool>().prop_map(Happens::FeedIsSilent),
        3 => (1..400u64).prop_map(Happens::Silence),
    ]
}

fn happened(world: &mut World, what: Happens, request: u128) {
    let tells = |world: &mut World, kind, nth: prop::sample::Index, said: &dyn Fn(Money) -> ProviderResult, source| {
        let all = world.requests_of(kind, 0);
        if !all.is_empty() {
            let request = all[nth.index(all.len())];
            let said = said(payment(world).requests[&request].amount);
            world.bank_tells_about(request, 0, said, source);
        }
    };
    match what {
        Happens::Captured(amount, source) => {
            world.bank_tells_of(RequestKind::Capture, 0, ProviderResult::Captured { amount: eur(amount) }, source);
        }
        Happens::VoidFails(nth) => {
            let no = |_| ProviderResult::VoidFailed { code: "not_now".into() };
            tells(world, RequestKind::Void, nth, &no, ResultSource::Webhook);
        }
        Happens::Refunded(nth, all, source) => {
            let part = |asked: Money| if all { asked } else { eur((asked.amount / 2).max(1)) };
            tells(world, RequestKind::Refund, nth, &|asked| ProviderResult::Refunded { amount: part(asked) }, source);
        }
        Happens::RefundFails(nth) => {
            let no = |_| ProviderResult::RefundFailed { code: "account_closed".into() };
            tells(world, RequestKind::Refund, nth, &no, ResultSource::Webhook);
        }
        Happens::IsRetried => acted(world, Retry, request),
        Happens::IsSkipped => is_skipped(world, request),
        Happens::FeedIsSilent(silent) => world.silent_feed = silent,
        Happens::Silence(seconds) => world.pass(Duration::from_secs(seconds)),
    }
    world.settle();
}

/// A person does the same about whatever needs one.
fn acted(world: &mut World, action: domain::saga::Action, request: u128) {
    for saga in world.sagas.keys().cloned().collect::<Vec<_>>() {
        if world.view(&saga).state() == NeedsAttention {
            _ = world.acts_on(&saga, &Act { request_id: Uuid::from_u128(request), ..asks(action) });
        }
    }
    world.settle();
}

/// A person takes the void as done. What is a refund is not: a person who says so has the money given back by hand.
fn is_skipped(world: &mut World, request: u128) {
    let at_a_void = world.fulfilment().current().is_some_and(|leg| leg.step == "authorise")
        && world.requests_of(RequestKind::Refund, 0).is_empty();
    if at_a_void && world.needs_attention(FULFILMENT) {
        _ = world.acts(FULFILMENT, &Act { request_id: Uuid::from_u128(request), ..asks(Skip) });
    }
}

/// Whether a saga is after the money, or has called a person: one that only asks about an unknown outcome is not.
fn is_after_it(world: &World) -> bool {
    let seeks = |saga: &String| {
        let view = world.view(saga);
        !view.state().is_end() && view.step() != Some("pursue")
    };
    world.sagas.keys().any(seeks)
}

fn kept(world: &World) -> i64 {
    payment(world).captured.amount - payment(world).refunded.amount
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_money_of_a_cancelled_order_goes_back_whatever_void_and_capture_become(
        story in proptest::collection::vec(happens(), 4..20)
    ) {
        let mut world = World::with_stock(10, 5);
        given_up(&mut world, "tok_capture_told_void_told_refund_told");
        for (what, request) in story.into_iter().zip(1..) {
            happened(&mut world, what, request);
            let payment = payment(&world);
            prop_assert!(payment.refunded.amount + payment.refund_pending.amount <= payment.captured.amount);
            prop_assert!(world.silent_feed || kept(&world) == 0 || is_after_it(&world), "{:#?}", names(&world));
        }
        // From now on the bank does what it is asked for, and a person tries again what stands still.
        world.silent_feed = false;
        world.bank_tells_of(RequestKind::Capture, 0, ProviderResult::Captured { amount: eur(400) }, ResultSource::Webhook);
        world.settle();
        for request in 100..108 {
            world.pass(MINUTES(1));
            for open in payment(&world).open_requests() {
                let said = match open.kind {
                    RequestKind::Refund => ProviderResult::Refunded { amount: open.amount },
                    RequestKind::Void => ProviderResult::VoidFailed { code: "already_captured".into() },
                    RequestKind::Capture | RequestKind::Authorization => continue,
                };
                world.bank_tells_about(open.request_id, 0, said, ResultSource::Webhook);
            }
            world.settle();
            acted(&mut world, Retry, request);
        }
        world.pass(MINUTES(10));
        prop_assert_eq!(kept(&world), 0, "{:#?}", names(&world));
        prop_assert!(world.sagas.keys().all(|saga| world.view(saga).state().is_end()), "{:#?}", names(&world));
        prop_assert_eq!(world.ends().order, OrderStatus::Cancelled);
    }
}
