//! The read side: projectors fold the log into Postgres, queries answer from it.
//!
//! *Invariant:* nothing here writes to the log; everything here can be thrown away and folded again.
//!
//! `projection` says what a read model is and when an event is applied, `projections/` are the read models, `runner`
//! feeds them from a partition of the log (in one process the log is the only one; `cluster` is for several), `checkpoint`
//! makes their commits safe, `generations` lets each be made anew beside the one that answers,
//! `progress` says how far they are, `http/` answers.

pub mod apart;
pub mod applied;
mod batch;
mod board;
pub mod changes;
pub mod checkpoint;
mod cluster;
pub mod compare;
pub mod database;
pub mod dead_letters;
pub mod generations;
pub mod http;
pub mod lineage;
mod member;
pub mod progress;
pub mod projection;
pub mod projections;
mod rebuild;
mod regroup;
pub mod repair;
mod replica;
mod report;
pub mod requests;
mod runner;
pub mod service;
mod session;
pub mod standing;
mod turn;
mod views;

use std::sync::Arc;

use event_store::{EventStore, Position, ReadError, WholeLog};
use serde::Deserialize;
use service_kit::{Clock, Tasks};
use tokio::sync::watch;

pub use http::sse::{LiveBounds, LivePlaces};

pub use cluster::{Feeder, start_shared};
pub use progress::{Partition, Progress, State, Status};
pub use regroup::Regroup;
pub use replica::Replica;

use board::Board;
use database::Database;
use rebuild::{Rebuilds, Wake};
use repair::Desk;
use report::Reporter;
use runner::Runner;

/// Settings of the read side.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Only these read models; none: all. A bench measures one at a time.
    pub only: Vec<String>,
}

impl Config {
    fn names(&self) -> Vec<&'static str> {
        let wanted = |name: &&'static str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        projections::ALL.iter().map(|model| model.name).filter(wanted).collect()
    }
}

/// The running read side. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    /// How far the read models are.
    pub progress: Arc<Progress>,
    /// Lets the runner feed other generations.
    pub regroup: Arc<Regroup>,
    /// The places for live connections.
    pub live: Arc<LivePlaces>,
    pub(crate) wake: Arc<Wake>,
    /// The way to the runner, for operators.
    pub(crate) desk: Desk,
    pub(crate) database: Database,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) replica: Replica,
    /// In a cluster, what reads how far all replicas are.
    pub(crate) board: Option<Arc<Board>>,
}

impl Handle {
    /// In a cluster, makes sure that what `progress` says of all replicas is not older than some milliseconds.
    ///
    /// # Errors
    /// What Postgres says; what was read before stays then.
    pub async fn look(&self) -> Result<(), sqlx::Error> {
        match &self.board {
            Some(board) => board.fresh().await,
            None => Ok(()),
        }
    }

    /// The last position of the log. Of one that others write too it is asked: what is known here may be old.
    pub(crate) async fn head(&self) -> Result<Position, ReadError> {
        let known = *self.store.head().borrow();
        match self.store.is_shared() {
            true => Ok(known.max(session::end_of(&*self.store).await?)),
            false => Ok(known),
        }
    }
}

/// Starts to follow the log. `url` gives the database's URL once Postgres is ready to be asked; until then, and
/// whenever it is gone, queries answer 503 and nothing else stands still.
pub fn start(
    store: Arc<dyn EventStore>,
    url: watch::Receiver<Option<String>>,
    clock: Clock,
    tasks: Tasks,
    config: &Config,
) -> Handle {
    let (names, replica) = (config.names(), Replica::alone());
    let progress = Progress::new(names.iter().copied());
    let database = Database::new(url, replica.partitions);
    let regroup = Arc::<Regroup>::default();
    let runner = Runner {
        store: Arc::clone(&store),
        source: Arc::new(WholeLog(Arc::clone(&store))),
        replica: replica.clone(),
        database: database.clone(),
        report: Reporter { progress: Arc::clone(&progress), board: None, partition: 0 },
        regroup: Arc::clone(&regroup),
        stopping: tasks.stopping(),
        names,
    };
    let desk = Desk::default();
    let (mut requests, closing) = (desk.open(0), database.clone());
    tasks.spawn("projections", async move {
        runner.run(&mut requests).await;
        closing.close().await;
    });
    let wake = Arc::<Wake>::default();
    let rebuilds = Rebuilds {
        store: Arc::clone(&store),
        replica: replica.clone(),
        database: database.clone(),
        progress: Arc::clone(&progress),
        regroup: Arc::clone(&regroup),
        wake: Arc::clone(&wake),
        tasks: tasks.clone(),
    };
    rebuilds.start();
    let live = Arc::default();
    Handle { progress, regroup, live, wake, desk, database, store, clock, tasks, replica, board: None }
}
