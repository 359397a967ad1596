//! The settings of a projection service of its own: its sections of the one settings file.

use event_bus::BusConfig;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::secret::SecretUrl;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

/// All that can be set. A key `k` of the section `[s]` is `BACKSTITCH__S__K` in the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `[http]`
    pub http: HttpConfig,
    /// `[limits]`: bounds of the edge.
    pub limits: Limits,
    /// `[event_store]`: where the log is.
    pub event_store: EventStoreConfig,
    /// `[bus]`: where Kafka is.
    pub bus: BusConfig,
    /// `[postgres]`: where the read models are.
    pub postgres: PostgresConfig,
    /// `[projections]`: which read models.
    pub projections: crate::Config,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// What the process tells of them.
    #[serde(skip)]
    pub started: Started,
}

/// `[postgres]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// A running Postgres for the read models. Without, `serve` starts a private one, and a projection
    /// service does not start: its replicas share one.
    pub url: Option<SecretUrl>,
}

/// Where a Postgres is, for people: never a password.
pub fn place(url: &SecretUrl) -> String {
    format!("Postgres at {}", url.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://user:geheim@db.example/shop",
            "postgres://db.example/shop?user=user&password=geheim",
            "postgres://db.example/shop?sslpassword=geheim",
        ] {
            let config = PostgresConfig { url: Some(SecretUrl::new(url)) };
            assert!(!format!("{config:?}").contains("geheim"), "{config:?}");
            let place = place(&SecretUrl::new(url));
            assert!(place.starts_with("Postgres at db.example/shop") && !place.contains("geheim"), "{place}");
        }
    }
}
