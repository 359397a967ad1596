//! What the provider says of a request. Results come in any order, late and more than once; facts about money are
//! taken whenever they are news, a failure never takes a success back.

use super::decide::{Decision, Rejection};
use super::{
    CaptureFailed, Event, LateSuccess, Payment, PaymentActionRequired, PaymentAuthorized, PaymentCaptured,
    PaymentDeclined, PaymentExpired, PaymentRefunded, PaymentSucceededLate, PaymentVoided, ProviderResult,
    RecordProviderResult, RefundFailed, Request, RequestKind, RequestState, Status, VoidFailed,
};
use crate::aggregate::Timestamp;
use crate::money::Money;

/// Rule: a result matches exactly one request, by our own id, and fits what was asked; what is already known is nothing.
pub(super) fn record(payment: &Payment, c: &RecordProviderResult) -> Decision {
    let Some(request) = payment.requests.get(&c.request_id) else {
        return Err(Rejection::UnknownRequest(c.request_id));
    };
    let told_of = |kind| if request.kind == kind { Ok(()) } else { Err(Rejection::ResultMismatch(c.request_id)) };
    let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
    match &c.result {
        ProviderResult::ActionRequired { action_url } => {
            told_of(RequestKind::Authorization)?;
            Ok(action_required(payment, request, c, action_url))
        }
        ProviderResult::Authorized { amount, capture_before } => {
            told_of(RequestKind::Authorization)?;
            authorized(payment, request, c, *amount, *capture_before)
        }
        ProviderResult::Declined { code } => {
            told_of(RequestKind::Authorization)?;
            Ok(declined(payment, request, c, code))
        }
        ProviderResult::Expired => {
            told_of(RequestKind::Authorization)?;
            Ok(expired(payment, request, c))
        }
        ProviderResult::Captured { amount } if request.kind == RequestKind::Authorization => {
            captured_at_once(payment, request, c, *amount)
        }
        ProviderResult::Captured { amount } => {
            told_of(RequestKind::Capture)?;
            captured(payment, request, c, *amount)
        }
        ProviderResult::CaptureFailed { code } => {
            told_of(RequestKind::Capture)?;
            let failure_code = code.clone();
            let event = Event::CaptureFailed(CaptureFailed { request_id, provider_ref, failure_code });
            Ok(failed(request, event))
        }
        ProviderResult::Voided => {
            told_of(RequestKind::Void)?;
            voided(payment, c)
        }
        ProviderResult::VoidFailed { code } => {
            told_of(RequestKind::Void)?;
            let event = Event::VoidFailed(VoidFailed { request_id, provider_ref, failure_code: code.clone() });
            Ok(failed(request, event))
        }
        ProviderResult::Refunded { amount } => {
            told_of(RequestKind::Refund)?;
            refunded(payment, request, c, *amount)
        }
        ProviderResult::RefundFailed { code } => {
            told_of(RequestKind::Refund)?;
            let (amount, failure_code) = (request.amount, code.clone());
            let event = Event::RefundFailed(RefundFailed { request_id, provider_ref, amount, failure_code });
            Ok(failed(request, event))
        }
    }
}

/// Rule: the customer is asked once, and not after the outcome is known.
fn action_required(payment: &Payment, request: &Request, c: &RecordProviderResult, action_url: &str) -> Vec<Event> {
    if payment.status != Status::Requested || !request.state.is_open() {
        return vec![];
    }
    let (request_id, provider_ref, action_url) = (c.request_id, c.provider_ref.clone(), action_url.to_owned());
    vec![Event::PaymentActionRequired(PaymentActionRequired { request_id, provider_ref, action_url })]
}

/// Rule: money held for the first time is news; after the end it is a late success.
fn authorized(
    payment: &Payment,
    request: &Request,
    c: &RecordProviderResult,
    amount: Money,
    capture_before: Timestamp,
) -> Decision {
    if request.state == RequestState::Succeeded {
        return Ok(vec![]);
    }
    check_amount(amount, request.amount)?;
    let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
    match payment.status {
        Status::Requested | Status::ActionRequired => {
            Ok(vec![Event::PaymentAuthorized(PaymentAuthorized { request_id, provider_ref, amount, capture_before })])
        }
        Status::Voided | Status::Expired | Status::Declined => Ok(vec![late(c, LateSuccess::Authorized, amount)]),
        // The authorisation has succeeded in all of these: answered above.
        Status::None | Status::Authorized | Status::Captured | Status::Refunded | Status::SucceededLate => Ok(vec![]),
    }
}

/// Rule: a refusal ends what is open, never what succeeded. After the end it still closes a request whose outcome was
/// unknown.
fn declined(payment: &Payment, request: &Request, c: &RecordProviderResult, code: &str) -> Vec<Event> {
    if !request.state.is_open() || payment.status == Status::SucceededLate {
        return vec![];
    }
    let (request_id, provider_ref, decline_code) = (c.request_id, c.provider_ref.clone(), code.to_owned());
    vec![Event::PaymentDeclined(PaymentDeclined { request_id, provider_ref, decline_code })]
}

