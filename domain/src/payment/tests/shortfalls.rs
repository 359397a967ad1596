//! The provider has done less than was asked for, at first or for good.

use super::*;

fn said_captured(amount: i64) -> ProviderResult {
    ProviderResult::Captured { amount: eur(amount) }
}

fn said_authorized(amount: i64) -> ProviderResult {
    ProviderResult::Authorized { amount: eur(amount), capture_before: at(LAPSES) }
}

fn said_refunded(amount: i64) -> ProviderResult {
    ProviderResult::Refunded { amount: eur(amount) }
}

fn portion(done: i64) -> Option<Portion> {
    Some(Portion { asked: eur(100), done: eur(done) })
}

fn part_captured(amount: i64, done: i64) -> Event {
    let Event::PaymentCaptured(all) = captured(C, amount) else { panic!("a capture") };
    Event::PaymentCaptured(PaymentCaptured { portion: portion(done), ..all })
}

fn part_authorized(amount: i64, done: i64) -> Event {
    let Event::PaymentAuthorized(all) = authorized() else { panic!("an authorization") };
    Event::PaymentAuthorized(PaymentAuthorized { amount: eur(amount), portion: portion(done), ..all })
}

fn part_refunded(amount: i64, done: i64) -> Event {
    let Event::PaymentRefunded(all) = refunded(R, amount) else { panic!("a refund") };
    Event::PaymentRefunded(PaymentRefunded { portion: portion(done), ..all })
}

fn fell_short(request_id: RequestId, kind: RequestKind, done: i64) -> Event {
    Event::PaymentFellShort(PaymentFellShort { request_id, kind, asked: eur(100), done: eur(done) })
}

fn capturing() -> Given<Payment> {
    given([requested(), authorized(), capture_requested(C, 100)])
}

fn late_captured(amount: i64) -> Event {
    let (kind, amount, provider_ref) = (LateSuccess::Captured, eur(amount), reference());
    Event::PaymentSucceededLate(PaymentSucceededLate { request_id: C, provider_ref, kind, amount })
}

#[test]
fn a_capture_of_less_leaves_its_request_open_until_the_rest_is_told() {
    let part = capturing().when(result(C, said_captured(1))).then([part_captured(1, 1)]);
    assert_eq!((part.state().captured, part.state().refundable()), (eur(1), eur(1)));
    let open = part.state().open_requests();
    assert_eq!((open.len(), open[0].request_id, open[0].partly_done), (1, C, true));
    let part = part.when(result(C, said_captured(1))).then_nothing();
    let more = part.when(result(C, said_captured(60))).then([part_captured(59, 60)]);
    let more = more.when(result(C, said_captured(30))).then_nothing();
    let all = more.when(result(C, said_captured(100))).then([part_captured(40, 100)]);
    assert_eq!((all.state().captured, all.state().open_requests()), (eur(100), vec![]));
}

#[test]
fn a_shortfall_is_one_when_the_provider_was_asked_and_once() {
    let part = capturing().when(result(C, said_captured(1))).then([part_captured(1, 1)]);
    let short = part.when(fetched(C, said_captured(1))).then([fell_short(C, RequestKind::Capture, 1)]);
    assert_eq!(short.state().open_requests(), vec![]);
    let short = short.when(fetched(C, said_captured(1))).then_nothing();
    // What comes later still counts.
    let all = short.when(result(C, said_captured(100))).then([part_captured(99, 100)]);
    assert_eq!(all.state().requests[&C].state, RequestState::Succeeded);
    let short = [part_captured(1, 1), fell_short(C, RequestKind::Capture, 1)];
    capturing().when(fetched(C, said_captured(1))).then(short);
}

#[test]
fn a_failure_after_a_part_takes_nothing_back_and_is_a_shortfall() {
    let part = capturing().when(result(C, said_captured(1))).then([part_captured(1, 1)]);
    let no = ProviderResult::CaptureFailed { code: "no".into() };
    part.when(result(C, no)).then([fell_short(C, RequestKind::Capture, 1)]);
    let held = given([requested()]).when(result(A, said_authorized(1))).then([part_authorized(1, 1)]);
    let no = ProviderResult::Declined { code: "no".into() };
    let short = held.when(result(A, no)).then([fell_short(A, RequestKind::Authorization, 1)]);
    assert_eq!(short.state().held(), eur(1));
}

