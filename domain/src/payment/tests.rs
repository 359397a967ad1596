use chrono::NaiveDate;

use super::*;
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::{OrderId, PaymentId, RequestId};
use crate::money::{Currency, Money};
use crate::testing::{Given, at};

mod given_up;
mod properties;
mod results;
mod shortfalls;
mod time;

const PAYMENT: PaymentId = PaymentId(uuid::Uuid::from_u128(1));
const ORDER: OrderId = OrderId(uuid::Uuid::from_u128(2));
/// The authorization's request.
const A: RequestId = RequestId(uuid::Uuid::from_u128(0xA));
/// The capture's request.
const C: RequestId = RequestId(uuid::Uuid::from_u128(0xC));
/// The void's request.
const V: RequestId = RequestId(uuid::Uuid::from_u128(0xF));
/// Refunds' requests.
const R: RequestId = RequestId(uuid::Uuid::from_u128(0x10));
const R2: RequestId = RequestId(uuid::Uuid::from_u128(0x11));
/// A request that nobody made.
const NOBODYS: RequestId = RequestId(uuid::Uuid::from_u128(0xFF));
/// When the hold lapses, in seconds.
const LAPSES: i64 = 604_800;

fn given(events: impl IntoIterator<Item = Event>) -> Given<Payment> {
    Given::events(events)
}

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn usd(amount: i64) -> Money {
    Money::new(amount, "USD".parse().unwrap())
}

fn placed_on() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 5).unwrap()
}

fn authorize(request_id: RequestId, amount: Money) -> Command {
    Command::RequestPaymentAuthorization(RequestPaymentAuthorization {
        payment_id: PAYMENT,
        order_id: ORDER,
        request_id,
        amount,
        payment_method: "tok_approve".into(),
        attempt_group: 0,
        tags: vec!["gift".into()],
        placed_on: placed_on(),
    })
}

fn capture(request_id: RequestId, amount: i64) -> Command {
    Command::RequestPaymentCapture(RequestPaymentCapture { request_id, amount: eur(amount) })
}

fn void(request_id: RequestId) -> Command {
    Command::RequestPaymentVoid(RequestPaymentVoid { payment_id: PAYMENT, order_id: ORDER, request_id })
}

fn refund(request_id: RequestId, amount: i64) -> Command {
    Command::RequestPaymentRefund(RequestPaymentRefund {
        request_id,
        amount: eur(amount),
        remaining: false,
        reason: "late".into(),
    })
}

fn refund_all(request_id: RequestId) -> Command {
    Command::RequestPaymentRefund(RequestPaymentRefund {
        request_id,
        amount: eur(100),
        remaining: true,
        reason: "late".into(),
    })
}

fn result(request_id: RequestId, result: ProviderResult) -> Command {
    told(request_id, result, ResultSource::Webhook)
}

/// What the provider says when it is asked again.
fn fetched(request_id: RequestId, result: ProviderResult) -> Command {
    told(request_id, result, ResultSource::Fetch)
}

fn told(request_id: RequestId, result: ProviderResult, source: ResultSource) -> Command {
    let provider_ref = Some("pr_1".to_owned());
    Command::RecordProviderResult(RecordProviderResult { request_id, result, provider_ref, source })
}

fn mark_unknown(request_id: RequestId) -> Command {
    Command::MarkPaymentOutcomeUnknown(MarkPaymentOutcomeUnknown { request_id })
}

fn expire() -> Command {
    Command::ExpirePayment(ExpirePayment {})
}

fn requested() -> Event {
    Event::PaymentAuthorizationRequested(PaymentAuthorizationRequested {
        payment_id: PAYMENT,
        order_id: ORDER,
        request_id: A,
        amount: eur(100),
        payment_method: "tok_approve".into(),
        attempt_group: 0,
        tags: vec!["gift".into()],
        placed_on: placed_on(),
        at: at(0),
    })
}

fn reference() -> Option<String> {
    Some("pr_1".into())
}

fn action_required() -> Event {
    let action_url = "https://bank.example/3ds".to_owned();
    Event::PaymentActionRequired(PaymentActionRequired { request_id: A, provider_ref: reference(), action_url })
}

