//! What the provider says, in every order that it may come.

use super::*;

fn said_authorized() -> ProviderResult {
    ProviderResult::Authorized { amount: eur(100), capture_before: at(LAPSES) }
}

fn said_captured() -> ProviderResult {
    ProviderResult::Captured { amount: eur(100) }
}

fn said_declined() -> ProviderResult {
    ProviderResult::Declined { code: "insufficient_funds".into() }
}

fn said_action_required() -> ProviderResult {
    ProviderResult::ActionRequired { action_url: "https://bank.example/3ds".into() }
}

fn said_refunded() -> ProviderResult {
    ProviderResult::Refunded { amount: eur(100) }
}

const NO: &str = "no";

#[test]
fn an_open_authorization_takes_every_answer_and_a_repeat_is_nothing() {
    for open in [vec![requested()], vec![requested(), unknown(A)], vec![requested(), action_required()]] {
        let answers = [
            (said_authorized(), authorized(), Status::Authorized),
            (said_declined(), declined(), Status::Declined),
            (ProviderResult::Expired, lapsed(), Status::Expired),
            (said_captured(), captured(A, 100), Status::Captured),
        ];
        for (said, event, status) in answers {
            let after = given(open.clone()).when(result(A, said.clone())).then([event]);
            assert_eq!(after.state().status, status);
            after.when(result(A, said)).then_nothing();
        }
    }
}

#[test]
fn the_customer_is_asked_once_and_not_after_the_outcome() {
    for open in [vec![requested()], vec![requested(), unknown(A)]] {
        let after = given(open).when(result(A, said_action_required())).then([action_required()]);
        assert_eq!(after.state().status, Status::ActionRequired);
        after.when(result(A, said_action_required())).then_nothing();
    }
    for past in [vec![requested(), authorized()], paid(), let_go(), vec![requested(), expired()]] {
        given(past).when(result(A, said_action_required())).then_nothing();
    }
}

#[test]
fn a_result_of_a_request_that_nobody_made_is_refused() {
    for past in [vec![], vec![requested()], paid()] {
        let rejected = Rejection::UnknownRequest(NOBODYS);
        given(past.clone()).when(result(NOBODYS, said_captured())).then_rejected(rejected.clone());
        given(past).when(result(NOBODYS, said_authorized())).then_rejected(rejected);
    }
}

#[test]
fn a_result_fits_the_kind_of_its_request() {
    let all = [requested(), authorized(), capture_requested(C, 100), captured(C, 100), refund_requested(R, 100)];
    let wrong = [
        (A, ProviderResult::Voided),
        (A, said_refunded()),
        (A, ProviderResult::CaptureFailed { code: NO.into() }),
        (C, said_authorized()),
        (C, said_declined()),
        (C, ProviderResult::Expired),
        (C, ProviderResult::Voided),
        (R, said_captured()),
        (R, ProviderResult::VoidFailed { code: NO.into() }),
    ];
    for (id, said) in wrong {
        given(all.clone()).when(result(id, said)).then_rejected(Rejection::ResultMismatch(id));
    }
    let voiding = [requested(), void_requested(V)];
    given(voiding).when(result(V, said_action_required())).then_rejected(Rejection::ResultMismatch(V));
}

#[test]
fn a_capture_that_we_did_not_ask_for_does_not_land_on_the_authorization() {
    let held = given([requested(), authorized()]);
    held.when(result(A, said_captured())).then_rejected(Rejection::ResultMismatch(A));
}

#[test]
fn a_result_is_about_at_most_what_was_asked_in_its_currency() {
    for told in [eur(101), eur(0), eur(-1), usd(100)] {
        let mismatch = || Rejection::AmountMismatch { told, asked: eur(100) };
        let said = ProviderResult::Authorized { amount: told, capture_before: at(LAPSES) };
        given([requested()]).when(result(A, said)).then_rejected(mismatch());
        let said = ProviderResult::Captured { amount: told };
        let capturing = [requested(), authorized(), capture_requested(C, 100)];
        given(capturing).when(result(C, said)).then_rejected(mismatch());
        let refunding = [paid(), vec![refund_requested(R, 100)]].concat();
        let said = ProviderResult::Refunded { amount: told };
        given(refunding).when(result(R, said)).then_rejected(mismatch());
    }
}

