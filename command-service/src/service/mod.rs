//! The write side as a process of its own, one of several over a log that they share.
//!
//! *Invariant:* a process that is being stopped answers the requests that it has accepted, within a bound. First it
//! reports that it is not ready, then it accepts no more requests, then the open ones end, then the log is closed.

mod args;
mod config;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event_store::EventStore;
use event_store::KurrentStore;
use service_kit::health::Need;
use service_kit::serve::{Port, warn_if_open};
use service_kit::start::listen_on;
use service_kit::{Clock, Health, StartError, Tasks, health, metrics};
use utoipa_axum::router::OpenApiRouter;

use crate::clock_watch;
use crate::contexts::Context;
use crate::grpc;
use crate::provider::Mode;
use crate::write_side::{self, WriteSide};

pub use args::Args;
pub use config::{CommandConfig, Config};

/// How long the process goes on taking requests after it has said that it is not ready: twice as long as the gateway takes
/// to ask again.
const NOTICE: Duration = Duration::from_secs(1);
/// How long requests that were taken may go on: a command waits for the log, whose calls have 10 s.
const EDGE_GRACE: Duration = Duration::from_secs(11);
/// How long the provider's driver may take to end.
const WORK_GRACE: Duration = Duration::from_secs(2);

/// A running command service.
pub struct Service {
    /// The address at which HTTP is served.
    pub address: SocketAddr,
    /// The address at which gRPC is served, if it is.
    pub grpc: Option<SocketAddr>,
    /// The health of the process, as `/health` shows it.
    pub health: Health,
    edge: Tasks,
    work: Tasks,
}

impl Service {
    /// Starts over a log. Returns when commands are taken. The caller, which opened `store`, has `/health` tell of it.
    ///
    /// # Errors
    /// [`StartError`]: a port or the provider cannot be used.
    pub async fn start(
        config: &Config,
        store: Arc<dyn EventStore>,
        health: Health,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let contexts = config.command.contexts.clone();
        if store.is_shared() && contexts.has(Context::Payment) && config.provider.mode != Mode::Http {
            return Err(StartError::new(
                format_args!(
                    "`provider.mode` is `{}`, but several processes drive the same payments: the provider must be one of its own",
                    config.provider.mode
                ),
                "backstitch provider-sim …   # then [provider] mode = \"http\", url, webhook_secret",
            ));
        }
        let Config { http, limits, started, .. } = config;
        let ports = http.bind(|| any_port(http.listen, "[http] listen")).await?;
        let commands = match config.grpc.listen {
            Some(listen) => Some(listen_on(listen, || any_port(listen, "[grpc] listen")).await?),
            None => None,
        };
        let address = ports.address;
        let (edge, work) = (Tasks::new(), Tasks::new());
        let numbers = metrics::start(&edge, &clock); // Before anything counts.
        let settings = write_side::Settings {
            provider: &config.provider,
            pricing: config.pricing.clone(),
            contexts: contexts.clone(),
            data_dir: Path::new("."),
            base_url: &format!("http://{address}"),
        };
        let write = WriteSide::start(settings, &store, &clock, &work)?;
        clock_watch::start(Arc::clone(&store), clock.clone(), &health, &work);
        let api = OpenApiRouter::new().merge(health::router(health.clone())).merge(write.router());
        let (routes, _) = api.split_for_parts();
        let port = Port { config: http, limits, started, health: &health, grace: EDGE_GRACE };
        port.serve(ports, routes, numbers, &edge)?;
        let grpc = commands.map(|(listener, address)| {
            warn_if_open("gRPC", address);
            let WriteSide { bus, pricing, .. } = write;
            let (limits, health) = (config.limits.clone(), health.clone());
            let served = grpc::Served { bus, store, pricing, contexts, limits, health };
            grpc::start(listener, served, &edge, EDGE_GRACE);
            address
        });
        Ok(Self { address, grpc, health, edge, work })
    }

    /// Stops cleanly, in less than 15 s: not ready, then nothing new, then what is under way, then the driver.
    pub async fn stop(self) {
        self.health.stopping();
        tokio::time::sleep(NOTICE).await;
        if !self.edge.shut_down(EDGE_GRACE + Duration::from_millis(200)).await {
            tracing::warn!("some requests were cut off");
        }
        if !self.work.shut_down(WORK_GRACE).await {
            tracing::warn!("some tasks did not end in time; another replica goes on where they were");
        }
    }
}

fn any_port(listen: SocketAddr, key: &str) -> String {
    format!("set `{key}` to \"{}:0\" for any free port; or stop who listens there", listen.ip())
}

/// Opens the log that `[event_store] url` names, and has `/health` tell how the connection is. That nobody answers is no
/// error: the log is waited for, and commands get 503 meanwhile.
///
/// # Errors
/// [`StartError`]: there is no address, or it is none.
pub async fn open_log(config: &Config, health: &Health, tasks: &Tasks) -> Result<Arc<KurrentStore>, StartError> {
    let store = KurrentStore::named(&config.event_store, "a command service").await;
    let store = store.map_err(|error| StartError::new(&error, error.hint()))?;
    health.follow(("event-store", Need::Required), store.health(), store.describes(), tasks);
    Ok(store)
}
