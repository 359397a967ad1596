//! The rules of the payment's own commands. The results of the provider are judged in `results.rs`.

use super::results;
use super::{
    CaptureRequested, Command, Event, ExpirePayment, MarkPaymentOutcomeUnknown, Payment, PaymentAuthorizationRequested,
    PaymentExpired, PaymentOutcomeUnknown, PaymentVoided, RefundRequested, Rejection, RequestKind,
    RequestPaymentAuthorization, RequestPaymentCapture, RequestPaymentRefund, RequestPaymentVoid, RequestState, Status,
    VoidRequested,
};
use crate::aggregate::Timestamp;
use crate::ids::RequestId;
use crate::money::Money;

/// The most requests that one payment makes of the provider: an authorization, a capture, and what operators retry. A
/// larger number means a loop.
pub const MAX_REQUESTS: usize = 100;

pub(super) type Decision = Result<Vec<Event>, Rejection>;

pub(super) fn decide(payment: &Payment, command: &Command, now: Timestamp) -> Decision {
    match command {
        Command::RequestPaymentAuthorization(c) => authorize(payment, c, now),
        Command::RequestPaymentCapture(c) => capture(payment, c, now),
        Command::RequestPaymentVoid(c) => void(payment, c, now),
        Command::RequestPaymentRefund(c) => refund(payment, c, now),
        Command::RecordProviderResult(c) => results::record(payment, c),
        Command::MarkPaymentOutcomeUnknown(c) => mark_unknown(payment, c, now),
        Command::ExpirePayment(c) => expire(payment, c, now),
    }
}

/// Rule: a payment has one authorization, and none after it was given up.
fn authorize(payment: &Payment, c: &RequestPaymentAuthorization, now: Timestamp) -> Decision {
    if already_made(payment, &c.request_id, RequestKind::Authorization)? {
        return Ok(vec![]);
    }
    match payment.status {
        Status::None => {}
        Status::Voided if payment.requests.is_empty() => return Err(Rejection::PaymentVoided),
        Status::Requested
        | Status::ActionRequired
        | Status::Authorized
        | Status::Captured
        | Status::Voided
        | Status::Expired
        | Status::Declined
        | Status::Refunded
        | Status::SucceededLate => return Err(Rejection::AuthorizationExists),
    }
    check_range(c.amount)?;
    Ok(vec![Event::PaymentAuthorizationRequested(PaymentAuthorizationRequested {
        payment_id: c.payment_id,
        order_id: c.order_id,
        request_id: c.request_id,
        amount: c.amount,
        payment_method: c.payment_method.clone(),
        attempt_group: c.attempt_group,
        tags: c.tags.clone(),
        placed_on: c.placed_on,
        at: now,
    })])
}

/// Rule: one capture of at most what is authorized, and none while a void is open.
fn capture(payment: &Payment, c: &RequestPaymentCapture, now: Timestamp) -> Decision {
    if already_made(payment, &c.request_id, RequestKind::Capture)? {
        return Ok(vec![]);
    }
    match payment.status {
        Status::None => return Err(Rejection::NotFound),
        Status::Authorized => {}
        Status::Captured | Status::Refunded => return Err(Rejection::AlreadyCaptured),
        Status::SucceededLate => return Err(Rejection::SucceededLate),
        Status::Requested | Status::ActionRequired | Status::Voided | Status::Expired | Status::Declined => {
            return Err(Rejection::NotAuthorized);
        }
    }
    if payment.has_open(RequestKind::Capture) {
        return Err(Rejection::CaptureOpen);
    }
    if payment.has_open(RequestKind::Void) {
        return Err(Rejection::VoidOpen);
    }
    check_room(payment)?;
    check_currency(payment, c.amount)?;
    check_range(c.amount)?;
    if c.amount.amount > payment.authorized.amount {
        return Err(Rejection::CaptureExceedsAuthorized { asked: c.amount, authorized: payment.authorized });
    }
    Ok(vec![Event::CaptureRequested(CaptureRequested { request_id: c.request_id, amount: c.amount, at: now })])
}