#[test]
fn after_a_part_no_second_capture_is_accepted() {
    let part = capturing().when(result(C, said_captured(1))).then([part_captured(1, 1)]);
    part.when(capture(R, 99)).then_rejected(Rejection::AlreadyCaptured);
}

#[test]
fn an_authorization_of_less_is_held_and_stays_open() {
    let held = given([requested()]).when(result(A, said_authorized(40))).then([part_authorized(40, 40)]);
    assert_eq!((held.state().held(), held.state().open_requests().len()), (eur(40), 1));
    let too_much = Rejection::CaptureExceedsAuthorized { asked: eur(100), authorized: eur(40) };
    held.clone().when(capture(C, 100)).then_rejected(too_much);
    let short = held.when(fetched(A, said_authorized(40))).then([fell_short(A, RequestKind::Authorization, 40)]);
    let all = short.when(result(A, said_authorized(100))).then([part_authorized(60, 100)]);
    assert_eq!((all.state().held(), all.state().open_requests()), (eur(100), vec![]));
}

#[test]
fn a_refund_of_the_rest_is_of_all_that_remains() {
    let part = capturing().when(result(C, said_captured(30))).then([part_captured(30, 30)]);
    let asked = part.when(refund_all(R)).then([refund_requested(R, 30)]);
    let asked = asked.when(refund_all(R)).then_nothing();
    let back = asked.when(result(R, said_refunded(30))).then([refunded(R, 30)]);
    assert_eq!(back.state().status, Status::Refunded);
    back.when(refund_all(R2)).then_rejected(Rejection::NothingToRefund);
}

#[test]
fn a_refund_of_less_stays_pending_until_the_provider_was_asked() {
    let refunding = given([paid(), vec![refund_requested(R, 100)]].concat());
    let part = refunding.when(result(R, said_refunded(30))).then([part_refunded(30, 30)]);
    assert_eq!(
        (part.state().refunded, part.state().refund_pending, part.state().refundable()),
        (eur(30), eur(70), eur(0))
    );
    let short = part.when(fetched(R, said_refunded(30))).then([fell_short(R, RequestKind::Refund, 30)]);
    assert_eq!((short.state().refund_pending, short.state().refundable()), (eur(0), eur(70)));
    let all = short.when(result(R, said_refunded(100))).then([part_refunded(70, 100)]);
    assert_eq!(all.state().status, Status::Refunded);
}

#[test]
fn money_taken_after_a_refund_was_asked_for_goes_back_too() {
    let part = capturing().when(result(C, said_captured(1))).then([part_captured(1, 1)]);
    let refunding = part.when(refund_all(R)).then([refund_requested(R, 1)]);
    let late = refunding.when(result(C, said_captured(100))).then([late_captured(99)]);
    assert_eq!((late.state().status, late.state().refundable()), (Status::SucceededLate, eur(99)));
    let late = late.when(result(R, said_refunded(1))).then([refunded(R, 1)]);
    let late = late.when(refund_all(R2)).then([refund_requested(R2, 99)]);
    let back = late.when(result(R2, said_refunded(99))).then([refunded(R2, 99)]);
    assert_eq!(back.state().status, Status::Refunded);
}

#[test]
fn money_taken_after_a_refund_has_failed_goes_back_too() {
    let part = capturing().when(result(C, said_captured(30))).then([part_captured(30, 30)]);
    let refunding = part.when(refund_all(R)).then([refund_requested(R, 30)]);
    let no = ProviderResult::RefundFailed { code: "no".into() };
    let failed = refunding.when(result(R, no)).then([refund_failed(R, 30)]);
    let late = failed.when(result(C, said_captured(100))).then([late_captured(70)]);
    late.when(refund_all(R2)).then([refund_requested(R2, 100)]);
}

#[test]
fn no_total_is_too_small_to_be_judged() {
    let part = capturing().when(result(C, said_captured(1))).then([part_captured(1, 1)]);
    let told = eur(i64::MIN);
    let mismatch = Rejection::AmountMismatch { told, asked: eur(100) };
    part.when(result(C, ProviderResult::Captured { amount: told })).then_rejected(mismatch);
}
