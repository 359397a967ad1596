//! The settings of the payment provider, its driver and the simulated one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use service_kit::secret::{self, Secret, SecretUrl, WeakKey};

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

/// The keys that webhooks are signed with, each `whsec_<base64>` or a text of at least 24 bytes. Two of them while a key is
/// replaced: a signature by either is accepted, and the simulated provider signs with both. They are never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecrets(Vec<Secret>);

/// Keys at a time: the one that is replaced, and the one that replaces it.
const KEYS_MAX: usize = 2;

/// Why a text is no key, or no list of keys. The text is not in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It is too short.
    #[error(transparent)]
    Weak(#[from] WeakKey),
    /// It says that it is base64 and is not.
    #[error("what follows `whsec_` is not base64")]
    NotBase64,
    /// There are too many.
    #[error("names {0} keys, separated by commas or line breaks; at most {KEYS_MAX} can be in use")]
    Many(usize),
}

impl WebhookSecrets {
    /// The keys of a text that names one, or two with a comma or a line break between them.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn new(text: &str) -> Result<Self, BadSecret> {
        let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
        let mut secrets: Vec<Secret> = parts.map(Secret::new).collect();
        if secrets.is_empty() {
            secrets.push(Secret::new("")); // To be told how long a key has to be.
        }
        if secrets.len() > KEYS_MAX {
            return Err(BadSecret::Many(secrets.len()));
        }
        for secret in &secrets {
            secret::long_enough(&key_of(secret)?)?;
        }
        Ok(Self(secrets))
    }

    /// A secret that nobody else knows, for a provider within this process.
    pub fn random() -> Self {
        Self(vec![Secret::new(hex::encode(rand::random::<[u8; 32]>()))])
    }

    /// The keys to sign and verify with.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().filter_map(|secret| key_of(secret).ok())
    }
}

/// The bytes of a key. Source: Standard Webhooks 1.0.0, `whsec_` and base64.
fn key_of(secret: &Secret) -> Result<Vec<u8>, BadSecret> {
    match secret.reveal().strip_prefix("whsec_") {
        Some(encoded) => STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).map_err(|_| BadSecret::NotBase64),
        None => Ok(secret.reveal().as_bytes().to_vec()),
    }
}

impl FromStr for WebhookSecrets {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for WebhookSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(secret::SECRET_MARK, OneOrTwo)
    }
}

/// A text, or a list of texts; no error repeats them.
struct OneOrTwo;

impl<'de> Visitor<'de> for OneOrTwo {
    type Value = WebhookSecrets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, or a list of two")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<WebhookSecrets, D::Error> {
        let said = service_kit::config::list(deserializer);
        let said = said.map_err(|_| de::Error::custom("must be a key, or a list of two (its value is not shown)"))?;
        WebhookSecrets::new(&said.join(",")).map_err(de::Error::custom)
    }
}

/// The section `[provider]` of the settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// The kind of provider: `in-process`, `instant` or `http`.
    pub mode: Mode,
    /// The URL of the provider's process, for `http`.
    #[serde(deserialize_with = "without_user")]
    pub url: String,
    /// What its webhooks are signed with, one key or two; needed for `http`, drawn at start otherwise.
    pub webhook_secret: Option<WebhookSecrets>,
    /// How long a call may take before its outcome is unknown, in milliseconds.
    #[serde(deserialize_with = "service_kit::config::within::<1, 300000, _, _>")]
    pub call_timeout_ms: u64,
    /// How long a request may be open before that is recorded, in milliseconds.
    #[serde(deserialize_with = "service_kit::config::within::<1, 3600000, _, _>")]
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
            call_timeout_ms: 30_000,  // A call that takes longer counts as unanswered.
            unknown_after_ms: 30_000, // As long as one call may take.
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

/// The address of a process of ours. It is shown in banners and in `/health`, so it holds no credentials.
fn without_user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = SecretUrl::new(String::deserialize(deserializer)?);
    if url.to_string() != url.reveal() {
        return Err(de::Error::custom(format_args!("`{url}` must not contain a user, a password or a query")));
    }
    Ok(url.reveal().to_owned())
}

/// The section `[provider.simulated]` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedConfig {
    /// The seed of the random delays: the same seed and the same calls give the same delays.
    pub seed: u64,
    /// How long customers (3-D Secure), failing refunds and late successes take, in milliseconds.
    #[serde(deserialize_with = "service_kit::config::within::<0, 86400000, _, _>")]
    pub delay_ms: u64,
    /// How long until a webhook is sent, at least; up to twice of it by chance, in milliseconds.
    #[serde(deserialize_with = "service_kit::config::within::<0, 86400000, _, _>")]
    pub webhook_delay_ms: u64,
    /// How long an answer is withheld by the time-out scripts, in milliseconds: longer than a caller waits.
    #[serde(deserialize_with = "service_kit::config::within::<0, 86400000, _, _>")]
    pub withheld_ms: u64,
    /// How long a hold lasts, in seconds.
    #[serde(deserialize_with = "service_kit::config::within::<1, 31536000, _, _>")]
    pub auth_ttl_s: u64,
}

impl Default for SimulatedConfig {
    fn default() -> Self {
        Self {
            seed: 7,
            delay_ms: 1_000,
            webhook_delay_ms: 50,
            withheld_ms: 45_000,
            auth_ttl_s: 7 * 24 * 3_600, // Card networks: 7 days for a customer-initiated online hold.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: serde_json::Value) -> Result<ProviderConfig, String> {
        serde_json::from_value(serde_json::json!({ "webhook_secret": value })).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_or_short_webhook_secret_is_refused_and_not_repeated() {
        // The last one is base64 of 12 bytes: what counts is the key, not how it is written.
        for short in [
            "",
            "whsec_",
            ",",
            "twenty-three-characters",
            "whsec_bm90IGEgc2VjcmV0",
            "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
        ] {
            let why = read(short.into()).expect_err("refused");
            assert!(why.contains("24 bytes") || why.contains("base64"), "{why}");
            assert!(short.len() < 2 || !why.contains(&short[6..]) || short == "whsec_", "{why}");
        }
        let strong = "twenty-four-characters-x";
        assert!(read(strong.into()).is_ok());
        assert!(read(format!("{strong},short").into()).is_err(), "each key counts");
        assert!(read(serde_json::json!([strong, ""])).is_ok(), "an empty entry of a list does not count");
        assert!(read(serde_json::json!([strong, strong, strong])).expect_err("too many").contains("names 3 keys"));
        assert!(read(serde_json::json!({ "a": 1 })).is_err());
    }

    #[test]
    fn two_secrets_are_a_list_or_stand_in_one_text() {
        let (old, new) = ("the-old-one-of-32-bytes-in-length", "the-new-one-of-32-bytes-in-length");
        let list = read(serde_json::json!([new, old])).expect("a list").webhook_secret;
        for text in [format!("{new},{old}"), format!("{new}\n{old}"), format!("{new}, {old}\n")] {
            assert_eq!(read(text.into()).expect("a text").webhook_secret, list);
        }
        assert!(!format!("{list:?}").contains("one-of"), "{list:?}");
    }
}
