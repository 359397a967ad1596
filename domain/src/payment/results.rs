//! The rules for results of the provider. Results come in any order, late and more than once. A fact about money counts
//! whenever it is new, and a failure never takes a success back.
//!
//! *Invariant:* an amount in a result is the total of its request. Only the difference to what is booked already
//! becomes an event, so a larger total that comes later adds, and a smaller one changes nothing. A total below the
//! requested amount leaves the request open, so that its result is fetched; `PaymentFellShort` records that fetching
//! did not help.

use super::Rejection;
use super::decide::Decision;
use super::{
    CaptureFailed, Event, LateSuccess, Payment, PaymentActionRequired, PaymentAuthorized, PaymentCaptured,
    PaymentDeclined, PaymentExpired, PaymentFellShort, PaymentRefunded, PaymentSucceededLate, PaymentVoided, Portion,
    ProviderResult, RecordProviderResult, RefundFailed, Request, RequestKind, ResultSource, Status, VoidFailed,
};
use crate::aggregate::Timestamp;
use crate::money::Money;

/// Rule: a result matches exactly one request, by our own id, and fits its kind and amount; a known result changes
/// nothing.
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
            Ok(failed(request, c, event))
        }
        ProviderResult::Voided => {
            told_of(RequestKind::Void)?;
            voided(payment, c)
        }
        ProviderResult::VoidFailed { code } => {
            told_of(RequestKind::Void)?;
            let event = Event::VoidFailed(VoidFailed { request_id, provider_ref, failure_code: code.clone() });
            Ok(failed(request, c, event))
        }
        ProviderResult::Refunded { amount } => {
            told_of(RequestKind::Refund)?;
            refunded(payment, request, c, *amount)
        }
        ProviderResult::RefundFailed { code } => {
            told_of(RequestKind::Refund)?;
            let (amount, failure_code) = (request.amount, code.clone());
            let event = Event::RefundFailed(RefundFailed { request_id, provider_ref, amount, failure_code });
            Ok(failed(request, c, event))
        }
    }
}

/// Rule: the customer is asked to confirm once, and not after the outcome is known.
fn action_required(payment: &Payment, request: &Request, c: &RecordProviderResult, action_url: &str) -> Vec<Event> {
    if payment.status != Status::Requested || !request.state.is_open() {
        return vec![];
    }
    let (request_id, provider_ref, action_url) = (c.request_id, c.provider_ref.clone(), action_url.to_owned());
    vec![Event::PaymentActionRequired(PaymentActionRequired { request_id, provider_ref, action_url })]
}

/// Rule: a newly authorized amount is recorded; after the payment's end it is a late success.
fn authorized(
    payment: &Payment,
    request: &Request,
    c: &RecordProviderResult,
    told: Money,
    capture_before: Timestamp,
) -> Decision {
    let total = check_amount(told, request.amount)?;
    let more = match payment.status {
        Status::Requested | Status::ActionRequired | Status::Authorized => news(request, total).map(|amount| {
            let portion = Portion::of(request.amount, total, amount);
            let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
            let authorized = PaymentAuthorized { request_id, provider_ref, amount, portion, capture_before };
            Event::PaymentAuthorized(authorized)
        }),
        Status::SucceededLate if payment.captured.amount > 0 => None,
        Status::Voided | Status::Expired | Status::Declined | Status::SucceededLate => {
            news(request, total).map(|amount| late(c, LateSuccess::Authorized, amount))
        }
        // The money was captured, so it is not authorized any more.
        Status::None | Status::Captured | Status::Refunded => return Ok(vec![]),
    };
    Ok(with_shortfall(request, c, total, more))
}

/// Rule: a refusal ends an open request, never a success. After the payment's end it still closes a request whose
/// outcome was unknown.
fn declined(payment: &Payment, request: &Request, c: &RecordProviderResult, code: &str) -> Vec<Event> {
    if !request.state.is_open() {
        return vec![];
    }
    if request.done.amount > 0 {
        return vec![fell_short(request, c, request.done)]; // A part of it is authorized or was captured.
    }
    if payment.status == Status::SucceededLate {
        return vec![];
    }
    let (request_id, provider_ref, decline_code) = (c.request_id, c.provider_ref.clone(), code.to_owned());
    vec![Event::PaymentDeclined(PaymentDeclined { request_id, provider_ref, decline_code })]
}

/// Rule: an expiry ends an authorization that was not finished or has lapsed. While a capture is open, the capture's
/// own outcome decides.
fn expired(payment: &Payment, request: &Request, c: &RecordProviderResult) -> Vec<Event> {
    let lapses = match payment.status {
        Status::Requested | Status::ActionRequired => true,
        Status::Authorized => !payment.has_open(RequestKind::Capture),
        Status::Voided | Status::Expired | Status::Declined => request.state.is_open(),
        Status::None | Status::Captured | Status::Refunded | Status::SucceededLate => false,
    };
    if lapses { vec![Event::PaymentExpired(PaymentExpired { request_id: Some(c.request_id) })] } else { vec![] }
}

