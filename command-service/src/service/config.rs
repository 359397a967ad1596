//! The settings of a command service of its own: its sections of the one settings file.

use std::net::SocketAddr;

use domain::order::pricing::PricingPolicy;
use event_store::EventStoreConfig;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::telemetry::LogConfig;
use service_kit::{HttpConfig, Limits};

use crate::contexts::Contexts;
use crate::provider::ProviderConfig;

/// All that can be set. A key `k` of the section `[s]` is `BACKSTITCH__S__K` in the environment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `[http]`
    pub http: HttpConfig,
    /// `[grpc]`
    pub grpc: GrpcConfig,
    /// `[limits]`: bounds of both edges.
    pub limits: Limits,
    /// `[event_store]`: where the log is.
    pub event_store: EventStoreConfig,
    /// `[command]`
    pub command: CommandConfig,
    /// `[pricing]`: tax and shipping.
    pub pricing: PricingPolicy,
    /// `[provider]`: which payment provider is called.
    pub provider: ProviderConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// What the process tells of them.
    #[serde(skip)]
    pub started: Started,
}

/// `[grpc]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Where commands and followers from other processes are taken; none: nowhere. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
}

/// `[command]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandConfig {
    /// Which kinds of aggregates are served: any of `order,payment,stock,product,shipment`, with commas between.
    pub contexts: Contexts,
}
