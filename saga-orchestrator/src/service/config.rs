//! The settings of a saga orchestrator of its own: its sections of the one settings file.

use event_bus::BusConfig;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

use crate::config::SagaConfig;

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
    /// `[bus]`: where the feed comes from.
    pub bus: BusConfig,
    /// `[saga]`: how long things may take, how often they are tried, who carries commands out.
    pub saga: SagaConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// What the process tells of them.
    #[serde(skip)]
    pub started: Started,
}
