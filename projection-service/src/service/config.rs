//! The settings of a projection service of its own: its sections of the one settings file.

use event_bus::BusConfig;
use event_store::EventStoreConfig;
use serde::Deserialize;
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
}

/// `[postgres]`
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// A running Postgres for the read models. Without, `serve` starts a private one, and a projection
    /// service does not start: its replicas share one.
    pub url: Option<String>,
}

/// Where a Postgres is, for people: never a password.
pub fn place(url: &str) -> String {
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    format!("Postgres at {}", place.trim_start_matches("postgres://").trim_start_matches("postgresql://"))
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig").field("url", &self.url.as_deref().map(place)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(place("postgres://user:secret@db.example/shop"), "Postgres at db.example/shop");
        assert_eq!(place("postgres:///shop?host=/run"), "Postgres at /shop?host=/run");
        let config = PostgresConfig { url: Some("postgres://user:secret@db.example/shop".to_owned()) };
        assert!(!format!("{config:?}").contains("secret"));
    }
}