fn authorized() -> Event {
    let capture_before = at(LAPSES);
    let (request_id, provider_ref, amount) = (A, reference(), eur(100));
    Event::PaymentAuthorized(PaymentAuthorized { request_id, provider_ref, amount, portion: None, capture_before })
}

fn declined() -> Event {
    let decline_code = "insufficient_funds".to_owned();
    Event::PaymentDeclined(PaymentDeclined { request_id: A, provider_ref: reference(), decline_code })
}

fn unknown(request_id: RequestId) -> Event {
    Event::PaymentOutcomeUnknown(PaymentOutcomeUnknown { request_id, at: at(0) })
}

fn capture_requested(request_id: RequestId, amount: i64) -> Event {
    Event::CaptureRequested(CaptureRequested { request_id, amount: eur(amount), at: at(0) })
}

fn captured(request_id: RequestId, amount: i64) -> Event {
    let (order_id, provider_ref, amount, placed_on) = (ORDER, reference(), eur(amount), placed_on());
    let portion = None;
    Event::PaymentCaptured(PaymentCaptured { order_id, request_id, provider_ref, amount, portion, placed_on })
}

fn capture_failed(request_id: RequestId) -> Event {
    let failure_code = "no".to_owned();
    Event::CaptureFailed(CaptureFailed { request_id, provider_ref: reference(), failure_code })
}

fn void_requested(request_id: RequestId) -> Event {
    Event::VoidRequested(VoidRequested { request_id, at: at(0) })
}

fn voided(amount: Option<i64>) -> Event {
    let (order_id, request_id, provider_ref, amount) = (ORDER, Some(V), reference(), amount.map(eur));
    Event::PaymentVoided(PaymentVoided { order_id, request_id, provider_ref, amount })
}

fn mark() -> Event {
    Event::PaymentVoided(PaymentVoided { order_id: ORDER, request_id: None, provider_ref: None, amount: None })
}

fn void_failed() -> Event {
    let failure_code = "no".to_owned();
    Event::VoidFailed(VoidFailed { request_id: V, provider_ref: reference(), failure_code })
}

fn refund_requested(request_id: RequestId, amount: i64) -> Event {
    let reason = "late".to_owned();
    Event::RefundRequested(RefundRequested { request_id, amount: eur(amount), reason, at: at(0) })
}

fn refunded(request_id: RequestId, amount: i64) -> Event {
    let (order_id, provider_ref, amount, placed_on) = (ORDER, reference(), eur(amount), placed_on());
    let portion = None;
    Event::PaymentRefunded(PaymentRefunded { order_id, request_id, provider_ref, amount, portion, placed_on })
}

fn refund_failed(request_id: RequestId, amount: i64) -> Event {
    let (provider_ref, amount, failure_code) = (reference(), eur(amount), "no".to_owned());
    Event::RefundFailed(RefundFailed { request_id, provider_ref, amount, failure_code })
}

fn expired() -> Event {
    Event::PaymentExpired(PaymentExpired { request_id: None })
}

/// The provider's own word that the authorization has lapsed.
fn lapsed() -> Event {
    Event::PaymentExpired(PaymentExpired { request_id: Some(A) })
}

fn late(request_id: RequestId, kind: LateSuccess) -> Event {
    let (provider_ref, amount) = (reference(), eur(100));
    Event::PaymentSucceededLate(PaymentSucceededLate { request_id, provider_ref, kind, amount })
}

/// A payment whose money was taken.
fn paid() -> Vec<Event> {
    vec![requested(), authorized(), capture_requested(C, 100), captured(C, 100)]
}

/// A payment whose hold was let go.
fn let_go() -> Vec<Event> {
    vec![requested(), authorized(), void_requested(V), voided(Some(100))]
}

