//! Joins the services in one process. Nothing here decides anything: it opens, connects, and stops in the right order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use command_service::contexts::Contexts;
use command_service::{CommandBus, WriteSide, clock_watch, write_side};
use event_store::EventStore;
use event_store::sqlite::{SqliteOptions, SqliteStore};
use gateway::pages;
use projection_service::standing;
use service_kit::health::Need;
use service_kit::postgres::PrivatePostgres;
use service_kit::serve::Port;
use service_kit::{Clock, Health, HttpPorts, StartError, Tasks, health, metrics};
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

use crate::config::Config;
use crate::dispatch::InProcess;
use crate::edges::Edges;
use crate::log;
use crate::read_models::{self, Slot, Source};
use crate::start_errors;

/// How long open requests may go on once the system stops. Answers take milliseconds; what waits longer (`Prefer: wait`,
/// server-sent events) is cut off and asks again.
const HTTP_GRACE: Duration = Duration::from_millis(800);
/// How long sagas, projections and the provider's driver may take to end; the whole stop has to stay below 5 s.
const WORK_GRACE: Duration = Duration::from_secs(2);

/// The running parts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Parts {
    pub address: SocketAddr,
    pub store: Arc<SqliteStore>,
    pub health: Health,
    /// Set once, when something happened that the system cannot go on after.
    pub fatal: watch::Receiver<Option<StartError>>,
    /// Whether everything that was asked for runs.
    pub everything_up: watch::Receiver<bool>,
    /// How to look into the private Postgres.
    pub postgres_url: watch::Receiver<Option<String>>,
    /// Where it is or will be, for people.
    pub postgres_place: Arc<str>,
    /// What clients of the log connect with, if it is served.
    pub served_log: Option<Arc<str>>,
    postgres: Slot,
    edge: Tasks,
    work: Tasks,
}

/// Every port of the process, taken and not answering yet.
struct Ports {
    http: HttpPorts,
    others: Edges,
}

impl Ports {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let http = config.http.listen;
        let hint = || format!("backstitch serve --listen {}:0   # any free port; or stop who listens there", http.ip());
        let http = config.http.bind(hint).await?;
        Ok(Self { http, others: Edges::bind(config).await? })
    }
}

/// Takes the ports, opens the log, then starts everything else. Returns when commands are taken. The ports come first: a
/// start that fails because one is taken leaves no data folder behind.
pub(crate) async fn start(config: Config, clock: Clock, log: SqliteOptions) -> Result<Parts, StartError> {
    let ports = Ports::bind(&config).await?;
    let options = log::options(&config, log);
    let store = log::open(&config.data.dir, options).await?;
    match start_on(config, ports, clock, Arc::clone(&store)) {
        Ok(parts) => Ok(parts),
        Err(error) => {
            store.close().await; // So that the folder is free and the next start finds a clean stop.
            Err(error)
        }
    }
}

fn start_on(config: Config, ports: Ports, clock: Clock, store: Arc<SqliteStore>) -> Result<Parts, StartError> {
    let address = ports.http.address;
    let (edge, work) = (Tasks::with_aside(), Tasks::with_aside());
    let numbers = metrics::start(&edge, &clock); // Before anything counts.
    metrics::follow_log(store.head(), |position| position.0, &edge);
    let health = Health::new(clock.clone());
    watch_log(&store, &health, &work);
    let (fatal, failed) = watch::channel(None);
    let log: Arc<dyn EventStore> = Arc::clone(&store) as Arc<dyn EventStore>;

    let settings = write_side::Settings {
        provider: &config.provider,
        pricing: config.pricing.clone(),
        contexts: Contexts::default(),
        data_dir: &config.data.dir,
        base_url: &format!("http://{address}"),
    };
    let write = WriteSide::start(settings, &log, &clock, &work)?;
    clock_watch::start(Arc::clone(&log), clock.clone(), &health, &work);
    let sagas = sagas(&config, &log, &write.bus, &clock, &work)?;
    let fatal = Arc::new(fatal);
    let read = read_side(&config, &log, &clock, &work, &health, Arc::clone(&fatal));
    ask_read_models(&read.handle, &store, &config.data.dir, &work, fatal);
    let api = OpenApiRouter::with_openapi(service_kit::api::description())
        .merge(health::router(health.clone()))
        .merge(write.router())
        .merge(projection_service::http::router(read.handle))
        .merge(saga_orchestrator::router(sagas));
    let (routes, openapi) = api.split_for_parts();
    let routes = routes.merge(pages::router(service_kit::api::document(&openapi)));
    let Config { http, limits, started, .. } = &config;
    let port = Port { config: http, limits, started, health: &health, grace: HTTP_GRACE };
    port.serve(ports.http, routes, numbers, &edge)?;
    let served_log = ports.others.serve(&config, (&log, &write), &health, &edge, HTTP_GRACE);
    Ok(Parts {
        address,
        store,
        health,
        fatal: failed,
        everything_up: read.up,
        postgres_url: read.url,
        postgres_place: read.place,
        served_log,
        postgres: read.slot,
        edge,
        work,
    })
}

