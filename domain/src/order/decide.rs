//! The rules of an order. What a new order must be is in `place.rs`.

use super::place;
use super::{
    AssessOrderRisk, CancelOrder, Command, Event, HoldOrder, HoldReason, Order, OrderCancellationRequested,
    OrderCancelled, OrderCompleted, OrderConfirmed, OrderDispatchAllowed, OrderHeld, OrderHoldReleased, OrderRejected,
    OrderRiskAssessed, OrderShipped, RecordOrderShipped, RejectOrder, ReleaseOrderHold, RequestOrderCancellation,
    RiskAssessment, Status,
};
use crate::aggregate::{Rejected, Timestamp};
use crate::ids::{Location, StockId};
use crate::money::{Currency, Money};
use crate::quantity::Quantity;

/// The longest reason, in characters.
pub const MAX_REASON_CHARS: usize = 200;

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// Nothing was placed.
    #[error("there is no such order; place it first")]
    NotFound,
    /// The id is taken by another order.
    #[error("this order was already placed with other lines or for another customer; place another order")]
    AlreadyExists,
    /// No lines, or too many.
    #[error("{0} lines do not make an order; give 1 to {max}", max = place::MAX_LINES)]
    LineCount(usize),
    /// A line that does not add up.
    #[error("line {line}: {why}; price the order again")]
    InvalidLine {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// Too many pieces of one item over all lines.
    #[error("{asked} pieces of {item} are over {max}; order fewer", max = Quantity::MAX)]
    TooManyPieces {
        /// Of what.
        item: StockId,
        /// Over all lines.
        asked: i64,
    },
    /// Two locations in one order.
    #[error("an order is shipped from one location, not from {has} and {asked}; place one order for each location")]
    SeveralLocations {
        /// The first line's.
        has: Location,
        /// What was found as well.
        asked: Location,
    },
    /// Two currencies in one order.
    #[error("an order is in one currency, not in {has} and {asked}; order in one currency at a time")]
    CurrencyMismatch {
        /// The order's.
        has: Currency,
        /// What was found as well.
        asked: Currency,
    },
    /// The totals do not add up.
    #[error("the totals do not add up: {0}; price the order again")]
    TotalsMismatch(&'static str),
    /// Nothing to pay, or too much.
    #[error("a total of {0} is not more than 0 and at most {max} minor units; order less", max = Money::MAX_TOTAL)]
    TotalOutOfRange(Money),
    /// Not what the client expected to pay.
    #[error("the total is {actual}, not the {expected} expected; look at the prices and order again")]
    PriceChanged {
        /// What the client expected.
        expected: Money,
        /// What it costs.
        actual: Money,
    },
    /// Not a payment method.
    #[error("a payment method of {0} characters does not fit; give 1 to {max}", max = place::MAX_PAYMENT_METHOD_CHARS)]
    PaymentMethodLength(usize),
    /// Too many tags, or one too long or empty.
    #[error("tags do not fit; give at most {count} of 1 to {chars} characters",
        count = place::MAX_TAGS, chars = place::MAX_TAG_CHARS)]
    InvalidTags,
    /// Too long a reason.
    #[error("a reason of {0} characters does not fit; give at most {max}", max = MAX_REASON_CHARS)]
    ReasonLength(usize),
    /// The risk check has spoken.
    #[error("the risk of this order was already assessed; hold or cancel it instead")]
    RiskAlreadyAssessed,
    /// Nobody asked for a person's verdict.
    #[error("the order is not under review; wait until the rules ask for a person, or hold or cancel it instead")]
    NotUnderReview,
    /// A person must look at its risk.
    #[error("the order is under review; assess it, or release the hold `HIGH_RISK_OF_FRAUD` by its reason")]
    UnderReview,
    /// Which hold?
    #[error("the order has several holds ({}); give the `reason` of the one to release", listed(.0))]
    SeveralHolds(Vec<HoldReason>),
    /// It is past pending.
    #[error("the order is no longer pending; cancel it instead")]
    NotPending,
    /// It is still pending.
    #[error("the order is still pending; reject it, or wait until it is confirmed")]
    Pending,
    /// It must not be dispatched.
    #[error("the order is held ({0}); release the hold first")]
    Held(HoldReason),
    /// The customer does not want it any more.
    #[error("the order is being cancelled; wait for the end of that")]
    CancelPending,
    /// The goods may leave.
    #[error("the dispatch of this order is already allowed; have the goods returned instead")]
    DispatchAlreadyAllowed,
    /// The goods may not leave.
    #[error("the dispatch of this order was not allowed; ask for that first")]
    DispatchNotAllowed,
    /// The goods have left.
    #[error("the goods of this order have left; have them returned instead")]
    Shipped,
    /// The goods have not left.
    #[error("the goods of this order have not left; complete it when they have arrived")]
    NotShipped,
    /// The goods have arrived.
    #[error("the order is completed; have the goods returned instead")]
    Completed,
    /// It ended without goods.
    #[error("the order is cancelled; place another one")]
    Cancelled,
    /// It could not be fulfilled.
    #[error("the order was rejected; place another one")]
    Rejected,
}

