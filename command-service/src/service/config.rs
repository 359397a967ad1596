//! The settings of a command service of its own: its sections of the one settings file.

use domain::order::pricing::PricingPolicy;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

use crate::config::GrpcConfig;
use crate::contexts::Contexts;
use crate::provider::ProviderConfig;

/// The settings of a command service. A key `k` of the section `[s]` is `BACKSTITCH__S__K` in the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The section `[http]`: the port of the HTTP API.
    pub http: HttpConfig,
    /// The section `[grpc]`: the port for other processes.
    pub grpc: GrpcConfig,
    /// The section `[limits]`: bounds of both APIs.
    pub limits: Limits,
    /// The section `[event_store]`: where the log is.
    pub event_store: EventStoreConfig,
    /// The section `[command]`: which commands are served.
    pub command: CommandConfig,
    /// The section `[pricing]`: tax and shipping.
    pub pricing: PricingPolicy,
    /// The section `[provider]`: which payment provider is called.
    pub provider: ProviderConfig,
    /// The section `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// The settings as the process shows them at `/settings`.
    #[serde(skip)]
    pub started: Started,
}

/// The section `[command]` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandConfig {
    /// The kinds of aggregates that are served: any of `order,payment,stock,product,shipment`, separated by commas.
    pub contexts: Contexts,
}
