//! Money that is taken after somebody asked to let it go: it goes back, whatever became of that void.

use super::*;

fn said_captured(amount: i64) -> ProviderResult {
    ProviderResult::Captured { amount: eur(amount) }
}

fn late_captured(amount: i64) -> Event {
    let (kind, amount, provider_ref) = (LateSuccess::Captured, eur(amount), reference());
    Event::PaymentSucceededLate(PaymentSucceededLate { request_id: C, provider_ref, kind, amount })
}

fn no_void() -> ProviderResult {
    ProviderResult::VoidFailed { code: "no".into() }
}

/// A payment whose capture was said to have failed, and which is then given up.
fn given_up(then: impl IntoIterator<Item = Event>) -> Given<Payment> {
    let past = [requested(), authorized(), capture_requested(C, 100), capture_failed(C), void_requested(V)];
    given(past.into_iter().chain(then))
}

#[test]
fn money_taken_after_a_void_was_requested_goes_back_whatever_became_of_the_void() {
    for void in [vec![], vec![void_failed()], vec![unknown(V)], vec![unknown(V), void_failed()]] {
        let taken = given_up(void).when(result(C, said_captured(100))).then([late(C, LateSuccess::Captured)]);
        assert_eq!((taken.state().status, taken.state().refundable()), (Status::SucceededLate, eur(100)));
        let taken = taken.when(result(C, said_captured(100))).then_nothing();
        let taken = taken.when(fetched(C, said_captured(100))).then_nothing();
        let taken = taken.when(void_anew()).then_rejected(Rejection::AlreadyCaptured);
        let asked = taken.when(refund_all(R)).then([refund_requested(R, 100)]);
        let asked = asked.when(refund_all(R2)).then_rejected(Rejection::NothingToRefund);
        let back = asked.when(result(R, ProviderResult::Refunded { amount: eur(100) })).then([refunded(R, 100)]);
        assert_eq!(back.state().status, Status::Refunded);
        let back = back.when(result(C, said_captured(100))).then_nothing();
        back.when(refund_all(R2)).then_rejected(Rejection::NothingToRefund);
    }
}

fn void_anew() -> Command {
    void(RequestId(uuid::Uuid::from_u128(77)))
}

#[test]
fn what_is_told_of_the_void_after_the_money_was_taken_changes_no_amount() {
    let taken = given_up([]).when(result(C, said_captured(100))).then([late(C, LateSuccess::Captured)]);
    let failed = taken.clone().when(result(V, no_void())).then([void_failed()]);
    assert_eq!((failed.state().status, failed.state().refundable()), (Status::SucceededLate, eur(100)));
    failed.when(result(V, no_void())).then_nothing();
    taken.when(result(V, ProviderResult::Voided)).then_rejected(Rejection::ResultMismatch(V));
    let no = ProviderResult::CaptureFailed { code: "no".into() };
    given_up([late(C, LateSuccess::Captured)]).when(result(C, no)).then_nothing();
}

#[test]
fn a_part_that_was_taken_goes_back_and_so_does_the_rest() {
    let part = given_up([void_failed()]).when(result(C, said_captured(30))).then([late_captured(30)]);
    let part = part.when(refund_all(R)).then([refund_requested(R, 30)]);
    let rest = part.when(fetched(C, said_captured(100))).then([late_captured(70)]);
    let rest = rest.when(result(C, said_captured(30))).then_nothing();
    let rest = rest.when(result(R, ProviderResult::Refunded { amount: eur(30) })).then([refunded(R, 30)]);
    assert_eq!((rest.state().status, rest.state().refundable()), (Status::SucceededLate, eur(70)));
    rest.when(refund_all(R2)).then([refund_requested(R2, 70)]);
}

#[test]
fn money_taken_at_once_after_a_void_was_requested_goes_back() {
    let past = [vec![], vec![void_failed()], vec![unknown(V), void_failed()]];
    for void in past {
        let given_up = [requested(), unknown(A), void_requested(V)].into_iter().chain(void);
        let taken = given(given_up).when(result(A, said_captured(100))).then([late(A, LateSuccess::Captured)]);
        assert_eq!((taken.state().status, taken.state().refundable()), (Status::SucceededLate, eur(100)));
        taken.when(result(A, said_captured(100))).then_nothing();
    }
}

#[test]
fn a_refusal_of_the_rest_ends_an_authorization_of_which_a_part_was_taken_too_late() {
    let late_part = LateSuccess::Captured;
    let part = PaymentSucceededLate { request_id: A, provider_ref: reference(), kind: late_part, amount: eur(60) };
    let taken = given([requested(), void_requested(V)]).when(result(A, said_captured(60)));
    let taken = taken.then([Event::PaymentSucceededLate(part)]);
    let refused = taken.when(result(A, ProviderResult::Declined { code: "no".into() }));
    let (request_id, kind, asked, done) = (A, RequestKind::Authorization, eur(100), eur(60));
    let ended = refused.then([Event::PaymentFellShort(PaymentFellShort { request_id, kind, asked, done })]);
    assert!(ended.state().open_requests().iter().all(|open| open.request_id == V));
    assert_eq!(ended.state().refundable(), eur(60));
}

#[test]
fn a_capture_that_is_requested_after_a_failed_void_is_wanted() {
    let past = [requested(), authorized(), void_requested(V), void_failed(), capture_requested(C, 100)];
    let after = given(past).when(result(C, said_captured(100))).then([captured(C, 100)]);
    assert_eq!(after.state().status, Status::Captured);
    // So is the money of an earlier capture: somebody wants it again.
    let wanted = given_up([void_failed(), capture_requested(R, 100)]);
    wanted.when(result(C, said_captured(100))).then([captured(C, 100)]);
}

#[test]
fn money_taken_before_a_void_was_requested_is_an_ordinary_capture() {
    let past = [requested(), authorized(), capture_requested(C, 100), capture_failed(C)];
    let taken = given(past).when(result(C, said_captured(100))).then([captured(C, 100)]);
    taken.when(void(V)).then_rejected(Rejection::AlreadyCaptured);
}

/// Up to 0.2.0 such money was booked as an ordinary capture.
#[test]
fn the_rest_of_what_an_older_release_booked_as_an_ordinary_capture_goes_back() {
    let past = given_up([void_failed(), captured(C, 30)]);
    let rest = past.when(result(C, said_captured(100))).then([late_captured(70)]);
    rest.when(refund_all(R)).then([refund_requested(R, 100)]);
}
