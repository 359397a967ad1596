use chrono::TimeDelta;

use super::*;
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::{OrderId, ReservationId, StockId};
use crate::quantity::Quantity;
use crate::testing::{Given, at};

mod properties;

const R1: ReservationId = ReservationId(uuid::Uuid::from_u128(1));
const R2: ReservationId = ReservationId(uuid::Uuid::from_u128(2));
const R3: ReservationId = ReservationId(uuid::Uuid::from_u128(3));
const ORDER: OrderId = OrderId(uuid::Uuid::from_u128(100));
const OTHER_ORDER: OrderId = OrderId(uuid::Uuid::from_u128(101));
/// Fifteen minutes, in seconds.
const TTL: i64 = 900;

fn given(events: impl IntoIterator<Item = Event>) -> Given<StockItem> {
    Given::events(events)
}

fn item() -> StockId {
    "MUG-1@main".parse().unwrap()
}

fn pieces(quantity: i64) -> Quantity {
    Quantity::new(quantity).unwrap()
}

fn received(quantity: i64) -> Event {
    Event::StockReceived(StockReceived { item: item(), quantity: pieces(quantity) })
}

fn reserved(reservation_id: ReservationId, quantity: i64) -> Event {
    reserved_until(reservation_id, quantity, TTL)
}

fn reserved_until(reservation_id: ReservationId, quantity: i64, seconds: i64) -> Event {
    let (order_id, quantity, expires_at) = (ORDER, pieces(quantity), at(seconds));
    Event::StockReserved(StockReserved { reservation_id, order_id, quantity, expires_at })
}

fn committed(reservation_id: ReservationId) -> Event {
    Event::ReservationCommitted(super::ReservationCommitted { reservation_id })
}

fn released(reservation_id: ReservationId, quantity: i64, committed: bool, at: Timestamp) -> Event {
    let (order_id, reason) = (ORDER, "undone".to_owned());
    Event::ReservationReleased(ReservationReleased { reservation_id, order_id, quantity, committed, reason, at })
}

fn expired(reservation_id: ReservationId, quantity: i64, at: Timestamp) -> Event {
    Event::ReservationExpired(ReservationExpired { reservation_id, order_id: ORDER, quantity, at })
}

fn shipped(reservation_id: ReservationId, quantity: i64) -> Event {
    Event::StockShipped(StockShipped { reservation_id, order_id: ORDER, quantity, at: at(0) })
}

fn receive(quantity: i64) -> Command {
    Command::ReceiveStock(ReceiveStock { item: item(), quantity: pieces(quantity) })
}

fn adjust(delta: i64) -> Command {
    Command::AdjustStock(AdjustStock { delta, reason: "counted".into() })
}

fn reserve(reservation_id: ReservationId, quantity: i64) -> Command {
    Command::ReserveStock(ReserveStock { reservation_id, order_id: ORDER, quantity: pieces(quantity) })
}

fn renew(reservation_id: ReservationId) -> Command {
    Command::RenewReservation(RenewReservation { reservation_id })
}

fn commit(reservation_id: ReservationId) -> Command {
    Command::CommitReservation(CommitReservation { reservation_id })
}

fn release(reservation_id: ReservationId) -> Command {
    Command::ReleaseReservation(ReleaseReservation { reservation_id, order_id: ORDER, reason: "undone".into() })
}

fn expire(reservation_id: ReservationId) -> Command {
    Command::ExpireReservation(ExpireReservation { reservation_id })
}

fn ship(reservation_id: ReservationId) -> Command {
    Command::ShipStock(ShipStock { reservation_id })
}

fn restock(quantity: i64) -> Command {
    Command::RestockItems(RestockItems { order_id: ORDER, quantity: pieces(quantity) })
}

fn restocked(quantity: i64) -> Event {
    Event::StockRestocked(StockRestocked { order_id: ORDER, quantity: pieces(quantity), at: at(0) })
}

#[test]
fn what_comes_in_is_on_hand_and_two_receipts_are_two() {
    let after = given([]).when(receive(3)).then([received(3)]).when(receive(3)).then([received(3)]);
    assert_eq!((after.state().on_hand, after.state().available()), (6, 6));
    assert_eq!(after.state().item, Some(item()));
}

