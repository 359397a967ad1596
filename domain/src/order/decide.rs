//! The rules of an order. The rules of placing it are in `place.rs`.

use super::place;
use super::{
    AssessOrderRisk, CancelOrder, Command, Event, HoldOrder, HoldReason, Order, OrderCancellationRequested,
    OrderCancelled, OrderCompleted, OrderConfirmed, OrderDispatchAllowed, OrderHeld, OrderHoldReleased, OrderRejected,
    OrderRiskAssessed, OrderShipped, RecordOrderShipped, RejectOrder, Rejection, ReleaseOrderHold,
    RequestOrderCancellation, RiskAssessment, Status,
};
use crate::aggregate::Timestamp;

/// The longest reason of a rejection, hold or cancellation, in characters.
pub const MAX_REASON_CHARS: usize = 200;

pub(super) type Decision = Result<Vec<Event>, Rejection>;

pub(super) fn decide(order: &Order, command: &Command, now: Timestamp) -> Decision {
    match command {
        Command::PlaceOrder(c) => place::place(order, c, now),
        Command::AssessOrderRisk(c) => assess_risk(order, c),
        Command::ConfirmOrder(_) => confirm(order),
        Command::RejectOrder(c) => reject(order, c),
        Command::HoldOrder(c) => hold(order, c),
        Command::ReleaseOrderHold(c) => release_hold(order, c),
        Command::RequestOrderCancellation(c) => request_cancellation(order, c),
        Command::CancelOrder(c) => cancel(order, c),
        Command::AllowOrderDispatch(_) => allow_dispatch(order),
        Command::RecordOrderShipped(c) => record_shipped(order, c),
        Command::CompleteOrder(_) => complete(order),
    }
}

/// Rule: the risk is assessed once, while the order is pending. Only an order under review can be assessed again, and
/// only by a person. The verdict `review` holds the order in the same append, and a verdict that clears it releases
/// that hold in the same append.
fn assess_risk(order: &Order, c: &AssessOrderRisk) -> Decision {
    // The rules repeat their verdict when the answer was lost, also after a person has given one.
    let said_before = c.assessment == RiskAssessment::Review && order.was_reviewed;
    if order.risk == Some(c.assessment) || said_before {
        return Ok(vec![]);
    }
    match order.status {
        Status::Pending => {}
        Status::None => return Err(Rejection::NotFound),
        Status::CancelPending => return Err(Rejection::CancelPending),
        Status::Confirmed | Status::Dispatching | Status::Shipped => return Err(Rejection::NotPending),
        Status::Completed => return Err(Rejection::Completed),
        Status::Cancelled => return Err(Rejection::Cancelled),
        Status::Rejected => return Err(Rejection::Rejected),
    }
    let may_assess = if c.by_person { order.is_under_review() } else { order.risk == Some(RiskAssessment::Review) };
    match order.risk {
        Some(_) if !may_assess => return Err(Rejection::RiskAlreadyAssessed),
        None if c.by_person => return Err(Rejection::NotUnderReview),
        Some(_) | None => {}
    }
    let is_held = order.holds.contains(&HoldReason::HighRiskOfFraud);
    let (assessment, assessed_by) = (c.assessment, c.assessed_by.clone());
    let mut events = vec![Event::OrderRiskAssessed(OrderRiskAssessed { assessment, assessed_by })];
    match assessment {
        RiskAssessment::Review if !is_held => {
            events.push(Event::OrderHeld(OrderHeld { reason: HoldReason::HighRiskOfFraud }));
        }
        RiskAssessment::Approve if order.is_under_review() => events.push(released(HoldReason::HighRiskOfFraud)),
        RiskAssessment::Approve | RiskAssessment::Review | RiskAssessment::Refuse => {}
    }
    Ok(events)
}

