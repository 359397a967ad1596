//! The sagas as a process of their own, one of several over a log that they share. Kafka says which partitions each has.
//!
//! *Invariant:* a partition is given back only when this process does not act on it any more, or after a bound: the
//! open commands end, the checkpoint is saved, then the group is informed. A process that dies without this is replaced
//! all the same.

mod args;
mod config;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use event_bus::arrived::watch_over;
use event_bus::{Arrived, BusConfig, BusError, Group};
use event_store::EventStore;
use event_store::KurrentStore;
use service_kit::health::{Need, Reporter};
use service_kit::serve::Port;
use service_kit::{Clock, Health, StartError, Tasks, health, metrics};
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

use crate::running::{Sagas, setup};
use saga_runner::{CommandPort, Standing};

pub use args::Args;
pub use config::Config;

/// The consumer group of all saga orchestrators, behind `[bus] group_prefix`.
const GROUP: &str = "sagas";
/// How long partitions may take to be given back: `[bus] handover_ms` is 10 s by default, and the group waits 5 s more.
const WORK_GRACE: Duration = Duration::from_secs(16);
/// How long requests that were taken may go on: they read some hundred events, or wait for one append.
const EDGE_GRACE: Duration = Duration::from_secs(2);
/// How long to wait before the group is joined again that we have left without wanting to.
const REJOIN: Duration = Duration::from_secs(1);

/// A running saga orchestrator.
pub struct Service {
    /// The address at which HTTP is served.
    pub address: SocketAddr,
    /// The health of the process, as `/health` shows it.
    pub health: Health,
    failed: watch::Receiver<Option<StartError>>,
    edge: Tasks,
    work: Tasks,
}

impl Service {
    /// Starts over a log. Returns when sagas can be looked at; partitions come when the group has formed. The caller, which
    /// opened `store`, has `/health` tell of it.
    ///
    /// # Errors
    /// [`StartError`]: the port cannot be used, no bus is named, or a saga's table cannot be followed.
    pub async fn start(
        config: &Config,
        store: Arc<dyn EventStore>,
        commands: Arc<dyn CommandPort>,
        health: Health,
        clock: Clock,
    ) -> Result<Self, StartError> {
        if config.bus.brokers.is_none() {
            return Err(of_bus(&BusError::NoBrokers));
        }
        let Config { http, limits, started, .. } = config;
        let hint = || {
            let ip = http.listen.ip();
            format!("set `[http] listen` to \"{ip}:0\" for any free port; or stop who listens there")
        };
        let ports = http.bind(hint).await?;
        let address = ports.address;
        let (edge, work) = (Tasks::new(), Tasks::new());
        let numbers = metrics::start(&edge, &clock); // Before anything counts.
        let (arrived, age) = (Arrived::default(), health.register("bus-age", Need::Optional));
        let heard = (arrived.clone(), store.head());
        work.spawn("bus-age", watch_over(config.bus.clone(), heard, age, clock.clone(), work.stopping()));
        metrics::follow_log(store.head(), |position| position.0, &edge);
        let (saga, partitions) = (config.saga.clone(), config.bus.partitions);
        let sagas = Sagas::new(setup(store, commands, clock.clone(), &work, saga, partitions)).map_err(|error| {
            let what = format_args!("a saga's definition cannot be followed: {error}");
            StartError::new(what, "this is a fault of this release: run another one")
        })?;
        health.follow(("sagas", Need::Optional), sagas.standing(), Standing::describe, &work);
        let api = OpenApiRouter::new().merge(health::router(health.clone())).merge(crate::router((&sagas).into()));
        let (routes, _) = api.split_for_parts();
        let port = Port { config: http, limits, started, health: &health, grace: EDGE_GRACE };
        port.serve(ports, routes, numbers, &edge)?;
        let (fails, failed) = watch::channel(None);
        let bus = health.register("bus", Need::Optional);
        bus.starting(format_args!("waits for {}", config.bus.brokers.as_deref().unwrap_or_default()));
        let follow = follow(config.bus.clone(), (sagas, arrived), work.clone(), bus);
        work.spawn("partitions", async move {
            if let Err(error) = follow.await {
                fails.send_replace(Some(of_bus(&error)));
            }
        });
        Ok(Self { address, health, failed, edge, work })
    }

    /// Waits until something happens that trying again does not help, if ever.
    pub async fn fatal(&self) -> StartError {
        let mut failed = self.failed.clone();
        let error = failed.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match error {
            Some(error) => error,
            None => std::future::pending().await, // The task has ended: the service is being stopped.
        }
    }

    /// Stops cleanly, in less than 20 s: not ready, then the partitions are given back, so that clients are sent to the next
    /// replica, then nothing more is answered.
    pub async fn stop(self) {
        self.health.stopping();
        if !self.work.shut_down(WORK_GRACE).await {
            tracing::warn!("some tasks did not end in time; another replica goes on where they were");
        }
        if !self.edge.shut_down(EDGE_GRACE + Duration::from_millis(200)).await {
            tracing::warn!("some requests were cut off");
        }
    }
}

/// Runs the partitions that the group gives us, until the service stops.
async fn follow(
    config: BusConfig,
    (sagas, arrived): (Sagas, Arrived),
    tasks: Tasks,
    health: Reporter,
) -> Result<(), BusError> {
    let (stopping, name) = (tasks.stopping(), config.group(GROUP));
    while !stopping.is_cancelled() {
        let joined = tokio::select! {
            joined = Group::join_telling(&config, &name, arrived.clone()) => joined,
            () = stopping.cancelled() => return Ok(()),
        };
        let mut group = joined.inspect_err(|error| health.down(error))?;
        health.up_with(format_args!("a member of {name}"));
        loop {
            let assigned = tokio::select! {
                assigned = group.next() => assigned,
                () = stopping.cancelled() => {
                    group.leave().await;
                    return Ok(());
                }
            };
            let Some(assigned) = assigned else { break };
            let sagas = sagas.clone();
            tasks.spawn("partition", async move {
                sagas.run(assigned.source.clone(), assigned.revoked.clone()).await;
                drop(assigned); // Nothing here acts on it any more: it may be handed over.
            });
        }
        health.starting("left the group; joins it again");
        tokio::select! { () = tokio::time::sleep(REJOIN) => {}, () = stopping.cancelled() => {} }
    }
    Ok(())
}

fn of_bus(error: &BusError) -> StartError {
    StartError::new(error, "see [bus] in docs/backstitch.toml; `backstitch relay` makes the topic as it must be")
}

/// Opens the log that `[event_store] url` names, and has `/health` tell how the connection is. That nobody answers is no
/// error: the log is waited for, and sagas pause meanwhile.
///
/// # Errors
/// [`StartError`]: there is no address, or it is none.
pub async fn open_log(config: &Config, health: &Health, tasks: &Tasks) -> Result<Arc<KurrentStore>, StartError> {
    let store = KurrentStore::named(&config.event_store, "a saga orchestrator").await;
    let store = store.map_err(|error| StartError::new(&error, error.hint()))?;
    health.follow(("event-store", Need::Required), store.health(), store.describes(), tasks);
    Ok(store)
}