#[test]
fn no_new_item_may_be_called_by_dots_and_an_old_one_is_still_received() {
    for text in ["..@main", ".@main"] {
        let item: StockId = text.parse().unwrap();
        let receive = || Command::ReceiveStock(ReceiveStock { item: item.clone(), quantity: pieces(1) });
        given([]).when(receive()).then_rejected(Rejection::ReservedSku(item.sku.clone()));
        let old = Event::StockReceived(StockReceived { item: item.clone(), quantity: pieces(3) });
        let again = Event::StockReceived(StockReceived { item: item.clone(), quantity: pieces(1) });
        given([old]).when(receive()).then([again]);
    }
}

#[test]
fn a_house_holds_no_more_than_can_be_counted() {
    let mut full = StockItem::default();
    (0..MAX_ON_HAND / Quantity::MAX).for_each(|_| full.evolve(&received(Quantity::MAX)));
    let too_much = Rejection::TooMuchStock { on_hand: MAX_ON_HAND, added: 1 };
    for command in [receive(1), adjust(1)] {
        assert_eq!(full.decide(&command, at(0)), Err(too_much.clone()));
    }
}

#[test]
fn a_count_corrects_what_is_on_hand_up_and_down() {
    let adjusted = |delta| Event::StockAdjusted(StockAdjusted { item: item(), delta, reason: "counted".into() });
    let after = given([received(3)]).when(adjust(-3)).then([adjusted(-3)]).when(adjust(2)).then([adjusted(2)]);
    assert_eq!(after.state().on_hand, 2);
}

#[test]
fn a_count_does_not_take_what_is_promised_or_not_there() {
    let too_low = |reserved, committed, delta| Rejection::AdjustmentTooLow { on_hand: 3, reserved, committed, delta };
    given([received(3)]).when(adjust(-4)).then_rejected(too_low(0, 0, -4));
    given([received(3), reserved(R1, 2)]).when(adjust(-2)).then_rejected(too_low(2, 0, -2));
    given([received(3), reserved(R1, 2), committed(R1)]).when(adjust(-2)).then_rejected(too_low(0, 2, -2));
}

#[test]
fn an_adjustment_has_a_size_a_reason_and_something_to_adjust() {
    given([received(3)]).when(adjust(0)).then_rejected(Rejection::InvalidDelta(0));
    for delta in [MAX_DELTA + 1, -MAX_DELTA - 1, i64::MIN, i64::MAX] {
        given([received(3)]).when(adjust(delta)).then_rejected(Rejection::InvalidDelta(delta));
    }
    let because = |reason: String| Command::AdjustStock(AdjustStock { delta: 1, reason });
    given([received(3)]).when(because(String::new())).then_rejected(Rejection::ReasonLength(0));
    given([received(3)]).when(because("x".repeat(201))).then_rejected(Rejection::ReasonLength(201));
    given([]).when(adjust(1)).then_rejected(Rejection::NotFound);
}

#[test]
fn a_reservation_takes_no_more_than_is_available() {
    given([received(3), reserved(R1, 2)]).when(reserve(R2, 1)).then([reserved(R2, 1)]);
    let short = Rejection::OutOfStock { asked: 2, available: 1 };
    given([received(3), reserved(R1, 2)]).when(reserve(R2, 2)).then_rejected(short);
    given([]).when(reserve(R1, 1)).then_rejected(Rejection::OutOfStock { asked: 1, available: 0 });
    let held = [received(3), reserved(R1, 2), committed(R1)];
    given(held).when(reserve(R2, 2)).then_rejected(Rejection::OutOfStock { asked: 2, available: 1 });
}

#[test]
fn reserving_again_is_nothing_even_when_nothing_is_left() {
    given([received(2), reserved(R1, 2)]).when(reserve(R1, 2)).then_nothing();
}

#[test]
fn a_reservation_does_not_become_another_one() {
    let differs = Rejection::ReservationDiffers(R1);
    given([received(9), reserved(R1, 2)]).when(reserve(R1, 3)).then_rejected(differs.clone());
    let of_another = ReserveStock { reservation_id: R1, order_id: OTHER_ORDER, quantity: pieces(2) };
    given([received(9), reserved(R1, 2)]).when(Command::ReserveStock(of_another)).then_rejected(differs);
}

