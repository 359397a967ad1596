//! The commands of a payment.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use chrono::NaiveDate;

use crate::aggregate::Timestamp;
use crate::ids::{OrderId, PaymentId, RequestId};
use crate::money::Money;

/// The provider's result of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ProviderResult {
    /// The customer must confirm the payment first, as with 3-D Secure.
    ActionRequired {
        /// URL of the page on which the customer confirms.
        action_url: String,
    },
    /// The money is authorized.
    Authorized {
        /// Amount authorized for this request so far, in total.
        amount: Money,
        /// When the authorization lapses, if it is not captured before.
        capture_before: Timestamp,
    },
    /// The provider declined the authorization; no money is held.
    Declined {
        /// The provider's code of the reason, such as `insufficient_funds`.
        code: String,
    },
    /// The customer did not finish the authorization in time, or the authorization lapsed.
    Expired,
    /// The money was captured.
    Captured {
        /// Amount captured for this request so far, in total.
        amount: Money,
    },
    /// The provider refused the capture; no money was taken.
    CaptureFailed {
        /// The provider's code of the reason.
        code: String,
    },
    /// The authorization is void, or there never was one.
    Voided,
    /// The provider refused the void; the money is still authorized.
    VoidFailed {
        /// The provider's code of the reason.
        code: String,
    },
    /// The money was refunded.
    Refunded {
        /// Amount refunded for this request so far, in total.
        amount: Money,
    },
    /// The provider refused the refund; no money was given back.
    RefundFailed {
        /// The provider's code of the reason.
        code: String,
    },
}

/// The way in which a result reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultSource {
    /// The result was the response to our request.
    Response,
    /// The provider sent the result by webhook.
    Webhook,
    /// We fetched the result from the provider.
    Fetch,
}

/// The kind of success that came after the payment's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateSuccess {
    /// The money is authorized.
    Authorized,
    /// The money was captured.
    Captured,
}

commands! {
    /// A command to a payment. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        RequestPaymentAuthorization,
        RequestPaymentCapture,
        RequestPaymentVoid,
        RequestPaymentRefund,
        RecordProviderResult,
        MarkPaymentOutcomeUnknown,
        ExpirePayment,
    }
}

/// Asks the provider to authorize the payment: to hold the money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentAuthorization {
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
}

/// Asks the provider to capture the authorized money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentCapture {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// Amount to capture, at most what is authorized.
    pub amount: Money,
}

/// Gives the payment up and voids its authorization, also one whose outcome is unknown. The command is accepted before
/// the authorization arrives, which is then refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentVoid {
    /// Id of this payment.
    pub payment_id: PaymentId,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Asks the provider to refund captured money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentRefund {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// Amount to refund. With `remaining` it is only what the sender believes to be left.
    pub amount: Money,
    /// Whether everything that was captured and is neither refunded nor being refunded is refunded. The payment then
    /// decides the amount when it takes the command.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remaining: bool,
    /// The reason for the refund, as people read it.
    pub reason: String,
}

/// Records the provider's result of a request, from its response, a webhook or a later fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordProviderResult {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The provider's result of the request.
    pub result: ProviderResult,
    /// The provider's own id of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// The way in which the result reached us.
    pub source: ResultSource,
}

/// Marks the outcome of a request as unknown, because it has been open for too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MarkPaymentOutcomeUnknown {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
}

/// Expires the payment: the authorization was not finished in time, or it lapsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExpirePayment {}
