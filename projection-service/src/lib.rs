//! The read side of the shop: its read models on the projection engine, and the queries that answer from them.
//!
//! *Invariant:* nothing here writes to the log; everything here can be thrown away and folded again.
//!
//! `projections/` are the read models, which `projection_engine` feeds; `http/` answers, over the connections of `readers`;
//! `service/` is the process of its own in a cluster.

pub mod config;
pub mod http;
pub mod lineage;
pub mod projections;
mod readers;
#[cfg(feature = "service")]
pub mod service;
pub mod standing;

use std::sync::Arc;

use event_store::{EventStore, Position, ReadError};
use projection_engine::{ProjectionEngine, Setup};
use serde::Deserialize;
use service_kit::{Clock, Tasks};
use tokio::sync::watch;

pub use http::sse::{LiveBounds, LivePlaces};

pub use projection_engine::{Feeder, Partition, Progress, Replica, State, Status, generations};

use readers::Readers;

/// Settings of the read side.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Only these read models; none: all. A bench measures one at a time.
    pub only: Vec<String>,
}

/// The running read side. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    /// What feeds the read models, and works on their generations.
    pub engine: ProjectionEngine,
    /// How far the read models are.
    pub progress: Arc<Progress>,
    /// The places for live connections.
    pub live: Arc<LivePlaces>,
    pub(crate) readers: Readers,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
}

impl Handle {
    fn new(engine: ProjectionEngine, url: watch::Receiver<Option<String>>, (store, clock, tasks): Owned) -> Self {
        let (readers, stopping) = (Readers::new(url), tasks.stopping());
        let closing = readers.clone();
        tasks.spawn("queries-close", async move {
            stopping.cancelled().await;
            closing.close().await;
        });
        let progress = Arc::clone(engine.progress());
        Self { engine, progress, live: Arc::default(), readers, store, clock, tasks }
    }

    /// In a cluster, makes sure that what `progress` says of all replicas is not older than some milliseconds.
    ///
    /// # Errors
    /// What Postgres says; what was read before stays then.
    pub async fn look(&self) -> Result<(), sqlx::Error> {
        self.engine.look().await
    }

    /// The last position of the log. Of one that others write too it is asked: what is known here may be old.
    pub(crate) async fn head(&self) -> Result<Position, ReadError> {
        self.engine.head().await
    }
}

/// What every part of the read side shares.
type Owned = (Arc<dyn EventStore>, Clock, Tasks);

/// Starts to follow the log. `url` gives the database's URL once Postgres is ready to be asked; until then, and
/// whenever it is gone, queries answer 503 and nothing else stands still.
pub fn start(
    store: Arc<dyn EventStore>,
    url: watch::Receiver<Option<String>>,
    clock: Clock,
    tasks: Tasks,
    config: &Config,
) -> Handle {
    let engine = ProjectionEngine::start(setup(&store, &url, &tasks, config));
    Handle::new(engine, url, (store, clock, tasks))
}

/// Starts to answer for the read models of all replicas; partitions are fed when the [`Feeder`] is given them. As
/// [`start`] otherwise.
pub fn start_shared(
    store: Arc<dyn EventStore>,
    replica: Replica,
    url: watch::Receiver<Option<String>>,
    (clock, tasks): (Clock, Tasks),
    config: &Config,
) -> (Handle, Feeder) {
    let (engine, feeder) = ProjectionEngine::start_shared(setup(&store, &url, &tasks, config), replica);
    (Handle::new(engine, url, (store, clock, tasks)), feeder)
}

fn setup(store: &Arc<dyn EventStore>, url: &watch::Receiver<Option<String>>, tasks: &Tasks, config: &Config) -> Setup {
    Setup {
        models: projections::read_models(),
        only: config.only.clone(),
        store: Arc::clone(store),
        url: url.clone(),
        tasks: tasks.clone(),
    }
}