#[test]
fn neither_a_committed_nor_an_ended_reservation_can_be_reserved_again() {
    let ended = || Rejection::ReservationEnded(R1);
    let open = || vec![received(9), reserved(R1, 2)];
    let ends = [
        vec![committed(R1)],
        vec![committed(R1), shipped(R1, 2)],
        vec![released(R1, 2, false, at(0))],
        vec![expired(R1, 2, at(0))],
    ];
    for end in ends {
        given([open(), end].concat()).when(reserve(R1, 2)).then_rejected(ended());
    }
}

#[test]
fn an_overdue_reservation_is_free_only_by_ending_in_the_same_append() {
    let held = || given([received(3), reserved_until(R1, 2, TTL), reserved_until(R2, 1, TTL + 60)]);
    let until = |seconds| reserved_until(R3, 2, seconds + TTL);
    held().at(TTL - 1).when(reserve(R3, 2)).then_rejected(Rejection::OutOfStock { asked: 2, available: 0 });
    held().at(TTL).when(reserve(R3, 2)).then([expired(R1, 2, at(TTL)), until(TTL)]);
    // Only as many end as are needed, the longest overdue first.
    held().at(TTL + 60).when(reserve(R3, 2)).then([expired(R1, 2, at(TTL + 60)), until(TTL + 60)]);
    let all = [expired(R1, 2, at(TTL + 60)), expired(R2, 1, at(TTL + 60)), reserved_until(R3, 3, TTL + 60 + TTL)];
    let after = held().at(TTL + 60).when(reserve(R3, 3)).then(all);
    assert_eq!(after.state().available(), 0);
    // None ends if that would not be enough.
    held().at(TTL + 60).when(reserve(R3, 4)).then_rejected(Rejection::OutOfStock { asked: 4, available: 3 });
}

#[test]
fn a_committed_reservation_is_never_overdue() {
    let held = given([received(2), reserved(R1, 2), committed(R1)]).at(TTL * 1_000);
    held.when(reserve(R2, 1)).then_rejected(Rejection::OutOfStock { asked: 1, available: 0 });
}

#[test]
fn one_append_ends_a_bounded_number_of_overdue_reservations() {
    let many = i64::try_from(MAX_EXPIRED_PER_APPEND).unwrap() + 1;
    let holds = (0..many).map(|n| reserved(ReservationId(uuid::Uuid::from_u128(1_000 + n as u128)), 1));
    let full = given([received(many)].into_iter().chain(holds)).at(TTL);
    let available = many - 1;
    full.when(reserve(R1, many)).then_rejected(Rejection::OutOfStock { asked: many, available });
}

#[test]
fn a_reservation_is_renewed_to_last_longer_never_shorter() {
    let renewed =
        |seconds| Event::ReservationRenewed(ReservationRenewed { reservation_id: R1, expires_at: at(seconds) });
    let held = || given([received(2), reserved(R1, 2)]);
    held().when(renew(R1)).then_nothing();
    let after = held().at(60).when(renew(R1)).then([renewed(TTL + 60)]).when(renew(R1)).then_nothing();
    after
        .at(TTL)
        .when(expire(R1))
        .then_rejected(Rejection::ReservationNotDue { reservation_id: R1, expires_at: at(TTL + 60) });
    // Overdue, but its end is no event yet: it is still held.
    held().at(TTL * 2).when(renew(R1)).then([renewed(TTL * 3)]);
    given([received(2), reserved(R1, 2), committed(R1)]).at(60).when(renew(R1)).then_nothing();
}

#[test]
fn what_is_held_can_be_committed_and_repeated_is_nothing() {
    let after = given([received(2), reserved(R1, 2)]).when(commit(R1)).then([committed(R1)]);
    assert_eq!((after.state().reserved_pieces(), after.state().committed_pieces()), (0, 2));
    let after = after.when(commit(R1)).then_nothing().when(ship(R1)).then([shipped(R1, 2)]);
    after.when(commit(R1)).then_nothing();
    given([received(2), reserved(R1, 2)]).at(TTL * 2).when(commit(R1)).then([committed(R1)]);
}

#[test]
fn what_has_ended_or_never_came_cannot_be_renewed_committed_or_shipped() {
    let over = [received(2), reserved(R1, 2), released(R1, 2, false, at(0))];
    for command in [renew(R1), commit(R1), ship(R1)] {
        given(over.clone()).when(command).then_rejected(Rejection::ReservationEnded(R1));
    }
    for command in [renew(R1), commit(R1), ship(R1), expire(R1)] {
        given([received(2)]).when(command).then_rejected(Rejection::ReservationNotFound(R1));
    }
}

