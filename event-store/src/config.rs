//! The section `[event_store]` of the settings: which log a process uses, and whether it serves its own log to others.

use std::net::SocketAddr;
use std::path::PathBuf;

use secret::{Key, SecretUrl};
use serde::Deserialize;
use serde::de::{self, Deserializer};

/// Size of the write-ahead log, in bytes, at which clients' commands are refused. It is some 60 times the size at which
/// the write-ahead log should restart, and reached only while a reader prevents that; a start still reads so much
/// within seconds.
pub const WAL_LIMIT_BYTES: u64 = 1 << 30;
/// Share of the disk, in percent, that must be free for clients' commands: work that was begun must still find room.
pub const MIN_FREE_PERCENT: u8 = 10;

/// The section `[event_store]` of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventStoreConfig {
    /// URL of another process's log, `kurrentdb://user:password@host:2113?tls=false`; without it the embedded log is
    /// used.
    pub url: Option<SecretUrl>,
    /// Address at which the embedded log is served to other processes; without it the log is not served.
    pub listen: Option<SocketAddr>,
    /// Name of the user of the served log; without it every client that reaches the port may use it.
    #[serde(deserialize_with = "user")]
    pub user: Option<String>,
    /// The password of `user`, at least 24 bytes.
    pub password: Option<Key>,
    /// Path of the certificate (chain) of the served log, PEM; without it the log is served without TLS.
    pub tls_cert: Option<PathBuf>,
    /// Path of the key of `tls_cert`, PEM.
    pub tls_key: Option<PathBuf>,
    /// Size of the embedded log's write-ahead log, in MB, beyond which clients' commands are refused: a reader of
    /// another process prevents its restart, and it must not fill the disk.
    #[serde(deserialize_with = "wal_limit")]
    pub wal_limit_mb: u64,
    /// Share of the embedded log's disk, in percent, below which clients' commands are refused if less than 2 GiB are
    /// free as well; 0 never refuses them.
    #[serde(deserialize_with = "percent")]
    pub min_free_disk_percent: u8,
}

impl Default for EventStoreConfig {
    fn default() -> Self {
        Self {
            url: None,
            listen: None,
            user: None,
            password: None,
            tls_cert: None,
            tls_key: None,
            wal_limit_mb: WAL_LIMIT_BYTES >> 20,
            min_free_disk_percent: MIN_FREE_PERCENT,
        }
    }
}

/// Reads a number of MB and returns bytes: 1 MB to 1 TB.
fn wal_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    between(deserializer, 1, 1 << 20)
}

/// Reads a percentage from 0 to 90: with more, no usual disk would ever take a command.
fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    between(deserializer, 0, 90)
}

fn between<'de, N, D>(deserializer: D, min: i64, max: i64) -> Result<N, D::Error>
where
    N: TryFrom<i64>,
    D: Deserializer<'de>,
{
    let given = i64::deserialize(deserializer)?;
    let refused = || de::Error::custom(format!("must be between {min} and {max}, got {given}"));
    if !(min..=max).contains(&given) {
        return Err(refused());
    }
    N::try_from(given).map_err(|_| refused())
}

/// Reads the name of a user. A name with `:` could not be told from its password (RFC 7617, section 2).
fn user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let user = Option::<String>::deserialize(deserializer)?;
    match user.as_deref() {
        Some("") => Err(de::Error::custom("must not be empty; leave it out to serve the log without a password")),
        Some(name) if name.contains(':') => Err(de::Error::custom("must not contain `:`")),
        Some(_) | None => Ok(user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_their_passwords() {
        let config = EventStoreConfig {
            url: Some(SecretUrl::new("kurrentdb://admin:gehe@im@log1:2113,log2:2113?tls=false")),
            password: Key::new("geheim".repeat(4)).ok(),
            ..EventStoreConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("gehe"), "{shown}");
        assert!(shown.contains("kurrentdb://admin:***@log1:2113,log2:2113?tls=false"), "{shown}");
    }

    #[test]
    fn an_empty_user_and_a_short_password_are_refused_by_name() {
        let refused = |settings: serde_json::Value| {
            serde_json::from_value::<EventStoreConfig>(settings).expect_err("refused").to_string()
        };
        for password in ["", "geheim", "twenty-three-characters"] {
            let why = refused(serde_json::json!({ "user": "shop", "password": password }));
            assert!(why.contains("at least 24 bytes") && (password.is_empty() || !why.contains(password)), "{why}");
        }
        assert!(refused(serde_json::json!({ "user": "" })).contains("empty"));
        assert!(refused(serde_json::json!({ "user": "a:b" })).contains("`:`"));
    }
}