/// Has `/health` and its probes say how the log is.
fn watch_log(store: &Arc<SqliteStore>, health: &Health, work: &Tasks) {
    let reporter = health.register("event-log", Need::Required);
    reporter.up_with(store.path().display()); // It has just been opened and read.
    let told = log::health::Told { reporter, pulse: health.pulse("log-write") };
    log::health::watch(Arc::clone(store), Some(told), work);
}

/// Starts the sagas, or only the way to look at them.
fn sagas(
    config: &Config,
    log: &Arc<dyn EventStore>,
    bus: &CommandBus,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<saga_orchestrator::Handle, StartError> {
    if !config.run.sagas {
        return Ok(saga_orchestrator::Handle::new(Arc::clone(log), clock.clone(), config.saga.clone()));
    }
    let commands = Arc::new(InProcess::new(bus.clone()));
    let started = saga_orchestrator::start(Arc::clone(log), commands, clock.clone(), tasks, config.saga.clone());
    started.map(|sagas| saga_orchestrator::Handle::from(&sagas)).map_err(|error| {
        StartError::new(
            format_args!("a saga's definition cannot be followed: {error}"),
            "this is a fault of this release: run another one",
        )
    })
}

/// What the read side gives to the rest.
struct ReadSide {
    handle: projection_service::Handle,
    slot: Slot,
    url: watch::Receiver<Option<String>>,
    place: Arc<str>,
    up: watch::Receiver<bool>,
}

/// Starts the read models and their Postgres, without waiting for either.
fn read_side(
    config: &Config,
    log: &Arc<dyn EventStore>,
    clock: &Clock,
    tasks: &Tasks,
    health: &Health,
    fatal: Arc<watch::Sender<Option<StartError>>>,
) -> ReadSide {
    let slot = Slot::default();
    let (told, url) = watch::channel(None);
    let (up, everything_up) = watch::channel(!config.run.projections);
    let follows = &config.projections;
    let handle = projection_service::start(Arc::clone(log), url.clone(), clock.clone(), tasks.clone(), follows);
    if !config.run.projections {
        drop(told); // There will never be a Postgres: what needs one answers 503, what reads the log works.
        return ReadSide { handle, slot, url, place: "off".into(), up: everything_up };
    }
    let source = match &config.postgres.url {
        Some(url) => Source::Given(url.clone()),
        None => Source::Private(config.data.dir.join("postgres")),
    };
    let place = source.place().into();
    // Commands do not need them, so they are optional; but a start is complete only when they are there.
    let (reporter, complete) =
        (health.register("read-models", Need::Optional), health.register("start", Need::Required));
    complete.starting("the read models are being opened; commands are taken already");
    tasks.spawn("postgres", read_models::open(source, Arc::clone(&slot), told, fatal, tasks.clone()));
    tasks.spawn(
        "read-models-health",
        standing::watch_over((handle.progress.clone(), log.head()), reporter, up, tasks.clone()),
    );
    let mut first = everything_up.clone();
    tasks.spawn("start", async move {
        if first.wait_for(|up| *up).await.is_ok() {
            complete.up();
            tracing::info!("complete: the read models follow the log");
        }
    });
    ReadSide { handle, slot, url, place, up: everything_up }
}

/// The read models are witnesses of the log that cannot be asked before it is opened: Postgres starts later. If they have
/// seen more than it holds, its end is missing, and nothing may go on as if it were not.
fn ask_read_models(
    handle: &projection_service::Handle,
    store: &Arc<SqliteStore>,
    dir: &Path,
    tasks: &Tasks,
    fatal: Arc<watch::Sender<Option<StartError>>>,
) {
    let (progress, store, dir) = (Arc::clone(&handle.progress), Arc::clone(store), dir.to_owned());
    let stopping = tasks.stopping();
    tasks.spawn("witness", async move {
        tokio::select! {
            seen = progress.beyond_the_log() => {
                if let Err(error) = store.ask_witness("a read model", seen) {
                    fatal.send_replace(Some(start_errors::of_log(&error, &dir)));
                }
            }
            () = stopping.cancelled() => {}
        }
    });
}

impl Parts {
    /// Stops in order: the edge, then what appends by itself, then the log, then Postgres.
    pub(crate) async fn stop(self) {
        self.health.stopping();
        if !self.edge.shut_down(HTTP_GRACE + Duration::from_millis(200)).await {
            tracing::warn!("some requests were cut off");
        }
        if !self.work.shut_down(WORK_GRACE).await {
            tracing::warn!("some tasks did not end in time; they go on where they were at the next start");
        }
        self.store.close().await;
        let postgres = self.take_postgres();
        if let Some(postgres) = postgres {
            postgres.stop().await;
        }
    }

    /// Stops the private Postgres without the rest, after a kill.
    pub(crate) async fn drop_postgres(&self) {
        let postgres = self.take_postgres();
        if let Some(postgres) = postgres {
            postgres.stop().await;
        }
    }

    fn take_postgres(&self) -> Option<PrivatePostgres> {
        // Held for a move only.
        self.postgres.lock().take()
    }
}
