use super::*;
use crate::aggregate::Aggregate;
use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::testing::Given;

const ORDER: OrderId = OrderId(uuid::Uuid::from_u128(1));

fn given(events: impl IntoIterator<Item = Event>) -> Given<Shipment> {
    Given::events(events)
}

fn lines(count: usize) -> Vec<ShipmentLine> {
    vec![ShipmentLine { item: "MUG-1@main".parse().unwrap(), quantity: Quantity::new(2).unwrap() }; count]
}

fn plan() -> Command {
    Command::PlanShipment(PlanShipment { order_id: ORDER, lines: lines(1) })
}

fn planned() -> Event {
    Event::ShipmentPlanned(ShipmentPlanned { order_id: ORDER, lines: lines(1) })
}

fn mark_ready() -> Command {
    Command::MarkShipmentReady(MarkShipmentReady {})
}

fn ready() -> Event {
    Event::ShipmentReady(ShipmentReady { order_id: ORDER })
}

fn dispatch() -> Command {
    Command::DispatchShipment(DispatchShipment {})
}

fn dispatched() -> Event {
    Event::ShipmentDispatched(ShipmentDispatched { order_id: ORDER })
}

fn deliver() -> Command {
    Command::DeliverShipment(DeliverShipment {})
}

fn delivered() -> Event {
    Event::ShipmentDelivered(ShipmentDelivered { order_id: ORDER })
}

fn report_lost() -> Command {
    Command::ReportShipmentLost(ReportShipmentLost { reason: "fell off a lorry".into() })
}

fn lost() -> Event {
    Event::ShipmentLost(ShipmentLost { order_id: ORDER, reason: "fell off a lorry".into() })
}

fn cancel() -> Command {
    Command::CancelShipment(CancelShipment { order_id: ORDER, reason: "not wanted".into() })
}

fn cancelled() -> Event {
    Event::ShipmentCancelled(ShipmentCancelled { order_id: ORDER, reason: "not wanted".into() })
}

/// How a shipment gets to each status.
fn past(status: Status) -> Vec<Event> {
    match status {
        Status::None => vec![],
        Status::Planned => vec![planned()],
        Status::Ready => vec![planned(), ready()],
        Status::Dispatched => vec![planned(), ready(), dispatched()],
        Status::Delivered => vec![planned(), ready(), dispatched(), delivered()],
        Status::Lost => vec![planned(), ready(), dispatched(), lost()],
        Status::Cancelled => vec![planned(), ready(), cancelled()],
    }
}

const STATUSES: [Status; 7] = [
    Status::None,
    Status::Planned,
    Status::Ready,
    Status::Dispatched,
    Status::Delivered,
    Status::Lost,
    Status::Cancelled,
];

/// What a command comes to.
enum Then {
    /// This event; the command again is nothing.
    Event(Event),
    /// It is already so.
    Nothing,
    /// The answer is no.
    Rejected(Rejection),
}

use Then::{Nothing, Rejected as No};

/// What a command comes to in every status, in the order of [`STATUSES`]: no case is left to chance.
#[track_caller]
fn in_every_status(command: &Command, expected: [Then; 7]) {
    for (status, then) in STATUSES.into_iter().zip(expected) {
        let asked = given(past(status));
        assert_eq!(asked.state().status, status);
        let asked = asked.when(command.clone());
        match then {
            Then::Event(event) => _ = asked.then([event]).when(command.clone()).then_nothing(),
            Nothing => _ = asked.then_nothing(),
            No(rejection) => _ = asked.then_rejected(rejection),
        }
    }
}

#[test]
fn a_shipment_is_planned_once() {
    in_every_status(
        &plan(),
        [Then::Event(planned()), Nothing, Nothing, Nothing, Nothing, Nothing, No(Rejection::Cancelled)],
    );
    let other = Command::PlanShipment(PlanShipment { order_id: ORDER, lines: lines(2) });
    given([planned()]).when(other).then_rejected(Rejection::AlreadyExists);
}

#[test]
fn a_shipment_has_one_to_a_hundred_lines() {
    for count in [0, 101] {
        let plan = Command::PlanShipment(PlanShipment { order_id: ORDER, lines: lines(count) });
        given([]).when(plan).then_rejected(Rejection::LineCount(count));
    }
}

#[test]
fn what_is_planned_is_packed_once() {
    in_every_status(
        &mark_ready(),
        [No(Rejection::NotFound), Then::Event(ready()), Nothing, Nothing, Nothing, Nothing, No(Rejection::Cancelled)],
    );
}

#[test]
fn only_what_is_packed_leaves_the_house() {
    in_every_status(
        &dispatch(),
        [
            No(Rejection::NotFound),
            No(Rejection::NotReady),
            Then::Event(dispatched()),
            Nothing,
            Nothing,
            Nothing,
            No(Rejection::Cancelled),
        ],
    );
}

#[test]
fn only_what_has_left_arrives() {
    in_every_status(
        &deliver(),
        [
            No(Rejection::NotFound),
            No(Rejection::NotDispatched),
            No(Rejection::NotDispatched),
            Then::Event(delivered()),
            Nothing,
            No(Rejection::Lost),
            No(Rejection::Cancelled),
        ],
    );
}

#[test]
fn only_what_has_left_gets_lost() {
    in_every_status(
        &report_lost(),
        [
            No(Rejection::NotFound),
            No(Rejection::NotDispatched),
            No(Rejection::NotDispatched),
            Then::Event(lost()),
            No(Rejection::Delivered),
            Nothing,
            No(Rejection::Cancelled),
        ],
    );
}

#[test]
fn what_has_not_left_can_be_called_off() {
    in_every_status(
        &cancel(),
        [
            Then::Event(cancelled()),
            Then::Event(cancelled()),
            Then::Event(cancelled()),
            No(Rejection::Dispatched),
            No(Rejection::Dispatched),
            No(Rejection::Dispatched),
            Nothing,
        ],
    );
}

#[test]
fn a_cancellation_that_comes_first_is_marked_and_the_late_plan_is_refused() {
    let after = given([]).when(cancel()).then([cancelled()]);
    assert_eq!(after.state().partition_key(), Some(ORDER.to_string()));
    after.when(plan()).then_rejected(Rejection::Cancelled);
}

#[test]
fn a_reason_has_at_most_two_hundred_characters() {
    let reason = "x".repeat(201);
    let long = Command::ReportShipmentLost(ReportShipmentLost { reason: reason.clone() });
    given(past(Status::Dispatched)).when(long).then_rejected(Rejection::ReasonLength(201));
    let long = Command::CancelShipment(CancelShipment { order_id: ORDER, reason });
    given([planned()]).when(long).then_rejected(Rejection::ReasonLength(201));
}
