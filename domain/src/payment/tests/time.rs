//! What has been open for too long.

use super::*;

#[test]
fn an_open_request_is_marked_as_unknown_once() {
    let after = given([requested()]).when(mark_unknown(A)).then([unknown(A)]);
    assert!(after.state().has_unknown());
    after.when(mark_unknown(A)).then_nothing();
    for past in [vec![requested(), authorized()], vec![requested(), declined()]] {
        given(past).when(mark_unknown(A)).then_nothing();
    }
    given([requested()]).when(mark_unknown(NOBODYS)).then_rejected(Rejection::UnknownRequest(NOBODYS));
}

#[test]
fn waiting_for_the_customer_is_no_unknown_outcome() {
    let waiting = given([requested(), action_required()]).when(mark_unknown(A)).then_nothing();
    assert!(waiting.state().open_requests()[0].awaits_customer);
}

#[test]
fn what_nobody_finished_expires_and_repeated_is_nothing() {
    for past in [vec![requested()], vec![requested(), action_required()]] {
        let after = given(past).when(expire()).then([expired()]).when(expire()).then_nothing();
        assert_eq!((after.state().status, after.state().open_requests()), (Status::Expired, vec![]));
    }
    for past in [let_go(), vec![mark()], vec![requested(), declined()]] {
        given(past).when(expire()).then_nothing();
    }
}

#[test]
fn a_hold_expires_only_after_it_has_lapsed() {
    let held = || given([requested(), authorized()]);
    held().at(LAPSES - 1).when(expire()).then_rejected(Rejection::PaymentAuthorized);
    held().at(LAPSES).when(expire()).then([expired()]);
}

#[test]
fn what_is_under_way_or_done_does_not_expire() {
    given([]).when(expire()).then_rejected(Rejection::NotFound);
    given([requested(), void_requested(V)]).when(expire()).then_rejected(Rejection::VoidOpen);
    let voiding = [requested(), authorized(), void_requested(V)];
    given(voiding).at(LAPSES).when(expire()).then_rejected(Rejection::VoidOpen);
    let capturing = [requested(), authorized(), capture_requested(C, 100)];
    given(capturing).at(LAPSES).when(expire()).then_rejected(Rejection::CaptureOpen);
    given(paid()).when(expire()).then_rejected(Rejection::AlreadyCaptured);
    let late = [requested(), expired(), late(A, LateSuccess::Authorized)];
    given(late).when(expire()).then_rejected(Rejection::SucceededLate);
}

#[test]
fn an_unknown_authorization_stays_open_when_we_give_it_up_by_time() {
    let after = given([requested(), unknown(A)]).when(expire()).then([expired()]);
    assert_eq!(after.state().open_requests().len(), 1);
    // The provider's word closes it, and changes nothing else.
    let no = ProviderResult::Declined { code: "insufficient_funds".into() };
    let closed = after.clone().when(result(A, no.clone())).then([declined()]).when(result(A, no)).then_nothing();
    assert_eq!((closed.state().status, closed.state().open_requests()), (Status::Expired, vec![]));
    let closed = after.when(result(A, ProviderResult::Expired)).then([lapsed()]);
    let closed = closed.when(result(A, ProviderResult::Expired)).then_nothing();
    assert_eq!((closed.state().status, closed.state().open_requests()), (Status::Expired, vec![]));
}
