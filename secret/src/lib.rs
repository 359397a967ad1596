//! Values that must not be shown: credentials, keys, and URLs that contain them.
//!
//! *Invariant:* `Debug`, `Display` and `Serialize` of a type in this crate never give the secret; only `reveal` does. An
//! error of `Deserialize` does not contain the value either. So a setting is redacted by its type, wherever it is printed.

mod url;

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

pub use url::SecretUrl;

/// What is shown in place of a secret.
pub const MASK: &str = "***";
/// The name under which a [`Secret`] or [`Key`] asks a deserializer for its value: code that examines a type of settings
/// recognizes a secret by it.
pub const SECRET_MARK: &str = "secret::Secret";
/// The name under which a [`SecretUrl`] asks a deserializer for its value.
pub const URL_MARK: &str = "secret::SecretUrl";
/// The least number of bytes of a key that this system checks itself. Source: Standard Webhooks 1.0.0 asks for 24 to 64
/// bytes, that is at least 192 bits.
pub const KEY_MIN_BYTES: usize = 24;

/// A credential for another system, such as a password of Kafka. Its strength is that system's business.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

/// A key or password that this system checks callers against: at least [`KEY_MIN_BYTES`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Secret);

/// A key is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key needs at least {KEY_MIN_BYTES} bytes, and this one has {bytes}; draw one with: head -c 32 /dev/urandom | base64"
)]
pub struct WeakKey {
    /// How many bytes it has.
    pub bytes: usize,
}

impl Secret {
    /// Wraps a text that must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that uses it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// Wraps a key, if it is long enough.
    ///
    /// # Errors
    /// [`WeakKey`] if it has less than [`KEY_MIN_BYTES`] bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, WeakKey> {
        let text = text.into();
        long_enough(text.as_bytes())?;
        Ok(Self(Secret(text)))
    }

    /// The key itself, for the one place that uses it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// Whether these bytes can be a key.
///
/// # Errors
/// [`WeakKey`] if there are less than [`KEY_MIN_BYTES`].
pub fn long_enough(key: &[u8]) -> Result<(), WeakKey> {
    if key.len() < KEY_MIN_BYTES { Err(WeakKey { bytes: key.len() }) } else { Ok(()) }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(SECRET_MARK, deserializer).map(Self)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(text(SECRET_MARK, deserializer)?).map_err(de::Error::custom)
    }
}

/// The text of a value under a mark; no error repeats it.
fn text<'de, D: Deserializer<'de>>(mark: &'static str, deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_newtype_struct(mark, Text)
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text (its value is not shown)")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer).map_err(|_| de::Error::custom("must be a text (its value is not shown)"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_given_by_nothing_but_reveal() {
        let secret: Secret = serde_json::from_str("\"geheim\"").unwrap();
        assert_eq!(secret.reveal(), "geheim");
        assert_eq!((format!("{secret:?}"), secret.to_string()), (MASK.to_owned(), MASK.to_owned()));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }

    #[test]
    fn an_error_does_not_repeat_the_value() {
        for bad in ["4711471147114711", "[\"geheim\"]", "{\"geheim\":1}", "true"] {
            let error = serde_json::from_str::<Secret>(bad).unwrap_err().to_string();
            assert!(!error.contains("geheim") && !error.contains("4711"), "{error}");
        }
        let error = serde_json::from_str::<Key>("\"geheim\"").unwrap_err().to_string();
        assert!(!error.contains("geheim") && error.contains("at least 24 bytes") && error.contains("has 6"), "{error}");
    }

    #[test]
    fn a_key_has_at_least_24_bytes() {
        assert_eq!(Key::new("").unwrap_err(), WeakKey { bytes: 0 });
        assert_eq!(Key::new("x".repeat(23)).unwrap_err(), WeakKey { bytes: 23 });
        assert_eq!(Key::new("x".repeat(24)).unwrap().reveal().len(), 24);
    }
}
