//! Ids that a retry could make again are derived (UUIDv5, RFC 9562 §5.5), never drawn: the second attempt finds what the first
//! one left.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The namespace of an application's derived ids. It never changes: the ids in old logs depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace(Uuid);

impl Namespace {
    /// The namespace of this number, which the application draws once.
    pub const fn new(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }

    /// Derives an id from parts. Every part is written with its length, so that no two lists of parts read the same.
    pub fn derive(&self, parts: &[&str]) -> Uuid {
        let mut name = String::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            name.push_str(&part.len().to_string());
            name.push(':');
            name.push_str(part);
        }
        Uuid::new_v5(&self.0, name.as_bytes())
    }

    /// The id of the `index`-th event that a command made, with what it says: the same command deciding the same again has
    /// the same ids, deciding differently has others.
    pub fn event_id(&self, command_id: Uuid, index: usize, data: &str) -> Uuid {
        self.derive(&["event", &command_id.simple().to_string(), &index.to_string(), &sha256_hex(data)])
    }
}

/// The SHA-256 of a text, in lower-case hex.
pub fn sha256_hex(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // Writing to a String cannot fail.
        hex
    })
}
