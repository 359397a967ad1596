//! What may be asked of a payment.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use chrono::NaiveDate;

use crate::aggregate::Timestamp;
use crate::ids::{OrderId, PaymentId, RequestId};
use crate::money::Money;

/// What the provider said of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ProviderResult {
    /// The customer must confirm first.
    ActionRequired {
        /// The page on which the customer confirms.
        action_url: String,
    },
    /// Money is held.
    Authorized {
        /// How much of this request altogether.
        amount: Money,
        /// When the hold lapses.
        capture_before: Timestamp,
    },
    /// No money is held.
    Declined {
        /// The provider's reason.
        code: String,
    },
    /// Nobody finished the authorisation, or the hold lapsed.
    Expired,
    /// Money was taken.
    Captured {
        /// How much of this request altogether.
        amount: Money,
    },
    /// Money was not taken.
    CaptureFailed {
        /// The provider's reason.
        code: String,
    },
    /// The hold is gone, or never was.
    Voided,
    /// The hold is still there.
    VoidFailed {
        /// The provider's reason.
        code: String,
    },
    /// Money was given back.
    Refunded {
        /// How much of this request altogether.
        amount: Money,
    },
    /// Money was not given back.
    RefundFailed {
        /// The provider's reason.
        code: String,
    },
}

/// How a result reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultSource {
    /// In the answer to our call.
    Response,
    /// By webhook.
    Webhook,
    /// When we asked again.
    Fetch,
}

/// What succeeded after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateSuccess {
    /// Money is held.
    Authorized,
    /// Money was taken.
    Captured,
}

commands! {
    /// What may be asked of a payment. Each variant holds the payload struct of the same name.
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

/// Asks the provider to hold money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentAuthorization {
    /// This payment.
    pub payment_id: PaymentId,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The amount to authorize.
    pub amount: Money,
    /// The card's token at the provider.
    pub payment_method: String,
    /// The order's how-manieth authorisation, from 0.
    pub attempt_group: u32,
    /// The order's labels, handed on to the provider.
    #[serde(default)]
    pub tags: Vec<String>,
    /// UTC date of the order, frozen for sums by day.
    pub placed_on: NaiveDate,
}

/// Asks the provider to take the held money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentCapture {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// How much, at most what is authorised.
    pub amount: Money,
}

/// Gives up: lets the hold go, an unknown one too. Accepted before the authorisation came, which is then refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentVoid {
    /// This payment.
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

/// Asks the provider to give captured money back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestPaymentRefund {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// How much; with `remaining` only what the sender believes to be left.
    pub amount: Money,
    /// Whether all that was captured and is neither refunded nor being refunded goes back. The payment decides the amount
    /// when it takes the command.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remaining: bool,
    /// The reason for the refund, as people read it.
    pub reason: String,
}

/// What the provider said of a request: in its response, by webhook, or when asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordProviderResult {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// What it said.
    pub result: ProviderResult,
    /// The provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
    /// How we heard.
    pub source: ResultSource,
}

/// A request has been open for too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MarkPaymentOutcomeUnknown {
    /// The request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
}

/// Nobody finished the authorisation in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExpirePayment {}
