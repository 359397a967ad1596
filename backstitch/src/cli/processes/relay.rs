//! `backstitch relay`: publishes the log of an event store to Kafka, one active relay of several.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use event_bus::relay::Status;
use event_bus::{BusConfig, Relay};
use event_store::{EventStore, EventStoreConfig, KurrentStore};
use serde::Deserialize;
use service_kit::config::Started;
use service_kit::health::Need;
use service_kit::serve::Port;
use service_kit::start::HttpConfig;
use service_kit::telemetry::LogConfig;
use service_kit::{Clock, Health, Limits, StartError, Tasks, health, metrics, shutdown, telemetry};
use terminal::{Exit, Failure, output};
use tokio_util::sync::CancellationToken;

/// How long what is under way may take at the end: the relay's own bound, and leaving its group.
const DRAIN: Duration = Duration::from_secs(15);
/// How long an open request for health or metrics may take at the end.
const HTTP_GRACE: Duration = Duration::from_secs(1);

/// Publishes the log of an event store to Kafka, in commit order. Of several relays one is active; when it ends, another
/// takes over within seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings: `[event_store] url`, `[bus]`, `[http] listen` (health and metrics), `[log]`.
SIGTERM drains: what is under way is acknowledged, then another relay takes over at once.

Examples:
  BACKSTITCH__EVENT_STORE__URL='kurrentdb://127.0.0.1:2113?tls=false' \\
    BACKSTITCH__BUS__BROKERS=127.0.0.1:9092 backstitch relay
  backstitch relay --config cluster.toml --listen 127.0.0.1:7402")]
pub struct Args {
    /// The settings file [default: backstitch.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where health and metrics are served; port 0 takes a free one [default: [http] listen, 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// What the relay and `backstitch bus` take of all settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `[http]`
    pub http: HttpConfig,
    /// `[limits]`: bounds of the port for health and metrics.
    pub limits: Limits,
    /// `[event_store]`: whose log is published.
    pub event_store: EventStoreConfig,
    /// `[bus]`: where to.
    pub bus: BusConfig,
    /// `[log]`
    pub log: LogConfig,
}

impl Args {
    /// Runs until a signal comes.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot start, or a topic is refused.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let (settings, mut started) = settings_to_tell(self.config.as_deref())?;
        let Settings { http, limits, event_store, bus, log } = settings;
        telemetry::start(&log).map_err(|error| Failure::no_answer(error, "RUST_LOG=info backstitch relay"))?;
        let signal = shutdown::signalled()?; // Before anything runs: an early SIGTERM stops cleanly too.
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let health = Health::new(clock.clone());
        if let Some(listen) = self.listen {
            started.option("http.listen", listen.to_string(), "--listen");
        }
        let http = HttpConfig { listen: self.listen.unwrap_or(http.listen), ..http };
        let port = Port { config: &http, limits: &limits, started: &started, health: &health, grace: HTTP_GRACE };
        let address = serve(port, &clock, &tasks).await?;
        let store = open(&event_store).await?;
        metrics::follow_log(store.head(), |position| position.0, &tasks);
        health.follow(("event-store", Need::Required), store.health(), store.describes(), &tasks);
        let kafka = health.register("kafka", Need::Required);
        tasks.spawn("kafka-health", event_bus::health::watch(bus.clone(), kafka, tasks.stopping()));
        let relay = Arc::new(Relay::new(bus.clone(), store.clone()));
        health.follow(("relay", Need::Required), relay.status(), says, &tasks);
        output::announce(format_args!(
            "Backstitch {} relays {} to `{}` at {}   (health: http://{address}/health)",
            env!("CARGO_PKG_VERSION"),
            store.address(),
            bus.topic,
            bus.brokers.as_deref().unwrap_or("(no brokers)")
        ));
        let stop = CancellationToken::new();
        let mut running = std::pin::pin!(relay.run(stop.clone()));
        let outcome = tokio::select! {
            name = signal => {
                tracing::info!(signal = name, "stopping");
                health.stopping();
                stop.cancel();
                tokio::time::timeout(DRAIN, &mut running).await.unwrap_or(Ok(()))
            }
            outcome = &mut running => outcome,
        };
        tasks.shut_down(HTTP_GRACE * 2).await;
        store.close();
        tracing::info!("stopped");
        outcome.map(|()| Exit::Done).map_err(|error| Failure::no_answer(error, "backstitch bus status"))
    }
}

/// The settings of `file`, else of `backstitch.toml` here if there is one, then the environment.
pub(crate) fn settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    settings_to_tell(file).map(|(settings, _)| settings)
}

/// The same, with what the relay tells of them.
fn settings_to_tell(file: Option<&Path>) -> anyhow::Result<(Settings, Started)> {
    let file = service_kit::config::file(file);
    let settings = service_kit::config::load_to_tell("relay", file.as_deref());
    settings.map_err(|error| Failure::no_answer(error, "backstitch config show"))
}

/// The log that is published: always that of another process.
pub(crate) async fn open(config: &EventStoreConfig) -> anyhow::Result<Arc<KurrentStore>> {
    let store = KurrentStore::named(config, "a relay").await;
    store.map_err(|error| Failure::no_answer(&error, error.hint()))
}

async fn serve(port: Port<'_>, clock: &Clock, tasks: &Tasks) -> anyhow::Result<SocketAddr> {
    let failed = |error: StartError| Failure::no_answer(&error, &error.hint);
    let hint = || format!("backstitch relay --listen {}:0   # any free port", port.config.listen.ip());
    let ports = port.config.bind(hint).await.map_err(failed)?;
    let address = ports.address;
    let routes = Router::from(health::router(port.health.clone()));
    port.serve(ports, routes, metrics::start(tasks, clock), tasks).map_err(failed)?;
    Ok(address)
}

/// What `/health` tells of the relay: one that stands by is as it should be.
fn says(status: &Status) -> Result<String, String> {
    let note = status.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    match (&status.trouble, status.active) {
        (Some(trouble), _) => Err(format!("at position {} of {}: {trouble}", status.position, status.head)),
        (None, true) => Ok(format!("active; position {} of {}{note}", status.position, status.head)),
        (None, false) => Ok(format!("stands by{note}")),
    }
}

/// Where the log ends.
pub(crate) fn head(store: &KurrentStore) -> event_store::Position {
    *store.head().borrow()
}