#[test]
fn a_release_gives_the_pieces_back_committed_ones_too_and_repeated_is_nothing() {
    let after = given([received(2), reserved(R1, 2)]).when(release(R1)).then([released(R1, 2, false, at(0))]);
    assert_eq!(after.state().available(), 2);
    after.when(release(R1)).then_nothing();
    let held = given([received(2), reserved(R1, 2), committed(R1)]);
    let after = held.when(release(R1)).then([released(R1, 2, true, at(0))]);
    assert_eq!((after.state().available(), after.state().committed_pieces()), (2, 0));
    after.when(release(R1)).then_nothing();
    given([received(2), reserved(R1, 2), expired(R1, 2, at(0))]).when(release(R1)).then_nothing();
}

#[test]
fn a_release_that_comes_first_is_marked_and_the_late_reservation_is_refused() {
    let after = given([received(2)]).when(release(R1)).then([released(R1, 0, false, at(0))]);
    let after = after.when(release(R1)).then_nothing();
    assert_eq!(after.state().available(), 2);
    after.when(reserve(R1, 1)).then_rejected(Rejection::ReservationEnded(R1));
}

#[test]
fn what_has_left_the_house_cannot_be_released() {
    let gone = given([received(2), reserved(R1, 2), committed(R1), shipped(R1, 2)]);
    gone.when(release(R1)).then_rejected(Rejection::ReservationShipped(R1));
}

#[test]
fn a_reservation_expires_when_it_is_due_and_repeated_is_nothing() {
    let held = || given([received(2), reserved(R1, 2)]);
    let not_due = Rejection::ReservationNotDue { reservation_id: R1, expires_at: at(TTL) };
    held().at(TTL - 1).when(expire(R1)).then_rejected(not_due);
    let after = held().at(TTL).when(expire(R1)).then([expired(R1, 2, at(TTL))]);
    assert_eq!(after.state().available(), 2);
    after.when(expire(R1)).then_nothing();
    let committed_one = given([received(2), reserved(R1, 2), committed(R1)]).at(TTL);
    committed_one.when(expire(R1)).then_rejected(Rejection::ReservationCommitted(R1));
}

#[test]
fn only_committed_pieces_leave_the_house_and_only_once() {
    given([received(2), reserved(R1, 2)]).when(ship(R1)).then_rejected(Rejection::ReservationNotCommitted(R1));
    let after = given([received(3), reserved(R1, 2), committed(R1)]).when(ship(R1)).then([shipped(R1, 2)]);
    assert_eq!((after.state().on_hand, after.state().available(), after.state().shipped), (1, 1, 2));
    after.when(ship(R1)).then_nothing();
}

#[test]
fn no_more_pieces_come_back_than_left() {
    let gone = given([received(2), reserved(R1, 2), committed(R1), shipped(R1, 2)]);
    let after = gone.when(restock(1)).then([restocked(1)]);
    let after = after.when(restock(2)).then_rejected(Rejection::RestockExceedsShipped { asked: 2, outstanding: 1 });
    assert_eq!(after.when(restock(1)).then([restocked(1)]).state().on_hand, 2);
}

#[test]
fn an_end_is_remembered_for_a_day_and_then_forgotten() {
    let day = TimeDelta::hours(24);
    let ends = [received(9), reserved(R1, 1), released(R1, 1, false, at(0)), released(R2, 0, false, at(0) + day)];
    let mut stock = given(ends).state().clone();
    stock.forget(at(0) + day);
    assert_eq!((stock.end_of(&R1), stock.ended.len()), (Some(EndKind::Released), 2));
    stock.forget(at(0) + day + TimeDelta::seconds(1));
    assert_eq!((stock.end_of(&R1), stock.ended.len()), (None, 1));
}

#[test]
fn an_event_of_a_clock_that_was_ahead_forgets_no_end() {
    let ahead = at(0) + TimeDelta::hours(25);
    let ends = [received(9), reserved(R1, 1), released(R1, 1, false, at(0)), released(R2, 0, false, ahead)];
    let mut stock = given(ends).state().clone();
    stock.forget(at(60)); // The clock is right again.
    assert_eq!((stock.end_of(&R1), stock.end_of(&R2)), (Some(EndKind::Released), Some(EndKind::Released)));
}
