//! The events of a payment. Events are stored for ever: a field is only ever added, as optional, or a new version is
//! made.

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
    /// An event of a payment. Each variant holds the payload struct of the same name.
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

/// An authorization was requested: the provider is asked to hold the money once this event is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorizationRequested {
    /// Id of this payment.
    pub payment_id: PaymentId,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The amount to authorize.
    pub amount: Money,
    /// Token of the card at the payment provider, 1 to 100 characters.
    pub payment_method: String,
    /// Number of the order's authorization, from 0; each has a payment of its own.
    pub attempt_group: u32,
    /// The order's labels, passed on to the provider.
    #[serde(default)]
    pub tags: Vec<String>,
    /// UTC date of the order, such as `2026-03-01`; frozen, so that sums by day never change.
    pub placed_on: NaiveDate,
    /// When the authorization was requested.
    pub at: Timestamp,
}

/// The customer must confirm the payment first (3-D Secure).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentActionRequired {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// URL of the page on which the customer confirms.
    pub action_url: String,
}

/// Money was authorized at the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorized {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// Amount authorized by this event, in addition to earlier ones.
    pub amount: Money,
    /// Progress of the request, where the provider does not do all of it at once. Without it `amount` is all that was
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
    /// When the authorization lapses, if it is not captured before.
    pub capture_before: Timestamp,
}

/// The provider declined the authorization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDeclined {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The provider's code of the reason, such as `insufficient_funds`.
    pub decline_code: String,
}

/// A request has been open for too long; its outcome is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentOutcomeUnknown {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// When the outcome was marked as unknown.
    pub at: Timestamp,
}

/// A capture was requested: the provider is asked to take the money once this event is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureRequested {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The amount to capture.
    pub amount: Money,
    /// When the capture was requested.
    pub at: Timestamp,
}

/// Money was captured at the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptured {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// Amount captured by this event, in addition to earlier ones.
    pub amount: Money,
    /// Progress of the request, where the provider does not do all of it at once. Without it `amount` is all that was
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
    /// UTC date of the order, such as `2026-03-01`; frozen, so that sums by day never change.
    pub placed_on: NaiveDate,
}

/// The provider refused the capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureFailed {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The provider's code of the reason for the failure.
    pub failure_code: String,
}

/// A void was requested: the provider is asked to end the authorization once this event is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidRequested {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// When the void was requested.
    pub at: Timestamp,
}

/// The payment is void and no money is held. Without a `request_id` the event is a mark: the payment was given up
/// before anything was requested, and a later authorization is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentVoided {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The void request that this answers; absent for a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// Amount that was authorized before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
}

/// The provider refused the void.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidFailed {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The provider's code of the reason for the failure.
    pub failure_code: String,
}

/// A refund was requested: the provider is asked to give the money back once this event is durable.
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

/// Money was refunded at the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// Amount refunded by this event, in addition to earlier ones.
    pub amount: Money,
    /// Progress of the request, where the provider does not do all of it at once. Without it `amount` is all that was
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
    /// UTC date of the order, such as `2026-03-01`; frozen, so that sums by day never change.
    pub placed_on: NaiveDate,
}

/// The provider refused the refund; a person must act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundFailed {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The amount that was not refunded.
    pub amount: Money,
    /// The provider's code of the reason for the failure.
    pub failure_code: String,
}

/// The payment expired: the customer did not finish the authorization in time, or the authorization lapsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentExpired {
    /// The authorization that lapsed at the provider. Without it we gave up waiting; an authorization with an unknown
    /// outcome then stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

/// A request succeeded when the payment had ended, or money was captured after a void or a refund was requested. The
/// money must go back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentSucceededLate {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// What succeeded: an authorization or a capture.
    pub kind: LateSuccess,
    /// Amount authorized or captured by this event.
    pub amount: Money,
}

/// The progress of a request that the provider does not carry out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Portion {
    /// Amount that was requested.
    pub asked: Money,
    /// Amount that the provider has done of it so far, this event included.
    pub done: Money,
}

impl Portion {
    /// The portion that an event carries: `None` where one amount completes the request.
    pub(super) fn of(asked: Money, done: Money, amount: Money) -> Option<Self> {
        (amount != asked).then_some(Self { asked, done })
    }

    /// Whether the request is complete.
    pub fn is_complete(&self) -> bool {
        self.done.amount >= self.asked.amount
    }
}

/// Whether a request is complete with an event that has this portion.
fn completes(portion: Option<&Portion>) -> bool {
    portion.is_none_or(Portion::is_complete)
}

impl PaymentAuthorized {
    /// Whether everything that was asked for is authorized now.
    pub fn is_complete(&self) -> bool {
        completes(self.portion.as_ref())
    }
}

impl PaymentCaptured {
    /// Whether everything that was asked for is captured now.
    pub fn is_complete(&self) -> bool {
        completes(self.portion.as_ref())
    }
}

impl PaymentRefunded {
    /// Whether everything that was asked for is refunded now.
    pub fn is_complete(&self) -> bool {
        completes(self.portion.as_ref())
    }
}

/// The provider, asked again, has done less than was requested; a person must act. Results that arrive later still
/// count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentFellShort {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The kind of the request: authorization, capture, void or refund.
    pub kind: RequestKind,
    /// Amount that was requested.
    pub asked: Money,
    /// Amount that the provider has authorized, captured or refunded.
    pub done: Money,
}