/// Rule: an authorisation that nobody finished ends, and a hold that lapsed. While a capture is open its own outcome
/// decides.
fn expired(payment: &Payment, request: &Request, c: &RecordProviderResult) -> Vec<Event> {
    let lapses = match payment.status {
        Status::Requested | Status::ActionRequired => true,
        Status::Authorized => !payment.has_open(RequestKind::Capture),
        Status::Voided | Status::Expired | Status::Declined => request.state.is_open(),
        Status::None | Status::Captured | Status::Refunded | Status::SucceededLate => false,
    };
    if lapses { vec![Event::PaymentExpired(PaymentExpired { request_id: Some(c.request_id) })] } else { vec![] }
}

/// Rule: a provider may take the money at once; then the authorisation is the capture.
fn captured_at_once(payment: &Payment, request: &Request, c: &RecordProviderResult, amount: Money) -> Decision {
    match payment.status {
        Status::Requested | Status::ActionRequired => {
            check_amount(amount, request.amount)?;
            capture_event(payment, c, amount)
        }
        Status::Voided | Status::Expired | Status::Declined if request.state != RequestState::Succeeded => {
            check_amount(amount, request.amount)?;
            Ok(vec![late(c, LateSuccess::Captured, amount)])
        }
        Status::Captured | Status::Refunded | Status::SucceededLate if amount == payment.captured => Ok(vec![]),
        Status::None
        | Status::Authorized
        | Status::Captured
        | Status::Refunded
        | Status::SucceededLate
        | Status::Voided
        | Status::Expired
        | Status::Declined => Err(Rejection::ResultMismatch(c.request_id)),
    }
}

/// Rule: money taken on our request always lands, also after a failure was told; once.
fn captured(payment: &Payment, request: &Request, c: &RecordProviderResult, amount: Money) -> Decision {
    if request.state == RequestState::Succeeded {
        return Ok(vec![]);
    }
    check_amount(amount, request.amount)?;
    match payment.status {
        Status::Authorized => capture_event(payment, c, amount),
        Status::Voided | Status::Expired if payment.authorized.amount - payment.voided.amount >= amount.amount => {
            Ok(vec![late(c, LateSuccess::Captured, amount)])
        }
        // Another request took the money, or it was let go: this cannot be true of the same hold.
        Status::None
        | Status::Requested
        | Status::ActionRequired
        | Status::Captured
        | Status::Voided
        | Status::Expired
        | Status::Declined
        | Status::Refunded
        | Status::SucceededLate => Err(Rejection::ResultMismatch(c.request_id)),
    }
}

/// Rule: Voided ends whatever is held, and an authorisation that is still open.
fn voided(payment: &Payment, c: &RecordProviderResult) -> Decision {
    let order_id = match (payment.status, payment.order_id) {
        (Status::Requested | Status::ActionRequired | Status::Authorized, Some(order_id)) => order_id,
        (Status::SucceededLate, Some(order_id)) if payment.captured.amount == 0 => order_id,
        (Status::Captured | Status::Refunded | Status::SucceededLate, _) => {
            return Err(Rejection::ResultMismatch(c.request_id));
        }
        (Status::None | Status::Voided | Status::Expired | Status::Declined, _) => return Ok(vec![]),
        (Status::Requested | Status::ActionRequired | Status::Authorized, None) => return Err(Rejection::NotFound),
    };
    let amount = Some(payment.held()).filter(|held| held.amount > 0);
    let (request_id, provider_ref) = (Some(c.request_id), c.provider_ref.clone());
    Ok(vec![Event::PaymentVoided(PaymentVoided { order_id, request_id, provider_ref, amount })])
}

/// Rule: money given back on our request always lands, also after a failure was told, up to what was captured.
fn refunded(payment: &Payment, request: &Request, c: &RecordProviderResult, amount: Money) -> Decision {
    if request.state == RequestState::Succeeded {
        return Ok(vec![]);
    }
    check_amount(amount, request.amount)?;
    let pending = if request.state.is_open() { request.amount.amount } else { 0 };
    let room = Money::new(payment.refundable().amount + pending, amount.currency);
    check_amount(amount, room)?;
    let (Some(order_id), Some(placed_on)) = (payment.order_id, payment.placed_on) else {
        return Err(Rejection::NotFound);
    };
    let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
    Ok(vec![Event::PaymentRefunded(PaymentRefunded { order_id, request_id, provider_ref, amount, placed_on })])
}

/// Rule: a failure ends an open request, and never takes a success back.
fn failed(request: &Request, event: Event) -> Vec<Event> {
    if request.state.is_open() { vec![event] } else { vec![] }
}

fn capture_event(payment: &Payment, c: &RecordProviderResult, amount: Money) -> Decision {
    let (Some(order_id), Some(placed_on)) = (payment.order_id, payment.placed_on) else {
        return Err(Rejection::NotFound);
    };
    let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
    Ok(vec![Event::PaymentCaptured(PaymentCaptured { order_id, request_id, provider_ref, amount, placed_on })])
}

fn late(c: &RecordProviderResult, kind: LateSuccess, amount: Money) -> Event {
    let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
    Event::PaymentSucceededLate(PaymentSucceededLate { request_id, provider_ref, kind, amount })
}

/// What the provider tells is more than nothing, at most what was asked, and in its currency.
fn check_amount(told: Money, asked: Money) -> Result<(), Rejection> {
    if told.currency == asked.currency && (1..=asked.amount).contains(&told.amount) {
        Ok(())
    } else {
        Err(Rejection::AmountMismatch { told, asked })
    }
}