/// Rule: a payment can be given up at any time before capture, also while the outcome of the authorization is unknown.
/// A payment that never began is marked, so that a late authorization is refused.
fn void(payment: &Payment, c: &RequestPaymentVoid, now: Timestamp) -> Decision {
    if already_made(payment, &c.request_id, RequestKind::Void)? {
        return Ok(vec![]);
    }
    match payment.status {
        Status::None => {
            let mark = PaymentVoided { order_id: c.order_id, request_id: None, provider_ref: None, amount: None };
            return Ok(vec![Event::PaymentVoided(mark)]);
        }
        Status::Voided | Status::Expired | Status::Declined => return Ok(vec![]), // Nothing is held.
        Status::Captured | Status::Refunded => return Err(Rejection::AlreadyCaptured),
        Status::SucceededLate if payment.captured.amount > 0 => return Err(Rejection::AlreadyCaptured),
        Status::Requested | Status::ActionRequired | Status::Authorized | Status::SucceededLate => {}
    }
    if payment.has_open(RequestKind::Void) {
        return Ok(vec![]); // It is being let go.
    }
    if payment.has_open(RequestKind::Capture) {
        return Err(Rejection::CaptureOpen);
    }
    check_room(payment)?;
    Ok(vec![Event::VoidRequested(VoidRequested { request_id: c.request_id, at: now })])
}

/// Rule: the amounts refunded and being refunded are together at most what was captured. With `remaining` the refund is
/// everything that is left.
fn refund(payment: &Payment, c: &RequestPaymentRefund, now: Timestamp) -> Decision {
    if already_made(payment, &c.request_id, RequestKind::Refund)? {
        return Ok(vec![]);
    }
    if payment.status == Status::None {
        return Err(Rejection::NotFound);
    }
    if payment.captured.amount == 0 {
        return Err(Rejection::NotCaptured);
    }
    check_room(payment)?;
    let refundable = payment.refundable();
    let amount = match c.remaining {
        false => c.amount,
        true if refundable.amount <= 0 => return Err(Rejection::NothingToRefund),
        true => refundable,
    };
    check_currency(payment, amount)?;
    check_range(amount)?;
    if amount.amount > refundable.amount {
        return Err(Rejection::RefundExceedsCaptured { asked: amount, refundable });
    }
    let (request_id, reason) = (c.request_id, c.reason.clone());
    Ok(vec![Event::RefundRequested(RefundRequested { request_id, amount, reason, at: now })])
}

/// Rule: an open request is marked as unknown once. A request that waits for the customer is not unknown.
fn mark_unknown(payment: &Payment, c: &MarkPaymentOutcomeUnknown, now: Timestamp) -> Decision {
    let Some(request) = payment.requests.get(&c.request_id) else {
        return Err(Rejection::UnknownRequest(c.request_id));
    };
    if request.state != RequestState::Open || payment.awaits_customer(request) {
        return Ok(vec![]);
    }
    Ok(vec![Event::PaymentOutcomeUnknown(PaymentOutcomeUnknown { request_id: c.request_id, at: now })])
}

/// Rule: a payment can expire when its authorization was not finished or has lapsed. A success that comes later is a
/// late one.
fn expire(payment: &Payment, _: &ExpirePayment, now: Timestamp) -> Decision {
    let expired = || Ok(vec![Event::PaymentExpired(PaymentExpired { request_id: None })]);
    match payment.status {
        Status::None => Err(Rejection::NotFound),
        Status::Voided | Status::Expired | Status::Declined => Ok(vec![]),
        Status::Requested | Status::ActionRequired if payment.has_open(RequestKind::Void) => Err(Rejection::VoidOpen),
        Status::Requested | Status::ActionRequired => expired(),
        Status::Authorized if payment.has_open(RequestKind::Capture) => Err(Rejection::CaptureOpen),
        Status::Authorized if payment.has_open(RequestKind::Void) => Err(Rejection::VoidOpen),
        Status::Authorized if payment.capture_before.is_some_and(|until| until <= now) => expired(),
        Status::Authorized => Err(Rejection::PaymentAuthorized),
        Status::Captured | Status::Refunded => Err(Rejection::AlreadyCaptured),
        Status::SucceededLate => Err(Rejection::SucceededLate),
    }
}

/// Whether this very request was already made; a repeated command makes it again.
fn already_made(payment: &Payment, id: &RequestId, kind: RequestKind) -> Result<bool, Rejection> {
    match payment.requests.get(id) {
        None => Ok(false),
        Some(request) if request.kind == kind => Ok(true),
        Some(_) => Err(Rejection::RequestReused(*id)),
    }
}

fn check_room(payment: &Payment) -> Result<(), Rejection> {
    if payment.requests.len() >= MAX_REQUESTS { Err(Rejection::TooManyRequests) } else { Ok(()) }
}

fn check_range(amount: Money) -> Result<(), Rejection> {
    if (1..=Money::MAX_TOTAL).contains(&amount.amount) { Ok(()) } else { Err(Rejection::AmountOutOfRange(amount)) }
}

fn check_currency(payment: &Payment, asked: Money) -> Result<(), Rejection> {
    let has = payment.amount.currency;
    if has == asked.currency { Ok(()) } else { Err(Rejection::CurrencyMismatch { has, asked: asked.currency }) }
}
