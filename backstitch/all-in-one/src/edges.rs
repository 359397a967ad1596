//! What a shop serves to other processes, where the settings say so: commands and followers over gRPC, and its log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use command_service::contexts::Contexts;
use command_service::{WriteSide, grpc};
use event_store::EventStore;
use event_store::serve::{Bound, ServeError, ServeOptions};
use service_kit::serve::warn_if_open;
use service_kit::start::listen_on;
use service_kit::{Health, StartError, Tasks};
use tokio::net::TcpListener;

use crate::config::Config;

/// The warning at the start of a process that serves the log without TLS.
pub const IN_THE_CLEAR: &str =
    "the log is served without TLS: the password and all events cross the network readable for everybody on the way";

/// The ports for other processes, taken and not answering yet.
pub(crate) struct Edges {
    grpc: Option<(TcpListener, SocketAddr)>,
    log: Option<Bound>,
}

impl Edges {
    pub(crate) async fn bind(config: &Config) -> Result<Self, StartError> {
        let grpc = match config.grpc.listen {
            Some(listen) => {
                let hint = || format!("set `[grpc] listen` to \"{}:0\", or stop who listens there", listen.ip());
                Some(listen_on(listen, hint).await?)
            }
            None => None,
        };
        let options = ServeOptions::from_config(&config.event_store).map_err(|error| of_served_log(&error))?;
        let log = match options {
            Some(options) => {
                if options.is_in_the_clear() {
                    tracing::warn!("{IN_THE_CLEAR}");
                }
                Some(options.bind().await.map_err(|error| of_served_log(&error))?)
            }
            None => None,
        };
        Ok(Self { grpc, log })
    }

    /// Serves until the edge stops. Returns what clients of the log connect with, if it is served.
    pub(crate) fn serve(
        self,
        config: &Config,
        (store, write): (&Arc<dyn EventStore>, &WriteSide),
        health: &Health,
        edge: &Tasks,
        grace: Duration,
    ) -> Option<Arc<str>> {
        if let Some((listener, address)) = self.grpc {
            tracing::info!(%address, "commands are taken by gRPC");
            warn_if_open("gRPC", address);
            let served = grpc::Served {
                bus: write.bus.clone(),
                store: Arc::clone(store),
                pricing: Arc::clone(&write.pricing),
                contexts: Contexts::default(),
                limits: config.limits.clone(),
                health: health.clone(),
            };
            grpc::start(listener, served, edge, grace);
        }
        self.log.map(|port| serve_log(edge, port, Arc::clone(store)))
    }
}

fn serve_log(edge: &Tasks, port: Bound, store: Arc<dyn EventStore>) -> Arc<str> {
    let server = port.serve(store);
    let (stop, connect_with) = (edge.stopping(), server.connection_string());
    edge.spawn("served-log", async move {
        if let Err(error) = server.run(stop.cancelled_owned()).await {
            tracing::error!(%error, "the log is no longer served");
        }
    });
    connect_with.into()
}

/// Why the log cannot be served to other processes, with the way out.
pub fn of_served_log(error: &ServeError) -> StartError {
    let hint = match error {
        ServeError::Listen { listen, .. } => {
            format!("backstitch store serve --listen {}:0   # any free port; or stop who listens there", listen.ip())
        }
        ServeError::Open(listen) => {
            format!("BACKSTITCH__EVENT_STORE__PASSWORD=… backstitch store serve --listen {listen} --user shop")
        }
        ServeError::Half(..) | ServeError::EmptyUser => "backstitch store serve --help".to_owned(),
        ServeError::Tls { path, .. } => format!("openssl x509 -noout -subject -in {}", path.display()),
        ServeError::Ended(_) => "backstitch store serve   # continues where it stopped".to_owned(),
    };
    StartError::new(error, hint)
}
