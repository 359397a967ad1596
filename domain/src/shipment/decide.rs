//! The rules of a shipment.

use super::{
    CancelShipment, Command, Event, PlanShipment, Rejection, ReportShipmentLost, Shipment, ShipmentCancelled,
    ShipmentDelivered, ShipmentDispatched, ShipmentLost, ShipmentPlanned, ShipmentReady, Status,
};
use crate::ids::OrderId;

/// The most lines of a shipment, as of an order.
pub const MAX_LINES: usize = 100;

/// The longest reason of a loss or a cancellation, in characters.
pub const MAX_REASON_CHARS: usize = 200;

type Decision = Result<Vec<Event>, Rejection>;

pub(super) fn decide(shipment: &Shipment, command: &Command) -> Decision {
    match command {
        Command::PlanShipment(c) => plan(shipment, c),
        Command::MarkShipmentReady(_) => mark_ready(shipment),
        Command::DispatchShipment(_) => dispatch(shipment),
        Command::DeliverShipment(_) => deliver(shipment),
        Command::ReportShipmentLost(c) => report_lost(shipment, c),
        Command::CancelShipment(c) => cancel(shipment, c),
    }
}

/// Rule: a shipment is planned once, and not after it was cancelled, even if the cancellation came first.
fn plan(shipment: &Shipment, c: &PlanShipment) -> Decision {
    match shipment.status {
        Status::None if !(1..=MAX_LINES).contains(&c.lines.len()) => Err(Rejection::LineCount(c.lines.len())),
        Status::None => {
            let planned = ShipmentPlanned { order_id: c.order_id, lines: c.lines.clone() };
            Ok(vec![Event::ShipmentPlanned(planned)])
        }
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::Planned | Status::Ready | Status::Dispatched | Status::Delivered | Status::Lost => {
            let same = shipment.order_id == Some(c.order_id) && shipment.lines == c.lines;
            if same { Ok(vec![]) } else { Err(Rejection::AlreadyExists) }
        }
    }
}

/// Rule: a planned shipment can be packed.
fn mark_ready(shipment: &Shipment) -> Decision {
    let order_id = order_of(shipment)?;
    match shipment.status {
        Status::Planned => Ok(vec![Event::ShipmentReady(ShipmentReady { order_id })]),
        Status::Ready | Status::Dispatched | Status::Delivered | Status::Lost => Ok(vec![]),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::None => Err(Rejection::NotFound),
    }
}

/// Rule: only a packed shipment leaves the warehouse.
fn dispatch(shipment: &Shipment) -> Decision {
    let order_id = order_of(shipment)?;
    match shipment.status {
        Status::Ready => Ok(vec![Event::ShipmentDispatched(ShipmentDispatched { order_id })]),
        Status::Dispatched | Status::Delivered | Status::Lost => Ok(vec![]),
        Status::Planned => Err(Rejection::NotReady),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::None => Err(Rejection::NotFound),
    }
}

/// Rule: only a dispatched shipment can arrive, and not after it was reported lost.
fn deliver(shipment: &Shipment) -> Decision {
    let order_id = order_of(shipment)?;
    match shipment.status {
        Status::Dispatched => Ok(vec![Event::ShipmentDelivered(ShipmentDelivered { order_id })]),
        Status::Delivered => Ok(vec![]),
        Status::Lost => Err(Rejection::Lost),
        Status::Planned | Status::Ready => Err(Rejection::NotDispatched),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::None => Err(Rejection::NotFound),
    }
}

/// Rule: only a dispatched shipment can get lost, and not after it arrived.
fn report_lost(shipment: &Shipment, c: &ReportShipmentLost) -> Decision {
    let order_id = order_of(shipment)?;
    match shipment.status {
        Status::Dispatched => {
            let reason = checked_reason(&c.reason)?;
            Ok(vec![Event::ShipmentLost(ShipmentLost { order_id, reason })])
        }
        Status::Lost => Ok(vec![]),
        Status::Delivered => Err(Rejection::Delivered),
        Status::Planned | Status::Ready => Err(Rejection::NotDispatched),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::None => Err(Rejection::NotFound),
    }
}

/// Rule: a shipment that has not left can be cancelled. One that was never planned is marked, so that its late plan is
/// refused.
fn cancel(shipment: &Shipment, c: &CancelShipment) -> Decision {
    match shipment.status {
        Status::None | Status::Planned | Status::Ready => {
            let order_id = shipment.order_id.unwrap_or(c.order_id);
            let reason = checked_reason(&c.reason)?;
            Ok(vec![Event::ShipmentCancelled(ShipmentCancelled { order_id, reason })])
        }
        Status::Cancelled => Ok(vec![]),
        Status::Dispatched | Status::Delivered | Status::Lost => Err(Rejection::Dispatched),
    }
}

fn order_of(shipment: &Shipment) -> Result<OrderId, Rejection> {
    shipment.order_id.ok_or(Rejection::NotFound)
}

fn checked_reason(reason: &str) -> Result<String, Rejection> {
    let chars = reason.chars().count();
    if chars > MAX_REASON_CHARS { Err(Rejection::ReasonLength(chars)) } else { Ok(reason.to_owned()) }
}
