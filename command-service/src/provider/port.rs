//! The port of payment providers: the operations that each adapter implements.
//!
//! *Invariant:* every call that moves money bears a key of ours, `{payment_id}:{request_id}`, minted in the Requested
//! event. The provider does the same key and body once, however often it is called: so any call may be repeated.
//! *Invariant:* a time-out is *unknown*, never declined. Only an answer, a webhook or `fetch` says what happened.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use domain::Timestamp;
use domain::ids::{OrderId, PaymentId, RequestId};
use domain::money::Money;
use domain::payment::ProviderResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::statement::{Page, Statement};

/// What the provider knows a request by: `{payment_id}:{request_id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestKey {
    /// The payment that the request is for.
    pub payment_id: PaymentId,
    /// The number of the request within its payment.
    pub request_id: RequestId,
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.payment_id, self.request_id)
    }
}

/// A text that is not `{payment_id}:{request_id}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is written `<payment id>:<request id>`, two UUIDs, not `{0}`")]
pub struct RequestKeyError(pub String);

impl FromStr for RequestKey {
    type Err = RequestKeyError;
    fn from_str(text: &str) -> Result<Self, RequestKeyError> {
        let wrong = || RequestKeyError(text.chars().take(80).collect()); // It may come from outside and be long.
        let (payment, request) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            payment_id: payment.parse().map_err(|_| wrong())?,
            request_id: request.parse().map_err(|_| wrong())?,
        })
    }
}

impl TryFrom<String> for RequestKey {
    type Error = RequestKeyError;
    fn try_from(text: String) -> Result<Self, RequestKeyError> {
        text.parse()
    }
}

impl From<RequestKey> for String {
    fn from(key: RequestKey) -> String {
        key.to_string()
    }
}

/// Asks the provider to authorize a payment: to hold the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorize {
    /// The idempotency key, `{payment_id}:{request_id}`.
    pub key: RequestKey,
    /// The order that the payment is for, shown on the provider's statement.
    pub order_id: OrderId,
    /// The amount to authorize.
    pub amount: Money,
    /// Token of the card at the provider, 1 to 100 characters.
    pub payment_method: String,
    /// The order's labels, passed on to the provider.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Asks the provider to capture authorized money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The idempotency key, `{payment_id}:{request_id}`.
    pub key: RequestKey,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// Amount to capture, at most what is authorized.
    pub amount: Money,
}

/// Asks the provider to void an authorization. For a payment that the provider never saw it is a mark: a later
/// authorization is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Void {
    /// The idempotency key, `{payment_id}:{request_id}`.
    pub key: RequestKey,
    /// The order that the payment is for.
    pub order_id: OrderId,
}

/// Asks the provider to refund captured money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// The idempotency key, `{payment_id}:{request_id}`.
    pub key: RequestKey,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// Amount to refund, at most what was captured and not refunded yet.
    pub amount: Money,
}

/// The provider's result of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The provider's own name for it.
    pub provider_ref: String,
    /// What became of it; `None` while the provider is still at it (a webhook or `fetch` will tell).
    pub result: Option<ProviderResult>,
}

/// By what to ask for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Our key.
    Key(RequestKey),
    /// The provider's own name.
    ProviderRef(String),
}

/// What the provider tells by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderEvent {
    /// The provider's name for the event; a repeated delivery has the same.
    pub event_id: String,
    /// Our key, which the provider echoes: `{payment_id}:{request_id}`.
    #[schemars(with = "String")]
    pub key: RequestKey,
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// The provider's own name for the request.
    pub provider_ref: String,
    /// What became of the request.
    pub result: ProviderResult,
    /// When it happened, by the provider's clock.
    pub at: Timestamp,
}

/// What a provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ProviderCapabilities)]
pub struct Capabilities {
    /// Less than the whole hold can be captured.
    pub partial_capture: bool,
    /// A hold can be captured more than once.
    pub multi_capture: bool,
    /// Less than what was captured can be given back.
    pub partial_refund: bool,
    /// How long a hold lasts, in seconds.
    pub auth_ttl_s: u64,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProviderError {
    /// The call may have been carried out: no answer came in time, or the connection broke after it was sent.
    #[error("the provider gave no answer, the outcome is unknown: {detail}")]
    Unknown {
        /// What was seen.
        detail: String,
    },
    /// The provider cannot at the moment: the same call again, later.
    #[error("the provider cannot answer at the moment: {detail}")]
    Transient {
        /// What was seen.
        detail: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The provider will never carry out this call. A declined card is not this: it is an [`Answer`].
    #[error("the provider refuses the call ({code}): {detail}")]
    Refused {
        /// Its stable reason.
        code: String,
        /// For people.
        detail: String,
    },
}

/// Why a webhook is not believed or not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The signature is missing, wrong or too old: the sender does not know the secret, or has sent the webhook again
    /// later.
    #[error("the webhook's signature is not valid: {0}")]
    Signature(&'static str),
    /// The signature is valid, and the content cannot be read.
    #[error("the webhook cannot be read: {0}")]
    Malformed(String),
}

/// A payment provider. Every adapter implements this trait.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// The name of the provider, as in webhook addresses and event metadata: `[a-z0-9_]{1,32}`.
    fn name(&self) -> &str;

    /// The features that the provider has.
    fn capabilities(&self) -> Capabilities;

    /// Authorizes a payment. A declined card is an answer, not an error.
    ///
    /// # Errors
    /// [`ProviderError`]; only `Refused` means that nothing was done.
    async fn authorize(&self, request: &Authorize) -> Result<Answer, ProviderError>;

    /// Takes held money.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    async fn capture(&self, request: &Capture) -> Result<Answer, ProviderError>;

    /// Lets a hold go.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    async fn void(&self, request: &Void) -> Result<Answer, ProviderError>;

    /// Gives captured money back.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    async fn refund(&self, request: &Refund) -> Result<Answer, ProviderError>;

    /// What became of a request; `None`: the provider never took one by that name. Changes nothing.
    ///
    /// # Errors
    /// `Unknown` or `Transient`: ask again.
    async fn fetch(&self, lookup: &Lookup) -> Result<Option<Answer>, ProviderError>;

    /// Believes and reads a webhook: the bytes as they came, before any parsing.
    ///
    /// # Errors
    /// [`WebhookError`].
    fn verify_webhook(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError>;

    /// The provider's own account of what it did: totals over everything, and a page of its payments.
    ///
    /// # Errors
    /// `Unknown` or `Transient`: ask again.
    async fn statement(&self, page: &Page) -> Result<Statement, ProviderError>;
}
