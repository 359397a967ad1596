//! The settings of the payment provider, its driver and the simulated one.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which provider is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The simulated provider within this process, with a ledger on disk and webhooks.
    #[default]
    InProcess,
    /// The simulated provider within this process, nothing on disk, no delays, no webhooks: for benches.
    Instant,
    /// The simulated provider as a process of its own, at `url`.
    Http,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProcess => "in-process",
            Self::Instant => "instant",
            Self::Http => "http",
        })
    }
}

/// What webhooks are signed with: `whsec_<base64>` or any text. It never shows in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(super) String);

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A secret that nobody else knows, for a provider within this process.
    pub fn random() -> Self {
        Self(hex::encode(rand::random::<[u8; 32]>()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `[provider]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// `in-process`, `instant` or `http`.
    pub mode: Mode,
    /// Where the provider's process listens, for `http`.
    pub url: String,
    /// What its webhooks are signed with; needed for `http`, drawn at start otherwise.
    pub webhook_secret: Option<Secret>,
    /// How long a call may take before its outcome is unknown, in milliseconds.
    pub call_timeout_ms: u64,
    /// How long a request may be open before that is recorded, in milliseconds.
    pub unknown_after_ms: u64,
    /// The ledger of the provider within this process; default: `provider/ledger.jsonl` in the data folder.
    pub ledger: Option<PathBuf>,
    /// The simulated provider, in this process or its own.
    pub simulated: SimulatedConfig,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            mode: Mode::InProcess,
            url: "http://127.0.0.1:7401".to_owned(),
            webhook_secret: None,
            call_timeout_ms: 30_000,  // domain.md, saga step 3: 30 s call.
            unknown_after_ms: 30_000, // architecture.md §3.
            ledger: None,
            simulated: SimulatedConfig::default(),
        }
    }
}

impl ProviderConfig {
    /// How long a call may take.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    /// How long a request may be open before its outcome is recorded as unknown.
    pub fn unknown_after(&self) -> Duration {
        Duration::from_millis(self.unknown_after_ms)
    }
}

/// `[provider.simulated]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedConfig {
    /// Where its chances come from: the same seed and the same calls give the same delays.
    pub seed: u64,
    /// How long customers (3-D Secure), failing refunds and late successes take, in milliseconds.
    pub delay_ms: u64,
    /// How long until a webhook is sent, at least; up to twice of it by chance, in milliseconds.
    pub webhook_delay_ms: u64,
    /// How long an answer is withheld by the time-out scripts, in milliseconds: longer than a caller waits.
    pub withheld_ms: u64,
    /// How long a hold lasts, in seconds.
    pub auth_ttl_s: u64,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            seed: 7,
            delay_ms: 1_000,
            webhook_delay_ms: 50,
            withheld_ms: 45_000,
            auth_ttl_s: 7 * 24 * 3_600, // Card networks: 7 days for a customer-initiated online hold (domain.md).
        }
    }
}
