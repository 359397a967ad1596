//! The read side as a process of its own, one of several replicas that share the partitions of the bus.
//!
//! *Invariant:* a replica that is being stopped first reports that it is not ready, then answers the requests that it
//! has accepted, then ends its batches and leaves the group, so that other replicas continue its partitions at once.
//! Only then it closes its connections to Postgres.

mod args;
mod config;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use event_bus::arrived::watch_over;
use event_bus::{Arrived, BusError, Group};
use event_store::{EventStore, KurrentStore, partition};
use service_kit::health::{Need, Reporter};
use service_kit::secret::SecretUrl;
use service_kit::serve::Port;
use service_kit::{Clock, Health, StartError, Tasks, health, metrics};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

use crate::config::place;
use crate::{Feeder, Replica, standing, start_shared};

pub use args::Args;
pub use config::Config;

/// How long the process goes on taking requests after it has said that it is not ready: twice as long as the gateway takes
/// to ask again.
const NOTICE: Duration = Duration::from_secs(1);
/// How long open requests may go on; who waits longer for a position asks another replica.
const EDGE_GRACE: Duration = Duration::from_secs(2);
/// How long batches and the good-bye to the group may take: the group waits 10 s for the work on a partition.
const FEED_GRACE: Duration = Duration::from_secs(11);
/// How long the rest may take to end.
const WORK_GRACE: Duration = Duration::from_secs(2);

/// A running projection service.
pub struct Service {
    /// The address at which HTTP is served.
    pub address: SocketAddr,
    /// The health of the process, as `/health` shows it.
    pub health: Health,
    /// The place of the read models, for people.
    pub postgres_place: String,
    /// The progress of the read models, and of their feed in this process.
    pub handle: crate::Handle,
    store: Arc<KurrentStore>,
    fatal: watch::Receiver<Option<StartError>>,
    edge: Tasks,
    feeds: Tasks,
    work: Tasks,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.address)
    }
}

impl Service {
    /// Starts. Returns when queries are taken; the log, Kafka and Postgres may still be on their way, see `/health`.
    ///
    /// # Errors
    /// [`StartError`]: a setting that is missing or wrong, or a port that is taken.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let url = postgres(config)?;
        if config.bus.brokers.is_none() {
            return Err(StartError::new(BusError::NoBrokers, "export BACKSTITCH__BUS__BROKERS=127.0.0.1:9092"));
        }
        let Config { http, limits, started, .. } = config;
        let any_port = || {
            let ip = http.listen.ip();
            format!("projection-service --listen {ip}:0   # any free port; or stop who listens there")
        };
        let ports = http.bind(any_port).await?;
        let address = ports.address;
        let (edge, feeds, work) = (Tasks::with_aside(), Tasks::new(), Tasks::with_aside());
        let numbers = metrics::start(&edge, &clock); // Before anything counts.
        let health = Health::new(clock.clone());
        let store = open_log(config, &health, &work).await?;
        let replica = Replica {
            name: format!("{}:{}", host(), address.port()),
            partitions: config.bus.partitions,
            of: |key, partitions| partition::of(key.as_bytes(), partitions),
        };
        let postgres_place = place(&url);
        let (told, url) = watch::channel(Some(url.reveal().to_owned()));
        let log = Arc::clone(&store) as Arc<dyn EventStore>;
        let (handle, feeder) = start_shared(log, replica, url, (clock.clone(), work.clone()), &config.projections);
        let (failed, fatal) = watch::channel(None);
        let kafka = health.register("kafka", Need::Optional);
        let arrived = Arrived::default();
        let heard = (arrived.clone(), store.head());
        let age = health.register("bus-age", Need::Optional);
        feeds.spawn("bus-age", watch_over(config.bus.clone(), heard, age, clock.clone(), feeds.stopping()));
        metrics::follow_log(store.head(), |position| position.0, &edge);
        let feeder = (feeder, arrived);
        feeds.spawn("partitions", follow(config.bus.clone(), feeder, kafka, failed, feeds.clone()));
        // Answers need Postgres and nothing else; what stands still shows in how old they are.
        let (postgres, models) =
            (health.register("postgres", Need::Required), health.register("read-models", Need::Optional));
        let up = watch::channel(false).0;
        work.spawn(
            "read-models-health",
            standing::watch_over((Arc::clone(&handle.progress), store.head()), models, up, work.clone()),
        );
        work.spawn("postgres-health", watch_postgres(handle.clone(), postgres, postgres_place.clone(), told));
        let api = OpenApiRouter::new().merge(health::router(health.clone())).merge(crate::http::router(handle.clone()));
        let (routes, _) = api.split_for_parts();
        let port = Port { config: http, limits, started, health: &health, grace: EDGE_GRACE };
        port.serve(ports, routes, numbers, &edge)?;
        Ok(Self { address, health, postgres_place, handle, store, fatal, edge, feeds, work })
    }

    /// Waits until something happens that the service cannot go on after; for ever if nothing does.
    pub async fn fatal(&self) -> StartError {
        let mut fatal = self.fatal.clone();
        let failed = fatal.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match failed {
            Some(error) => error,
            None => std::future::pending().await, // Nobody is left who could fail.
        }
    }

    /// Stops cleanly: not ready, then no new requests, then the batches and the group, then Postgres and the log.
    pub async fn stop(self) {
        self.health.stopping();
        tokio::time::sleep(NOTICE).await;
        if !self.edge.shut_down(EDGE_GRACE + Duration::from_millis(200)).await {
            tracing::warn!("some requests were cut off");
        }
        if !self.feeds.shut_down(FEED_GRACE).await {
            tracing::warn!(
                "some partitions did not end in time; the replica that takes them over fences off their last writes"
            );
        }
        if !self.work.shut_down(WORK_GRACE).await {
            tracing::warn!("some tasks did not end in time; another replica goes on where they were");
        }
        self.store.close();
    }
}