/// Rule: a provider may capture the money at once; then the authorization is also the capture.
fn captured_at_once(payment: &Payment, request: &Request, c: &RecordProviderResult, told: Money) -> Decision {
    let by_capture = |other: &Request| other.kind == RequestKind::Capture && other.done.amount > 0;
    let taken_at_once = payment.captured.amount > 0 && !payment.requests.values().any(by_capture);
    match payment.status {
        Status::Requested | Status::ActionRequired => taken(payment, request, c, told),
        Status::Captured | Status::Refunded | Status::SucceededLate if taken_at_once => {
            taken(payment, request, c, told)
        }
        Status::Voided | Status::Expired | Status::Declined if request.done.amount == 0 => {
            taken(payment, request, c, told)
        }
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

/// Rule: money captured on our request always counts, once, also after a failure was reported.
fn captured(payment: &Payment, request: &Request, c: &RecordProviderResult, told: Money) -> Decision {
    let told = check_amount(told, request.amount)?;
    let left = payment.authorized.amount - payment.voided.amount - payment.captured.amount;
    let fits = left >= told.amount - request.done.amount;
    match payment.status {
        Status::Authorized => taken(payment, request, c, told),
        Status::Captured | Status::Refunded | Status::SucceededLate if request.done.amount > 0 => {
            taken(payment, request, c, told)
        }
        Status::Voided | Status::Expired if fits => taken(payment, request, c, told),
        // Another request captured the money, or the authorization was voided: this result cannot be true of the same
        // authorization.
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

/// Rule: a newly captured amount is recorded. It is a late success, which goes back, in three cases: after the
/// payment's end; once a refund was requested; and once a void was requested and no capture since. The outcome of that
/// refund or void does not matter: the saga that requested it may have ended, and knows only of what was captured
/// before.
fn taken(payment: &Payment, request: &Request, c: &RecordProviderResult, told: Money) -> Decision {
    let total = check_amount(told, request.amount)?;
    let asked_back = payment.requests.values().any(|request| request.kind == RequestKind::Refund);
    let goes_back = match payment.status {
        Status::Voided | Status::Expired | Status::Declined | Status::SucceededLate => true,
        Status::None | Status::Requested | Status::ActionRequired | Status::Authorized => payment.given_up,
        Status::Captured | Status::Refunded => payment.given_up || asked_back,
    };
    let more = match news(request, total) {
        None => None,
        Some(amount) if goes_back => Some(late(c, LateSuccess::Captured, amount)),
        Some(amount) => {
            let (Some(order_id), Some(placed_on)) = (payment.order_id, payment.placed_on) else {
                return Err(Rejection::NotFound);
            };
            let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
            let portion = Portion::of(request.amount, total, amount);
            let captured = PaymentCaptured { order_id, request_id, provider_ref, amount, portion, placed_on };
            Some(Event::PaymentCaptured(captured))
        }
    };
    Ok(with_shortfall(request, c, total, more))
}

/// Rule: Voided ends every authorized amount, and an authorization that is still open.
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

/// Rule: money refunded on our request always counts, also after a failure was reported, up to what was captured.
fn refunded(payment: &Payment, request: &Request, c: &RecordProviderResult, told: Money) -> Decision {
    let total = check_amount(told, request.amount)?;
    let more = match news(request, total) {
        None => None,
        Some(amount) => {
            let missing = request.amount.amount - request.done.amount;
            let pending = if request.state.is_open() { missing } else { 0 };
            check_amount(amount, Money::new(payment.refundable().amount + pending, amount.currency))?;
            let (Some(order_id), Some(placed_on)) = (payment.order_id, payment.placed_on) else {
                return Err(Rejection::NotFound);
            };
            let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
            let portion = Portion::of(request.amount, total, amount);
            let refunded = PaymentRefunded { order_id, request_id, provider_ref, amount, portion, placed_on };
            Some(Event::PaymentRefunded(refunded))
        }
    };
    Ok(with_shortfall(request, c, total, more))
}

/// Rule: a failure ends an open request, and never takes a success back. Where a part was done, the rest is a
/// shortfall.
fn failed(request: &Request, c: &RecordProviderResult, event: Event) -> Vec<Event> {
    if !request.state.is_open() {
        vec![]
    } else if request.done.amount > 0 {
        vec![fell_short(request, c, request.done)]
    } else {
        vec![event]
    }
}

/// The part of a result's total that is not booked yet; `None` where there is none.
fn news(request: &Request, total: Money) -> Option<Money> {
    let more = total.amount - request.done.amount;
    (more > 0).then(|| Money::new(more, total.currency))
}

/// Rule: a part is a shortfall only when the provider reports it on a fetch, and once.
fn with_shortfall(request: &Request, c: &RecordProviderResult, total: Money, more: Option<Event>) -> Vec<Event> {
    let done = Money::new(total.amount.max(request.done.amount), total.currency);
    let is_short = c.source == ResultSource::Fetch && request.state.is_open() && done.amount < request.amount.amount;
    more.into_iter().chain(is_short.then(|| fell_short(request, c, done))).collect()
}

fn fell_short(request: &Request, c: &RecordProviderResult, done: Money) -> Event {
    let (request_id, kind, asked) = (c.request_id, request.kind, request.amount);
    Event::PaymentFellShort(PaymentFellShort { request_id, kind, asked, done })
}

fn late(c: &RecordProviderResult, kind: LateSuccess, amount: Money) -> Event {
    let (request_id, provider_ref) = (c.request_id, c.provider_ref.clone());
    Event::PaymentSucceededLate(PaymentSucceededLate { request_id, provider_ref, kind, amount })
}

/// Checks the amount of a result: more than 0, at most what was requested, in the currency of the payment.
fn check_amount(told: Money, asked: Money) -> Result<Money, Rejection> {
    if told.currency == asked.currency && (1..=asked.amount).contains(&told.amount) {
        Ok(told)
    } else {
        Err(Rejection::AmountMismatch { told, asked })
    }
}
