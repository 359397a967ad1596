//! The read side: projectors fold the log into Postgres, queries answer from it.
//!
//! *Invariant:* nothing here writes to the log; everything here can be thrown away and folded again.
//!
//! `projection` says what a read model is and when an event is applied, `projections/` are the read models, `runner`
//! feeds them, `checkpoint` makes their commits safe, `generations` lets each be made anew beside the one that answers,
//! `progress` says how far they are, `http/` answers.

pub mod apart;
pub mod applied;
mod batch;
pub mod changes;
pub mod checkpoint;
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
pub mod repair;
pub mod requests;
mod runner;
mod views;

use std::sync::Arc;

use event_store::EventStore;
use serde::Deserialize;
use service_kit::{Clock, Tasks};
use tokio::sync::watch;

pub use progress::{Progress, State, Status};
pub use runner::Regroup;

use database::Database;
use rebuild::{Rebuilds, Wake};
use repair::Desk;
use runner::Runner;

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
    /// How far the read models are.
    pub progress: Arc<Progress>,
    /// Lets the runner feed other generations.
    pub regroup: Arc<Regroup>,
    pub(crate) wake: Arc<Wake>,
    /// The way to the runner, for operators.
    pub(crate) desk: Desk,
    pub(crate) database: Database,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
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
    let wanted = |name: &&'static str| config.only.is_empty() || config.only.iter().any(|only| only == name);
    let names: Vec<&'static str> = projections::ALL.iter().map(|model| model.name).filter(wanted).collect();
    let progress = Progress::new(names.iter().copied());
    let database = Database::new(url);
    let regroup = Arc::<Regroup>::default();
    let runner = Runner {
        store: Arc::clone(&store),
        database: database.clone(),
        progress: Arc::clone(&progress),
        tasks: tasks.clone(),
        regroup: Arc::clone(&regroup),
        names,
    };
    let (desk, requests) = Desk::new();
    tasks.spawn("projections", runner.run(requests));
    let wake = Arc::<Wake>::default();
    let rebuilds = Rebuilds {
        store: Arc::clone(&store),
        database: database.clone(),
        progress: Arc::clone(&progress),
        regroup: Arc::clone(&regroup),
        wake: Arc::clone(&wake),
        tasks: tasks.clone(),
    };
    rebuilds.start();
    Handle { progress, regroup, wake, desk, database, store, clock, tasks }
}