/// The URL of the Postgres that all replicas share.
fn postgres(config: &Config) -> Result<SecretUrl, StartError> {
    let hint = "export DATABASE_URL=postgres://user:password@host/database   # the same for all replicas";
    let Some(url) = config.postgres.url.clone() else {
        return Err(StartError::new(
            "no Postgres: `postgres.url` is not set, and the replicas of a projection service share one",
            hint,
        ));
    };
    match url.reveal().parse::<PgConnectOptions>() {
        Ok(_) => Ok(url),
        Err(error) => Err(StartError::new(format_args!("`postgres.url` cannot be used: {error}"), hint)),
    }
}

/// Opens the log that `[event_store] url` names, and has `/health` tell how the connection is. That nobody answers is no
/// error: it is waited for.
async fn open_log(config: &Config, health: &Health, tasks: &Tasks) -> Result<Arc<KurrentStore>, StartError> {
    let store = KurrentStore::named(&config.event_store, "a projection service").await;
    let store = store.map_err(|error| StartError::new(&error, error.hint()))?;
    // Queries do not need it, but what reads the log and what fills holes does.
    health.follow(("event-store", Need::Optional), store.health(), store.describes(), tasks);
    Ok(store)
}

/// Joins the group and feeds what it assigns, until the service stops; then leaves, when the batches have ended.
async fn follow(
    bus: event_bus::BusConfig,
    (feeder, arrived): (Feeder, Arrived),
    kafka: Reporter,
    fatal: watch::Sender<Option<StartError>>,
    tasks: Tasks,
) {
    let stopping = tasks.stopping();
    let brokers = bus.brokers.clone().unwrap_or_default();
    kafka.starting(format_args!("{brokers} is being asked for `{}`", bus.topic));
    let name = bus.group("projections");
    let joined = tokio::select! {
        joined = Group::join_telling(&bus, &name, arrived) => joined,
        () = stopping.cancelled() => return,
    };
    let mut group = match joined {
        Ok(group) => group,
        Err(error) => {
            kafka.down(&error);
            let error = StartError::new(error, "docs/backstitch.toml   # `[bus]`");
            _ = fatal.send_replace(Some(error));
            return stopping.cancelled().await;
        }
    };
    kafka.up_with(format_args!("{brokers}, topic `{}`", bus.topic));
    loop {
        let assigned = tokio::select! {
            assigned = group.next() => assigned,
            () = stopping.cancelled() => break,
        };
        let Some(assigned) = assigned else { break };
        tracing::info!(partition = assigned.partition, "this replica feeds the read models from a partition");
        let feeder = feeder.clone();
        tasks.spawn("partition", async move {
            feeder.feed(Arc::clone(&assigned.source), assigned.revoked.clone()).await;
            tracing::info!(partition = assigned.partition, "this replica feeds it no more");
            drop(assigned); // Nothing more is written: it may be handed over.
        });
    }
    group.leave().await;
}

/// Tells whether Postgres answers. It keeps the URL's sender: as long as that lives, the URL stays.
async fn watch_postgres(handle: crate::Handle, reporter: Reporter, place: String, _url: watch::Sender<Option<String>>) {
    let stopping = handle.tasks.stopping();
    reporter.starting(format_args!("{place} is being asked"));
    loop {
        match handle.look().await {
            Ok(()) => reporter.up_with(&place),
            Err(error) => reporter.down(format_args!("{place}: {error}")),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// How often it is looked whether Postgres answers: twice as often as the gateway asks.
const LOOK: Duration = Duration::from_millis(250);

/// The name of this machine, as other replicas show it.
fn host() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let said = || std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
    named.or_else(said).unwrap_or_else(|| format!("process-{}", std::process::id()))
}
