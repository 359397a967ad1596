//! The settings of a projection service of its own: its sections of the one settings file.

use event_bus::BusConfig;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

use crate::config::PostgresConfig;

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
