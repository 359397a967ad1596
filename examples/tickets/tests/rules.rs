//! The rules of seats, bookings and the saga, without a log.

use eventsourcing::testing::Given;
use saga_engine::testing::Given as GivenSaga;
use saga_engine::{Begin, Outcome, Process as _, Source, TimesInTable};
use tickets::booking::{self, BookSeat, Booking, BookingPaid, BookingRejected, PayBooking, RejectBooking};
use tickets::saga::{Paid, TO_PAY, Tickets};
use tickets::seat::{self, HoldSeat, ReleaseSeat, Seat, SeatHeld, SeatReleased, SeatSold, SellSeat};
use uuid::Uuid;

const ANN: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

#[test]
fn a_seat_is_held_for_one_booking_and_sold_once() {
    let hold = |booking| seat::Command::HoldSeat(HoldSeat { booking });
    let sell = |booking| seat::Command::SellSeat(SellSeat { booking });
    let free = Given::<Seat>::events([]);
    free.clone().when(sell(ANN)).then_rejected(seat::Rejection::NotHeld);
    let held = free.when(hold(ANN)).then([seat::Event::SeatHeld(SeatHeld { booking: ANN })]);
    held.clone().when(hold(ANN)).then_nothing();
    held.clone().when(hold(BOB)).then_rejected(seat::Rejection::Taken);
    let release = |booking| seat::Command::ReleaseSeat(ReleaseSeat { booking });
    held.clone().when(release(BOB)).then_nothing();
    let released = held.clone().when(release(ANN));
    released.then([seat::Event::SeatReleased(SeatReleased { booking: ANN })]).when(release(ANN)).then_nothing();
    let sold = held.when(sell(ANN)).then([seat::Event::SeatSold(SeatSold { booking: ANN })]);
    sold.clone().when(sell(ANN)).then_nothing();
    sold.when(hold(BOB)).then_rejected(seat::Rejection::Taken);
}

fn booked() -> BookSeat {
    BookSeat { booking: ANN, seat: "a1".into(), guest: "Ann".into(), price_cents: 4_500 }
}

#[test]
fn a_payment_that_comes_while_the_saga_gives_up_goes_back() {
    let pay = |cents| booking::Command::PayBooking(PayBooking { cents });
    let reject = || booking::Command::RejectBooking(RejectBooking { reason: "not_paid".into() });
    let rejected =
        |refund_cents| booking::Event::BookingRejected(BookingRejected { reason: "not_paid".into(), refund_cents });
    let open = Given::<Booking>::events([booking::Event::SeatBooked(booked())]);
    open.clone().when(pay(1)).then_rejected(booking::Rejection::WrongAmount { price_cents: 4_500 });
    let ended = open.clone().when(reject()).then([rejected(0)]);
    ended.when(pay(4_500)).then_rejected(booking::Rejection::Ended);
    let paid = open.when(pay(4_500)).then([booking::Event::BookingPaid(BookingPaid { cents: 4_500 })]);
    paid.when(reject()).then([rejected(4_500)]);
}

fn begun() -> GivenSaga<Tickets> {
    let source = Source { stream: format!("booking-{ANN}"), version: 0, event: "SeatBooked".into() };
    GivenSaga::begun("booking", &Begin { source, facts: booked() }, TimesInTable)
}

#[test]
fn the_saga_sells_the_seat_once_the_guest_has_paid() {
    assert!(Tickets::validate().is_ok());
    let given = begun();
    assert_eq!(given.sends(), ["HoldSeat"]);
    let given = given.answered(Outcome::Done).then(&["StepSucceeded hold", "StepStarted pay"]);
    let given = given.hears(Paid).then(&["StepSucceeded pay", "StepStarted sell"]);
    let given = given.answered(Outcome::Done).then(&["StepSucceeded sell", "StepStarted confirm"]);
    assert_eq!(given.sends(), ["ConfirmBooking"]);
    given.answered(Outcome::Done).then(&["StepSucceeded confirm", "SagaCompleted"]);
}

#[test]
fn the_saga_lets_go_of_the_seat_when_nobody_pays() {
    let given = begun().answered(Outcome::Done).then(&["StepSucceeded hold", "StepStarted pay"]);
    let late = i64::try_from(TO_PAY.0).unwrap_or(i64::MAX);
    let given = given.at(late - 1).looks_at_the_time().then_nothing();
    let given = given.at(late).looks_at_the_time();
    let given = given.then(&["StepFailed pay", "CompensationStarted", "UndoStarted hold"]);
    assert_eq!(given.sends(), ["ReleaseSeat"]);
    let given = given.answered(Outcome::Done).then(&["UndoSucceeded hold", "UndoStarted start"]);
    assert_eq!(given.sends(), ["RejectBooking"]);
    given.answered(Outcome::Done).then(&["UndoSucceeded start", "SagaCompensated"]);
}