#[test]
fn an_authorization_is_requested_once_and_repeated_is_nothing() {
    let after = given([]).when(authorize(A, eur(100))).then([requested()]);
    assert_eq!(after.state().status, Status::Requested);
    let after = after.when(authorize(A, eur(100))).then_nothing();
    after.when(authorize(R, eur(100))).then_rejected(Rejection::AuthorizationExists);
    for past in [paid(), let_go(), vec![requested(), declined()], vec![requested(), expired()]] {
        given(past.clone()).when(authorize(A, eur(100))).then_nothing();
        given(past).when(authorize(R, eur(100))).then_rejected(Rejection::AuthorizationExists);
    }
}

#[test]
fn an_amount_is_more_than_zero_and_at_most_what_a_total_may_be() {
    for amount in [0, -1, i64::MIN, Money::MAX_TOTAL + 1, i64::MAX] {
        let rejected = || Rejection::AmountOutOfRange(eur(amount));
        given([]).when(authorize(A, eur(amount))).then_rejected(rejected());
        given([requested(), authorized()]).when(capture(C, amount)).then_rejected(rejected());
        given(paid()).when(refund(R, amount)).then_rejected(rejected());
    }
}

#[test]
fn a_void_that_comes_first_is_marked_and_the_late_authorization_is_refused() {
    let after = given([]).when(void(V)).then([mark()]).when(void(V)).then_nothing();
    assert_eq!(after.state().partition_key(), Some(ORDER.to_string()));
    after.when(authorize(A, eur(100))).then_rejected(Rejection::PaymentVoided);
}

#[test]
fn what_is_authorized_is_captured_once_for_at_most_that() {
    let after = given([requested(), authorized()]).when(capture(C, 100)).then([capture_requested(C, 100)]);
    let after = after.when(capture(C, 100)).then_nothing();
    let after = after.when(capture(R, 100)).then_rejected(Rejection::CaptureOpen);
    let taken = after.when(result(C, ProviderResult::Captured { amount: eur(100) })).then([captured(C, 100)]);
    let taken = taken.when(capture(C, 100)).then_nothing();
    taken.when(capture(R, 100)).then_rejected(Rejection::AlreadyCaptured);
    let too_much = Rejection::CaptureExceedsAuthorized { asked: eur(101), authorized: eur(100) };
    given([requested(), authorized()]).when(capture(C, 101)).then_rejected(too_much);
}

#[test]
fn a_capture_is_in_the_currency_of_the_payment_and_so_is_a_refund() {
    let mismatch = Rejection::CurrencyMismatch { has: Currency::EUR, asked: usd(1).currency };
    let capture = Command::RequestPaymentCapture(RequestPaymentCapture { request_id: C, amount: usd(1) });
    given([requested(), authorized()]).when(capture).then_rejected(mismatch.clone());
    let (request_id, amount, remaining, reason) = (R, usd(1), false, String::new());
    let refund = Command::RequestPaymentRefund(RequestPaymentRefund { request_id, amount, remaining, reason });
    given(paid()).when(refund).then_rejected(mismatch);
}

#[test]
fn only_what_is_authorized_is_captured() {
    given([]).when(capture(C, 1)).then_rejected(Rejection::NotFound);
    let without = [
        vec![requested()],
        vec![requested(), action_required()],
        vec![requested(), declined()],
        vec![requested(), expired()],
        let_go(),
    ];
    for past in without {
        given(past).when(capture(C, 1)).then_rejected(Rejection::NotAuthorized);
    }
    let late = [requested(), expired(), late(A, LateSuccess::Authorized)];
    given(late).when(capture(C, 1)).then_rejected(Rejection::SucceededLate);
}

#[test]
fn after_a_failed_capture_another_may_be_asked_for() {
    let past = [requested(), authorized(), capture_requested(C, 100), capture_failed(C)];
    let after = given(past).when(capture(R, 100)).then([capture_requested(R, 100)]);
    assert_eq!(after.state().status, Status::Authorized);
}

#[test]
fn a_void_and_a_capture_are_not_open_at_once() {
    let capturing = [requested(), authorized(), capture_requested(C, 100)];
    given(capturing).when(void(V)).then_rejected(Rejection::CaptureOpen);
    let voiding = [requested(), authorized(), void_requested(V)];
    given(voiding).when(capture(C, 100)).then_rejected(Rejection::VoidOpen);
}

