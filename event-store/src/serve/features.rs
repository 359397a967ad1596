//! What clients ask before anything else: what this server can do, and which nodes there are.

use std::net::SocketAddr;

use eventstore_client::proto::gossip::gossip_server::Gossip;
use eventstore_client::proto::gossip::member_info::VNodeState;
use eventstore_client::proto::gossip::{ClusterInfo, EndPoint, MemberInfo};
use eventstore_client::proto::server_features::server_features_server::ServerFeatures;
use eventstore_client::proto::server_features::{SupportedMethod, SupportedMethods};
use eventstore_client::proto::uuid::Value;
use eventstore_client::proto::{self};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::events::machine_time;
use super::listener::Peer;

/// The release of KurrentDB whose protocol this is a subset of; clients compare it with numbers.
const VERSION: &str = "25.1.0";
/// Clients look for it in lower case.
const STREAMS: &str = "event_store.client.streams.streams";
const METHODS: [(&str, &[&str]); 3] =
    [("append", &[]), ("batchappend", &["deadline_duration"]), ("read", &["position", "events"])];
/// 100-nanosecond ticks from the year 1 to 1970.
const TICKS_TO_1970: i64 = 621_355_968_000_000_000;

/// `ServerFeatures`. It tells nobody anything worth a password.
#[derive(Debug)]
pub(super) struct Features;

#[tonic::async_trait]
impl ServerFeatures for Features {
    async fn get_supported_methods(&self, _: Request<()>) -> Result<Response<SupportedMethods>, Status> {
        let method = |(name, features): &(&str, &[&str])| SupportedMethod {
            method_name: (*name).to_owned(),
            service_name: STREAMS.to_owned(),
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        };
        let methods = METHODS.iter().map(method).collect();
        Ok(Response::new(SupportedMethods { methods, event_store_server_version: VERSION.to_owned() }))
    }
}

/// `Gossip`: one node, which leads.
#[derive(Debug)]
pub(super) struct Members {
    listens: SocketAddr,
}

impl Members {
    pub fn new(listens: SocketAddr) -> Self {
        Self { listens }
    }
}

#[tonic::async_trait]
impl Gossip for Members {
    async fn read(&self, request: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        // The address at which this very call arrived can be reached by who made it; the one we listen on may be 0.0.0.0.
        let reached = Peer::of(request.extensions()).and_then(Peer::local_addr).unwrap_or(self.listens);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, self.listens.to_string().as_bytes());
        let member = MemberInfo {
            instance_id: Some(proto::Uuid { value: Some(Value::String(id.to_string())) }),
            time_stamp: machine_time().timestamp_micros() * 10 + TICKS_TO_1970,
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint { address: reached.ip().to_string(), port: reached.port().into() }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}