/// Rule: a pending order is confirmed, held or not; a hold stops only the dispatch.
fn confirm(order: &Order) -> Decision {
    match order.status {
        Status::Pending => Ok(vec![Event::OrderConfirmed(OrderConfirmed {})]),
        Status::Confirmed | Status::Dispatching | Status::Shipped | Status::Completed => Ok(vec![]),
        Status::None => Err(Rejection::NotFound),
        Status::CancelPending => Err(Rejection::CancelPending),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

/// Rule: only a pending order is rejected; a later one is cancelled.
fn reject(order: &Order, c: &RejectOrder) -> Decision {
    match order.status {
        Status::Pending => Ok(vec![Event::OrderRejected(OrderRejected { reason: c.reason })]),
        Status::Rejected => Ok(vec![]),
        Status::None => Err(Rejection::NotFound),
        Status::CancelPending => Err(Rejection::CancelPending),
        Status::Confirmed | Status::Dispatching | Status::Shipped => Err(Rejection::NotPending),
        Status::Completed => Err(Rejection::Completed),
        Status::Cancelled => Err(Rejection::Cancelled),
    }
}

/// Rule: an order can be held until its dispatch is allowed, for several reasons at once.
fn hold(order: &Order, c: &HoldOrder) -> Decision {
    match order.status {
        Status::Pending | Status::Confirmed if order.holds.contains(&c.reason) => Ok(vec![]),
        Status::Pending | Status::Confirmed => Ok(vec![Event::OrderHeld(OrderHeld { reason: c.reason })]),
        Status::None => Err(Rejection::NotFound),
        Status::CancelPending => Err(Rejection::CancelPending),
        Status::Dispatching | Status::Shipped => Err(Rejection::DispatchAlreadyAllowed),
        Status::Completed => Err(Rejection::Completed),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

/// Rule: an order hold is released by its reason, unless the order has ended or is about to. A command without a reason
/// releases the only hold; the hold of a risk review is released by name or by the assessment.
fn release_hold(order: &Order, c: &ReleaseOrderHold) -> Decision {
    match order.status {
        Status::None => Err(Rejection::NotFound),
        Status::Pending | Status::Confirmed => match (c.reason, order.holds.as_slice()) {
            (Some(reason), holds) if holds.contains(&reason) => Ok(vec![released(reason)]),
            (Some(_), _) | (None, []) => Ok(vec![]),
            (None, [_]) if order.is_under_review() => Err(Rejection::UnderReview),
            (None, [reason]) => Ok(vec![released(*reason)]),
            (None, several) => Err(Rejection::SeveralHolds(several.to_vec())),
        },
        // A dispatch is never allowed while held: from then on there is no hold.
        Status::Dispatching | Status::Shipped | Status::Completed => Ok(vec![]),
        Status::CancelPending => Err(Rejection::CancelPending),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

/// Rule: the first command wins: an order can be cancelled until its dispatch is allowed, and not afterwards.
fn request_cancellation(order: &Order, c: &RequestOrderCancellation) -> Decision {
    match order.status {
        Status::Pending | Status::Confirmed => {
            let reason = checked_reason(&c.reason)?;
            Ok(vec![Event::OrderCancellationRequested(OrderCancellationRequested { reason })])
        }
        Status::CancelPending | Status::Cancelled => Ok(vec![]),
        Status::None => Err(Rejection::NotFound),
        Status::Dispatching | Status::Shipped => Err(Rejection::DispatchAlreadyAllowed),
        Status::Completed => Err(Rejection::Completed),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

/// Rule: a saga cancels an order that was confirmed or is being cancelled, once everything is undone; also one whose
/// dispatch was allowed but turned out to be impossible. A pending order is rejected instead.
fn cancel(order: &Order, c: &CancelOrder) -> Decision {
    match order.status {
        Status::CancelPending | Status::Confirmed | Status::Dispatching => {
            let reason = checked_reason(&c.reason)?;
            Ok(vec![Event::OrderCancelled(OrderCancelled { reason })])
        }
        Status::Cancelled => Ok(vec![]),
        Status::None => Err(Rejection::NotFound),
        Status::Pending => Err(Rejection::Pending),
        Status::Shipped => Err(Rejection::Shipped),
        Status::Completed => Err(Rejection::Completed),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

/// Rule: the dispatch is allowed only for a confirmed order that is neither held nor being cancelled.
fn allow_dispatch(order: &Order) -> Decision {
    match (order.status, order.held()) {
        (Status::Confirmed, None) => Ok(vec![Event::OrderDispatchAllowed(OrderDispatchAllowed {})]),
        (Status::Confirmed, Some(reason)) => Err(Rejection::Held(reason)),
        (Status::Dispatching | Status::Shipped | Status::Completed, _) => Ok(vec![]),
        (Status::None, _) => Err(Rejection::NotFound),
        (Status::Pending, _) => Err(Rejection::Pending),
        (Status::CancelPending, _) => Err(Rejection::CancelPending),
        (Status::Cancelled, _) => Err(Rejection::Cancelled),
        (Status::Rejected, _) => Err(Rejection::Rejected),
    }
}

/// Rule: the goods leave once, after their dispatch was allowed.
fn record_shipped(order: &Order, c: &RecordOrderShipped) -> Decision {
    match order.status {
        Status::Dispatching => Ok(vec![Event::OrderShipped(OrderShipped { shipment_id: c.shipment_id })]),
        Status::Shipped | Status::Completed if order.shipment_id == Some(c.shipment_id) => Ok(vec![]),
        Status::Shipped => Err(Rejection::Shipped),
        Status::Completed => Err(Rejection::Completed),
        Status::None => Err(Rejection::NotFound),
        Status::Pending | Status::Confirmed => Err(Rejection::DispatchNotAllowed),
        Status::CancelPending => Err(Rejection::CancelPending),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

/// Rule: a shipped order is complete when its goods have arrived.
fn complete(order: &Order) -> Decision {
    match order.status {
        Status::Shipped => Ok(vec![Event::OrderCompleted(OrderCompleted {})]),
        Status::Completed => Ok(vec![]),
        Status::None => Err(Rejection::NotFound),
        Status::Pending | Status::Confirmed | Status::Dispatching => Err(Rejection::NotShipped),
        Status::CancelPending => Err(Rejection::CancelPending),
        Status::Cancelled => Err(Rejection::Cancelled),
        Status::Rejected => Err(Rejection::Rejected),
    }
}

fn released(reason: HoldReason) -> Event {
    Event::OrderHoldReleased(OrderHoldReleased { reason: Some(reason) })
}

fn checked_reason(reason: &str) -> Result<String, Rejection> {
    let chars = reason.chars().count();
    if chars > MAX_REASON_CHARS { Err(Rejection::ReasonLength(chars)) } else { Ok(reason.to_owned()) }
}