#[test]
fn giving_up_is_accepted_at_any_time_before_capture() {
    let before = [
        vec![requested()],
        vec![requested(), unknown(A)],
        vec![requested(), action_required()],
        vec![requested(), authorized()],
        vec![requested(), expired(), late(A, LateSuccess::Authorized)],
    ];
    for past in before {
        let after = given(past).when(void(V)).then([void_requested(V)]).when(void(V)).then_nothing();
        after.when(void(R)).then_nothing();
    }
}

#[test]
fn there_is_nothing_to_give_up_where_nothing_is_held() {
    for past in [let_go(), vec![mark()], vec![requested(), declined()], vec![requested(), expired()]] {
        given(past).when(void(R)).then_nothing();
    }
}

#[test]
fn what_was_taken_is_refunded_not_voided() {
    let taken_late = vec![requested(), expired(), late(A, LateSuccess::Captured)];
    for past in [paid(), taken_late] {
        given(past).when(void(V)).then_rejected(Rejection::AlreadyCaptured);
    }
}

#[test]
fn refunds_together_are_at_most_what_was_captured() {
    let after = given(paid()).when(refund(R, 60)).then([refund_requested(R, 60)]);
    let after = after.when(refund(R, 60)).then_nothing();
    let too_much = Rejection::RefundExceedsCaptured { asked: eur(41), refundable: eur(40) };
    let after = after.when(refund(R2, 41)).then_rejected(too_much);
    let after = after.when(refund(R2, 40)).then([refund_requested(R2, 40)]);
    let after = after.when(result(R, ProviderResult::Refunded { amount: eur(60) })).then([refunded(R, 60)]);
    assert_eq!(after.state().status, Status::Captured);
    let after = after.when(result(R2, ProviderResult::Refunded { amount: eur(40) })).then([refunded(R2, 40)]);
    assert_eq!(after.state().status, Status::Refunded);
}

#[test]
fn a_failed_refund_can_be_asked_for_again() {
    let past = [paid(), vec![refund_requested(R, 100), refund_failed(R, 100)]].concat();
    let after = given(past).when(refund(R2, 100)).then([refund_requested(R2, 100)]);
    assert_eq!((after.state().status, after.state().refund_pending), (Status::Captured, eur(100)));
}

#[test]
fn only_what_was_captured_is_refunded() {
    given([]).when(refund(R, 1)).then_rejected(Rejection::NotFound);
    for past in [vec![requested()], vec![requested(), authorized()], let_go()] {
        given(past).when(refund(R, 1)).then_rejected(Rejection::NotCaptured);
    }
}

#[test]
fn a_request_id_stands_for_one_request() {
    let held = || given([requested(), authorized()]);
    for command in [capture(A, 100), void(A), refund(A, 100)] {
        held().when(command).then_rejected(Rejection::RequestReused(A));
    }
    let voiding = given([requested(), void_requested(V)]);
    voiding.when(authorize(V, eur(100))).then_rejected(Rejection::RequestReused(V));
}

#[test]
fn a_payment_makes_a_bounded_number_of_requests() {
    let nth = |n: usize| RequestId(uuid::Uuid::from_u128(1_000 + n as u128));
    let tries = (0..MAX_REQUESTS).flat_map(|n| [refund_requested(nth(n), 1), refund_failed(nth(n), 1)]);
    let looping = given(paid().into_iter().chain(tries));
    looping.when(refund(R, 1)).then_rejected(Rejection::TooManyRequests);
}

#[test]
fn its_driver_sees_what_is_open_the_oldest_first() {
    let after = given([requested(), unknown(A)])
        .at(5)
        .when(void(V))
        .then([Event::VoidRequested(VoidRequested { request_id: V, at: at(5) })]);
    let kinds: Vec<_> = after.state().open_requests().into_iter().map(|r| (r.request_id, r.kind, r.unknown)).collect();
    assert_eq!(kinds, [(A, RequestKind::Authorization, true), (V, RequestKind::Void, false)]);
}
