//! The front door of a cluster: one address for clients, operators and the payment provider, as `serve` has one.
//!
//! It decides nothing. It knows which service a path belongs to (`routes`), which of its replicas answer (`replicas`),
//! and that a request which may safely be sent again is sent to the next replica when one does not answer (`forward`), as
//! far as the `budget` for that goes. `path` and `headers` say what it passes on.

mod body;
mod budget;
mod forward;
mod headers;
pub mod pages;
mod path;
mod replicas;
mod routes;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::health::Need;
use service_kit::serve::Port;
use service_kit::{Clock, Health, HttpConfig, Limits, StartError, Tasks, health, metrics};

use crate::budget::Budget;
use crate::forward::Gateway;
use crate::replicas::Replicas;

pub use self::routes::Service;

/// How long open requests may go on once the gateway stops: as long as a query may wait, and a little.
const GRACE: Duration = Duration::from_secs(5);

/// The contract, generated and checked in: the services that fulfil it are other processes.
const OPENAPI: &str = include_str!("../../../schemas/openapi.json");

/// The section `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where health and metrics are served besides, by a thread of its own; none: at `listen` only.
    pub admin_listen: Option<SocketAddr>,
    /// Names in `Host` that are answered besides addresses and `localhost`; none: any name, but on a loopback address no
    /// other.
    #[serde(deserialize_with = "service_kit::config::list")]
    pub allowed_hosts: Vec<String>,
    /// Base URLs of the command-service replicas, separated by commas.
    pub commands: String,
    /// Base URLs of the projection-service replicas, separated by commas.
    pub queries: String,
    /// Base URLs of the saga-orchestrator replicas, separated by commas.
    pub sagas: String,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            admin_listen: None,
            allowed_hosts: Vec::new(),
            commands: "http://127.0.0.1:7411".to_owned(),
            queries: "http://127.0.0.1:7421".to_owned(),
            sagas: "http://127.0.0.1:7431".to_owned(),
        }
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// How each service behind it is.
    pub health: Health,
    edge: Tasks,
}

/// Opens the port and begins to look after the replicas. Returns when requests are taken. `started` is what the process tells
/// of its settings.
///
/// # Errors
/// A base URL that is none, or a port that is taken.
pub async fn start(config: &GatewayConfig, edge: Limits, started: &Started, clock: Clock) -> anyhow::Result<Running> {
    let (admin_listen, allowed_hosts) = (config.admin_listen, config.allowed_hosts.clone());
    let http = HttpConfig { listen: config.listen, admin_listen, allowed_hosts };
    let hint =
        || format!("set `[gateway] listen` to \"{}:0\" for any free port; or stop who listens there", http.listen.ip());
    let with_hint = |error: StartError| anyhow::anyhow!("{error}; {}", error.hint);
    let ports = http.bind(hint).await.map_err(with_hint)?;
    let address = ports.address;
    let tasks = Tasks::with_aside();
    let numbers = metrics::start(&tasks, &clock); // Before anything counts.
    metrics::present(&["backstitch_gateway_rounds_total"]);
    let health = Health::new(clock.clone());
    let client = forward::client();
    let watched = |service: Service, urls: &str, need: Need| -> anyhow::Result<Replicas> {
        let replicas = Replicas::parse(urls).with_context(|| format!("`[gateway] {}`", service.name()))?;
        replicas.watch(client.clone(), health.register(service.name(), need), &tasks);
        Ok(replicas)
    };
    let gateway = Gateway {
        commands: watched(Service::Commands, &config.commands, Need::Required)?,
        queries: watched(Service::Queries, &config.queries, Need::Optional)?,
        sagas: watched(Service::Sagas, &config.sagas, Need::Optional)?,
        client,
        budget: Budget::new(),
        body_bytes: edge.body_bytes,
    };
    let openapi: serde_json::Value = serde_json::from_str(OPENAPI).context("the contract that was compiled in")?;
    let routes =
        Router::from(health::router(health.clone())).merge(pages::router(openapi)).merge(forward::router(gateway));
    let port = Port { config: &http, limits: &edge, started, health: &health, grace: GRACE };
    port.serve(ports, routes, numbers, &tasks).map_err(with_hint)?;
    Ok(Running { address, health, edge: tasks })
}

impl Running {
    /// Takes no new requests, and gives those that are under way some seconds.
    pub async fn stop(self) {
        self.health.stopping();
        if !self.edge.shut_down(GRACE + Duration::from_millis(200)).await {
            tracing::warn!("some requests were cut off");
        }
    }
}
