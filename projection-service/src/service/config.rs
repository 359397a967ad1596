//! The settings of a projection service of its own: its sections of the one settings file.

use event_bus::BusConfig;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::secret::SecretUrl;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

/// The settings of a projection service. A key `k` of the section `[s]` is `BACKSTITCH__S__K` in the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The section `[http]`: the port of the HTTP API.
    pub http: HttpConfig,
    /// The section `[limits]`: bounds of the HTTP API.
    pub limits: Limits,
    /// The section `[event_store]`: where the log is.
    pub event_store: EventStoreConfig,
    /// The section `[bus]`: where Kafka is.
    pub bus: BusConfig,
    /// The section `[postgres]`: where the read models are.
    pub postgres: PostgresConfig,
    /// `[projections]`: which read models.
    pub projections: crate::Config,
    /// The section `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// The settings as the process shows them at `/settings`.
    #[serde(skip)]
    pub started: Started,
}

/// The section `[postgres]` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// URL of a running Postgres for the read models. Without it `serve` starts a private one, and a projection service
    /// does not start: its replicas share one.
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