#[test]
fn a_late_failure_never_takes_a_success_back() {
    let held = vec![requested(), authorized()];
    let refunded_all = [paid(), vec![refund_requested(R, 100), refunded(R, 100)]].concat();
    for past in [held.clone(), paid(), let_go(), refunded_all.clone()] {
        given(past).when(result(A, said_declined())).then_nothing();
    }
    for past in [paid(), let_go(), refunded_all.clone()] {
        given(past).when(result(A, ProviderResult::Expired)).then_nothing();
    }
    given(paid()).when(result(C, ProviderResult::CaptureFailed { code: NO.into() })).then_nothing();
    given(let_go()).when(result(V, ProviderResult::VoidFailed { code: NO.into() })).then_nothing();
    given(refunded_all).when(result(R, ProviderResult::RefundFailed { code: NO.into() })).then_nothing();
}

#[test]
fn a_hold_that_lapsed_has_expired_unless_its_capture_is_open() {
    let after = given([requested(), authorized()]).when(result(A, ProviderResult::Expired)).then([lapsed()]);
    after.when(result(A, ProviderResult::Expired)).then_nothing();
    let capturing = [requested(), authorized(), capture_requested(C, 100)];
    given(capturing).when(result(A, ProviderResult::Expired)).then_nothing();
}

#[test]
fn a_failed_capture_stays_authorized_and_repeated_is_nothing() {
    let capturing = given([requested(), authorized(), capture_requested(C, 100)]);
    let no = result(C, ProviderResult::CaptureFailed { code: NO.into() });
    let after = capturing.when(no.clone()).then([capture_failed(C)]).when(no).then_nothing();
    assert_eq!((after.state().status, after.state().open_requests()), (Status::Authorized, vec![]));
}

#[test]
fn money_taken_on_our_request_lands_even_after_a_failure_was_told() {
    let failed = [requested(), authorized(), capture_requested(C, 100), capture_failed(C)];
    let after = given(failed).when(result(C, said_captured())).then([captured(C, 100)]);
    after.when(result(C, said_captured())).then_nothing();
    let unknown_one = [requested(), authorized(), capture_requested(C, 100), unknown(C)];
    given(unknown_one).when(result(C, said_captured())).then([captured(C, 100)]);
}

#[test]
fn money_is_not_taken_twice_of_one_hold() {
    let past = [requested(), authorized(), capture_requested(C, 100), capture_failed(C), capture_requested(R, 100)];
    let after = given(past).when(result(C, said_captured())).then([captured(C, 100)]);
    assert_eq!(after.state().open_requests(), vec![], "the other capture has nothing left to take");
    after.when(result(R, said_captured())).then_rejected(Rejection::ResultMismatch(R));
}

#[test]
fn a_void_ends_what_is_held_and_an_authorization_that_is_still_open() {
    let voiding = given([requested(), authorized(), void_requested(V)]);
    let after = voiding.when(result(V, ProviderResult::Voided)).then([voided(Some(100))]);
    assert_eq!((after.state().status, after.state().voided, after.state().held()), (Status::Voided, eur(100), eur(0)));
    after.when(result(V, ProviderResult::Voided)).then_nothing();
    for open in [vec![requested()], vec![requested(), unknown(A)], vec![requested(), action_required()]] {
        let voiding = given(open.into_iter().chain([void_requested(V)]));
        assert_eq!(voiding.state().open_requests().len(), 2);
        let after = voiding.when(result(V, ProviderResult::Voided)).then([voided(None)]);
        assert_eq!((after.state().status, after.state().open_requests()), (Status::Voided, vec![]));
    }
}

#[test]
fn an_authorization_that_comes_while_a_void_is_open_is_then_let_go() {
    let voiding = given([requested(), void_requested(V)]);
    let after = voiding.when(result(A, said_authorized())).then([authorized()]);
    after.when(result(V, ProviderResult::Voided)).then([voided(Some(100))]);
}

#[test]
fn a_decline_or_lapse_is_what_an_open_void_wished() {
    for (said, event) in [(said_declined(), declined()), (ProviderResult::Expired, lapsed())] {
        let after = given([requested(), void_requested(V)]).when(result(A, said)).then([event]);
        assert_eq!(after.state().open_requests(), vec![]);
        after.when(result(V, ProviderResult::Voided)).then_nothing();
    }
}