/// The codes of all rejections of an order.
pub const REJECTION_CODES: &[&str] = &[
    "not-found",
    "already-exists",
    "line-count",
    "invalid-line",
    "too-many-pieces",
    "several-locations",
    "currency-mismatch",
    "totals-mismatch",
    "total-out-of-range",
    "price-changed",
    "payment-method-length",
    "invalid-tags",
    "reason-length",
    "risk-already-assessed",
    "order-not-under-review",
    "order-under-review",
    "several-holds",
    "order-not-pending",
    "order-pending",
    "order-held",
    "order-cancel-pending",
    "dispatch-already-allowed",
    "dispatch-not-allowed",
    "order-shipped",
    "order-not-shipped",
    "order-completed",
    "order-cancelled",
    "order-rejected",
];

impl Rejected for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::LineCount(_) => "line-count",
            Self::InvalidLine { .. } => "invalid-line",
            Self::TooManyPieces { .. } => "too-many-pieces",
            Self::SeveralLocations { .. } => "several-locations",
            Self::CurrencyMismatch { .. } => "currency-mismatch",
            Self::TotalsMismatch(_) => "totals-mismatch",
            Self::TotalOutOfRange(_) => "total-out-of-range",
            Self::PriceChanged { .. } => "price-changed",
            Self::PaymentMethodLength(_) => "payment-method-length",
            Self::InvalidTags => "invalid-tags",
            Self::ReasonLength(_) => "reason-length",
            Self::RiskAlreadyAssessed => "risk-already-assessed",
            Self::NotUnderReview => "order-not-under-review",
            Self::UnderReview => "order-under-review",
            Self::SeveralHolds(_) => "several-holds",
            Self::NotPending => "order-not-pending",
            Self::Pending => "order-pending",
            Self::Held(_) => "order-held",
            Self::CancelPending => "order-cancel-pending",
            Self::DispatchAlreadyAllowed => "dispatch-already-allowed",
            Self::DispatchNotAllowed => "dispatch-not-allowed",
            Self::Shipped => "order-shipped",
            Self::NotShipped => "order-not-shipped",
            Self::Completed => "order-completed",
            Self::Cancelled => "order-cancelled",
            Self::Rejected => "order-rejected",
        }
    }
}

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

/// Rule: the risk is assessed once, while the order is pending; only what is under review can be assessed again, and only
/// then by a person. `review` holds the order in the same append, what clears it releases that hold in the same append.
fn assess_risk(order: &Order, c: &AssessOrderRisk) -> Decision {
    // The rules' word comes again when its answer was lost, also after a person has had his.
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

/// Rule: a pending order is confirmed, held or not: a hold stops the dispatch only.
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

/// Rule: only a pending order is rejected; later it is cancelled.
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

/// Rule: a hold is released by its reason, unless the order has ended or is about to. Without a reason it is the only one;
/// that of a risk review is released by name or by its assessment.
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

/// Rule: who asks first wins: before the dispatch is allowed an order can be cancelled, afterwards not.
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

/// Rule: sagas end an order that was confirmed or is being cancelled, when all is undone; a dispatch that was allowed
/// but turned out impossible too. A pending order is rejected instead.
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

/// Rule: goods leave only for a confirmed order that is neither held nor being cancelled.
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

/// Rule: goods leave once, after that was allowed.
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

/// Rule: an order is complete when what had left has arrived.
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

fn listed(holds: &[HoldReason]) -> String {
    holds.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn checked_reason(reason: &str) -> Result<String, Rejection> {
    let chars = reason.chars().count();
    if chars > MAX_REASON_CHARS { Err(Rejection::ReasonLength(chars)) } else { Ok(reason.to_owned()) }
}
