//! The settings of a saga orchestrator of its own: its sections of the one settings file.

use event_bus::BusConfig;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

use crate::config::SagaConfig;

/// The settings of a saga orchestrator. A key `k` of the section `[s]` is `BACKSTITCH__S__K` in the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The section `[http]`: the port of the HTTP API.
    pub http: HttpConfig,
    /// The section `[limits]`: bounds of the HTTP API.
    pub limits: Limits,
    /// The section `[event_store]`: where the log is.
    pub event_store: EventStoreConfig,
    /// The section `[bus]`: where Kafka is, from which the sagas get their events.
    pub bus: BusConfig,
    /// `[saga]`: how long things may take, how often they are tried, who carries commands out.
    pub saga: SagaConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// What the process tells of them.
    #[serde(skip)]
    pub started: Started,
}
