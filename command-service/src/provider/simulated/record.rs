//! What the simulated provider writes down: requests taken, what became of them, webhooks owed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Timestamp;
use domain::ids::{OrderId, PaymentId, RequestId};
use domain::money::Money;
use domain::payment::ProviderResult;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::provider::port::{Authorize, Capture, ProviderEvent, Refund, RequestKey, Void};

/// A call of the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Call {
    /// Hold money.
    Authorize(Authorize),
    /// Take it.
    Capture(Capture),
    /// Let it go.
    Void(Void),
    /// Give it back.
    Refund(Refund),
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hold money.
    Authorize,
    /// Take it.
    Capture,
    /// Let it go.
    Void,
    /// Give it back.
    Refund,
}

/// Tells two bodies under one key apart.
pub type Fingerprint = [u8; 16];

impl Call {
    /// The idempotency key of the call.
    pub fn key(&self) -> RequestKey {
        match self {
            Self::Authorize(call) => call.key,
            Self::Capture(call) => call.key,
            Self::Void(call) => call.key,
            Self::Refund(call) => call.key,
        }
    }

    /// What it asks for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Authorize(_) => Kind::Authorize,
            Self::Capture(_) => Kind::Capture,
            Self::Void(_) => Kind::Void,
            Self::Refund(_) => Kind::Refund,
        }
    }

    /// The order that the payment is for.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Authorize(call) => call.order_id,
            Self::Capture(call) => call.order_id,
            Self::Void(call) => call.order_id,
            Self::Refund(call) => call.order_id,
        }
    }

    /// How much, where the call says so.
    pub fn amount(&self) -> Option<Money> {
        match self {
            Self::Authorize(call) => Some(call.amount),
            Self::Capture(call) => Some(call.amount),
            Self::Void(_) => None,
            Self::Refund(call) => Some(call.amount),
        }
    }

    /// The first half of the SHA-256 of all that the call says.
    pub fn fingerprint(&self) -> Fingerprint {
        let body = serde_json::to_vec(self).expect("calls are structs of strings, numbers and lists, which serialise");
        let digest = Sha256::digest(&body);
        let mut half = Fingerprint::default();
        half.copy_from_slice(&digest[..16]); // A SHA-256 has 32 bytes.
        half
    }
}

/// A line of the ledger holds one or more of these, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// The first record of a ledger.
    Opened {
        /// The format of all lines, [`super::ledger::FORMAT`].
        format: u32,
    },
    /// A call was taken: it is known by its key from now on.
    Taken {
        /// The whole call.
        call: Call,
        /// The token that an authorization follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// When the call was taken.
        at: Timestamp,
    },
    /// Something became of a call. Money moves here and nowhere else.
    Became {
        /// The call.
        key: RequestKey,
        /// What became of it.
        result: ProviderResult,
        /// When it happened.
        at: Timestamp,
    },
    /// A webhook is owed.
    Owed {
        /// What it says.
        event: ProviderEvent,
        /// How often it is delivered.
        copies: u32,
        /// Not before.
        due: Timestamp,
    },
    /// A webhook was accepted, or given up.
    Paid {
        /// Its event's id.
        event_id: String,
        /// Whether it was accepted.
        delivered: bool,
    },
}

/// The provider's own name for a request: short, and it finds the request without an index.
pub(super) fn provider_ref(key: RequestKey) -> String {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(key.payment_id.0.as_bytes());
    bytes[16..].copy_from_slice(key.request_id.0.as_bytes());
    format!("sim_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The request that a name of [`provider_ref`] means.
pub(super) fn key_of(provider_ref: &str) -> Option<RequestKey> {
    let bytes = URL_SAFE_NO_PAD.decode(provider_ref.strip_prefix("sim_")?).ok()?;
    let (payment, request) = bytes.split_at_checked(16)?;
    Some(RequestKey {
        payment_id: PaymentId(Uuid::from_slice(payment).ok()?),
        request_id: RequestId(Uuid::from_slice(request).ok()?),
    })
}
