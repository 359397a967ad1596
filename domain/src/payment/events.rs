//! What has happened to a payment. Stored for ever: a field is only ever added, as optional, or a new version is made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use chrono::NaiveDate;

use super::commands::LateSuccess;
use super::state::RequestKind;
use crate::aggregate::Timestamp;
use crate::ids::{OrderId, PaymentId, RequestId};
use crate::money::Money;

events! {
    /// What has happened to a payment. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        PaymentAuthorizationRequested,
        PaymentActionRequired,
        PaymentAuthorized,
        PaymentDeclined,
        PaymentOutcomeUnknown,
        CaptureRequested,
        PaymentCaptured,
        CaptureFailed,
        VoidRequested,
        PaymentVoided,
        VoidFailed,
        RefundRequested,
        PaymentRefunded,
        RefundFailed,
        PaymentExpired,
        PaymentSucceededLate,
        PaymentFellShort,
    }
}

/// The provider is to be asked to hold money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorizationRequested {
    /// This payment.
    pub payment_id: PaymentId,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The amount to authorize.
    pub amount: Money,
    /// The card's token.
    pub payment_method: String,
    /// The order's how-manieth authorisation, from 0.
    pub attempt_group: u32,
    /// Handed on to the provider.
    #[serde(default)]
    pub tags: Vec<String>,
    /// UTC date of the order, frozen for sums by day.
    pub placed_on: NaiveDate,
    /// When the authorization was requested.
    pub at: Timestamp,
}

/// The customer must confirm first (3-D Secure).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentActionRequired {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The page on which the customer confirms.
    pub action_url: String,
}

/// The money is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorized {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// How much more than before.
    pub amount: Money,
    /// The request so far, where the provider has not done all of it at once; none: `amount` is all that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
    /// When the hold lapses.
    pub capture_before: Timestamp,
}

/// The provider said no.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDeclined {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The provider's reason.
    pub decline_code: String,
}

/// A request has been open for too long; its outcome is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentOutcomeUnknown {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// Since when it is known to be unknown.
    pub at: Timestamp,
}

/// The provider is to be asked to take the money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureRequested {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The amount to capture.
    pub amount: Money,
    /// When the capture was requested.
    pub at: Timestamp,
}

/// The money was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptured {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// How much more than before.
    pub amount: Money,
    /// The request so far, where the provider has not done all of it at once; none: `amount` is all that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
    /// UTC date of the order, frozen for sums by day.
    pub placed_on: NaiveDate,
}

/// The provider refused to take it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureFailed {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The provider's reason.
    pub failure_code: String,
}

/// The provider is to be asked to let the hold go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidRequested {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// When the void was requested.
    pub at: Timestamp,
}

/// Nothing is held; a mark where nothing had been asked yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentVoided {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request it answers, none for a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// What had been held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
}

/// The provider refused to let it go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidFailed {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The provider's reason.
    pub failure_code: String,
}

/// The provider is to be asked to give money back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundRequested {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The amount to refund.
    pub amount: Money,
    /// The reason for the refund, as people read it.
    pub reason: String,
    /// When the refund was requested.
    pub at: Timestamp,
}

/// The money was given back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// How much more than before.
    pub amount: Money,
    /// The request so far, where the provider has not done all of it at once; none: `amount` is all that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
    /// UTC date of the order, frozen for sums by day.
    pub placed_on: NaiveDate,
}

/// The provider could not give it back; a person must act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundFailed {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The amount that was not refunded.
    pub amount: Money,
    /// The provider's reason.
    pub failure_code: String,
}

/// Nobody finished the authorisation in time, or the hold lapsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentExpired {
    /// The authorisation that the provider let lapse; none where we gave up waiting, which leaves one whose outcome is
    /// unknown open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

/// A success that nobody wants any more: after the payment's end, or money that is taken after a void or a refund was
/// requested. The money must go back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentSucceededLate {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// What succeeded.
    pub kind: LateSuccess,
    /// How much more than before.
    pub amount: Money,
}

/// How far a request has got that the provider has not carried out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Portion {
    /// What was asked for.
    pub asked: Money,
    /// What the provider has done of it altogether, this event included.
    pub done: Money,
}

impl Portion {
    /// The portion that an event carries: none where the request is complete with this one amount.
    pub(super) fn of(asked: Money, done: Money, amount: Money) -> Option<Self> {
        (amount != asked).then_some(Self { asked, done })
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.done.amount >= self.asked.amount
    }
}

/// Whether a request is complete with an event that has this portion.
fn completes(portion: Option<&Portion>) -> bool {
    portion.is_none_or(Portion::is_complete)
}

impl PaymentAuthorized {
    /// Whether all that was asked for is held now.
    pub fn is_complete(&self) -> bool {
        completes(self.portion.as_ref())
    }
}

impl PaymentCaptured {
    /// Whether all that was asked for is taken now.
    pub fn is_complete(&self) -> bool {
        completes(self.portion.as_ref())
    }
}

impl PaymentRefunded {
    /// Whether all that was asked for is given back now.
    pub fn is_complete(&self) -> bool {
        completes(self.portion.as_ref())
    }
}

/// The provider was asked again and has done less than was requested; a person must act. What it does later still
/// counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentFellShort {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// What was requested.
    pub kind: RequestKind,
    /// The amount that was asked for.
    pub asked: Money,
    /// The amount that the provider has held, taken or given back.
    pub done: Money,
}