#[test]
fn a_failed_void_leaves_the_hold_and_can_be_asked_for_again() {
    let voiding = given([requested(), authorized(), void_requested(V)]);
    let no = result(V, ProviderResult::VoidFailed { code: NO.into() });
    let after = voiding.when(no.clone()).then([void_failed()]).when(no).then_nothing();
    assert_eq!(after.state().status, Status::Authorized);
    let again = after.clone().when(void(R)).then([void_requested(R)]);
    assert!(again.state().has_open(RequestKind::Void));
    // It was voided after all.
    after.when(result(V, ProviderResult::Voided)).then([voided(Some(100))]);
}

#[test]
fn what_was_taken_was_not_let_go() {
    let taken = given([requested(), void_requested(V), captured(A, 100)]);
    taken.when(result(V, ProviderResult::Voided)).then_rejected(Rejection::ResultMismatch(V));
}

#[test]
fn a_success_after_the_end_is_late_and_never_a_silent_resurrection() {
    let ends = [
        vec![requested(), expired()],
        vec![requested(), action_required(), expired()],
        vec![requested(), declined()],
        vec![requested(), unknown(A), void_requested(V), voided(None)],
    ];
    for end in ends {
        let after = given(end.clone()).when(result(A, said_authorized())).then([late(A, LateSuccess::Authorized)]);
        assert_eq!((after.state().status, after.state().held()), (Status::SucceededLate, eur(100)));
        after.when(result(A, said_authorized())).then_nothing();
        let after = given(end).when(result(A, said_captured())).then([late(A, LateSuccess::Captured)]);
        assert_eq!((after.state().status, after.state().refundable()), (Status::SucceededLate, eur(100)));
        after.when(result(A, said_captured())).then_nothing();
    }
}

#[test]
fn what_was_known_before_the_end_is_no_late_success() {
    given(let_go()).when(result(A, said_authorized())).then_nothing();
    given([requested(), authorized(), expired()]).when(result(A, said_authorized())).then_nothing();
}

#[test]
fn a_capture_that_succeeds_after_the_hold_lapsed_is_late() {
    let lapsed = [requested(), authorized(), capture_requested(C, 100), capture_failed(C), expired()];
    let after = given(lapsed).when(result(C, said_captured())).then([late(C, LateSuccess::Captured)]);
    assert_eq!(after.state().refundable(), eur(100));
    let released = [requested(), authorized(), capture_requested(C, 100), capture_failed(C)];
    let released = released.into_iter().chain([void_requested(V), voided(Some(100))]);
    given(released).when(result(C, said_captured())).then_rejected(Rejection::ResultMismatch(C));
}

#[test]
fn a_late_success_goes_back_by_void_or_refund() {
    let held = given([requested(), expired(), late(A, LateSuccess::Authorized)]);
    let after = held.when(void(V)).then([void_requested(V)]);
    let after = after.when(result(V, ProviderResult::Voided)).then([voided(Some(100))]);
    assert_eq!(after.state().status, Status::Voided);
    let taken = given([requested(), expired(), late(A, LateSuccess::Captured)]);
    let after = taken.when(refund(R, 100)).then([refund_requested(R, 100)]);
    let after = after.when(result(R, said_refunded())).then([refunded(R, 100)]);
    assert_eq!(after.state().status, Status::Refunded);
}

#[test]
fn a_failed_refund_leaves_the_money_taken_and_a_late_refund_still_lands() {
    let refunding = given([paid(), vec![refund_requested(R, 100)]].concat());
    let no = result(R, ProviderResult::RefundFailed { code: NO.into() });
    let after = refunding.when(no.clone()).then([refund_failed(R, 100)]).when(no).then_nothing();
    assert_eq!((after.state().status, after.state().refundable()), (Status::Captured, eur(100)));
    let back = after.when(result(R, said_refunded())).then([refunded(R, 100)]);
    back.when(result(R, said_refunded())).then_nothing();
}

#[test]
fn a_late_refund_does_not_give_back_what_another_is_giving_back() {
    let past = [paid(), vec![refund_requested(R, 100), refund_failed(R, 100), refund_requested(R2, 100)]].concat();
    let mismatch = Rejection::AmountMismatch { told: eur(100), asked: eur(0) };
    given(past).when(result(R, said_refunded())).then_rejected(mismatch);
}
