//! The settings of the write side that every process may read, with gRPC or without.

use std::net::SocketAddr;

use serde::Deserialize;

/// The section `[grpc]` of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address at which commands and followers from other processes are accepted; without it gRPC is not served. Port 0
    /// takes a free one.
    pub listen: Option<SocketAddr>,
}
