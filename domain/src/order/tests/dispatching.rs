//! When goods may leave, and what follows.

use super::*;

#[test]
fn goods_leave_only_for_a_confirmed_order() {
    in_every_status(
        &allow_dispatch(),
        [
            No(Rejection::NotFound),
            No(Rejection::Pending),
            Events(vec![dispatch_allowed()]),
            Nothing,
            Nothing,
            Nothing,
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
}

#[test]
fn goods_do_not_leave_while_the_order_is_held() {
    let held = given([placed(), confirmed(), held(HoldReason::IncorrectAddress)]);
    let held = held.when(allow_dispatch()).then_rejected(Rejection::Held(HoldReason::IncorrectAddress));
    held.when(release())
        .then([hold_released(HoldReason::IncorrectAddress)])
        .when(allow_dispatch())
        .then([dispatch_allowed()]);
}

#[test]
fn the_first_to_ask_wins_the_race_between_cancellation_and_dispatch() {
    let both = given([placed(), confirmed()]);
    let leaves = both.clone().when(allow_dispatch()).then([dispatch_allowed()]);
    leaves.when(request_cancellation()).then_rejected(Rejection::DispatchAlreadyAllowed);
    let stays = both.when(request_cancellation()).then([cancellation_requested()]);
    stays.when(allow_dispatch()).then_rejected(Rejection::CancelPending);
}

#[test]
fn goods_leave_once_and_only_after_that_was_allowed() {
    in_every_status(
        &record_shipped(SHIPMENT),
        [
            No(Rejection::NotFound),
            No(Rejection::DispatchNotAllowed),
            No(Rejection::DispatchNotAllowed),
            Events(vec![shipped()]),
            Nothing,
            Nothing,
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
    for (status, no) in [(Status::Shipped, Rejection::Shipped), (Status::Completed, Rejection::Completed)] {
        given(past(status)).when(record_shipped(OTHER_SHIPMENT)).then_rejected(no);
    }
}

#[test]
fn an_order_is_complete_when_its_goods_have_arrived() {
    in_every_status(
        &complete(),
        [
            No(Rejection::NotFound),
            No(Rejection::NotShipped),
            No(Rejection::NotShipped),
            No(Rejection::NotShipped),
            Events(vec![completed()]),
            Nothing,
            No(Rejection::CancelPending),
            No(Rejection::Cancelled),
            No(Rejection::Rejected),
        ],
    );
}
