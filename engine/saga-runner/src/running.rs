//! Runs sagas: takes the feed in, appends what follows, sends what must be sent once that is durable.
//!
//! *Invariant:* queue first, dispatch after. A command leaves only when the event that issued it is durable.
//! *Invariant:* one order's inputs meet one worker, in order. *Invariant:* nothing in memory is needed: a new
//! generation (at start, at a take-over, and after the store has failed it) reads the checkpoint and goes on.
//! *Invariant:* nobody needs to be alone with a partition. Two who act on the same saga meet at its stream's expected
//! version; what both send has the same ids and bytes; and either one's checkpoint is a good one to begin from.

mod checkpoint;
mod feed;
mod generation;
mod memory;
pub(crate) mod operator;
mod report;
mod send;
mod timers;
pub(crate) mod ways;
mod worker;

use std::sync::Arc;

use event_store::{EventStore, ReadError, Source, WholeLog};
use service_kit::health::Reporter;
use service_kit::{Clock, Tasks};
use tokio_util::sync::CancellationToken;

use crate::config::SagaConfig;
use crate::ports::CommandPort;
use crate::shop::ShopSagas;
use saga_engine::definition::DefinitionError;
use saga_engine::process::Process as _;

pub use checkpoint::CHECKPOINT_STREAM;
pub(crate) use checkpoint::Key;
use report::Report;
use ways::{Owned, Ways};

/// What all parts of a runner share.
pub(crate) struct Shared {
    pub store: Arc<dyn EventStore>,
    pub commands: Arc<dyn CommandPort>,
    pub clock: Clock,
    pub config: SagaConfig,
    pub ways: Ways,
    report: Report,
}

impl Shared {
    /// A partition under the partitioning of this process.
    fn partition(&self, number: u32) -> checkpoint::Partition {
        checkpoint::Partition { number, of: self.ways.partitions() }
    }
}

/// Why a generation ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    #[error("the log could not be written")]
    Append(#[from] event_store::AppendError),
    #[error("the store's epoch ended")]
    Epoch,
    #[error("the feed ended")]
    Closed,
    #[error("a worker of the sagas has ended")]
    Worker,
    #[error("somebody else keeps writing `{0}`")]
    Contended(String),
    #[error("`{0}` is no stream's name")]
    Name(String),
}

/// The sagas of a process: those of the partitions that it runs. Cheap to clone.
#[derive(Clone)]
pub struct Sagas {
    pub(crate) shared: Arc<Shared>,
    tasks: Tasks,
}

impl Sagas {
    /// Sagas of `partitions` partitions, none of which runs yet. `health` shows how they are.
    ///
    /// # Errors
    /// [`DefinitionError`]: a table cannot be followed.
    pub fn new(
        store: Arc<dyn EventStore>,
        commands: Arc<dyn CommandPort>,
        clock: Clock,
        tasks: &Tasks,
        config: SagaConfig,
        partitions: u32,
        health: Option<Reporter>,
    ) -> Result<Self, DefinitionError> {
        ShopSagas::validate()?;
        let (ways, report) = (Ways::new(partitions), Report::new(health));
        let shared = Arc::new(Shared { store, commands, clock, config, ways, report });
        Ok(Self { shared, tasks: tasks.clone() })
    }

    /// Runs the sagas of a partition until it is taken away or the service stops. When this returns, within some
    /// seconds of that whatever the store does, nothing of this process acts on them any more. Dropped, it is as if the
    /// process had died: the next owner of the partition goes on.
    pub async fn run(&self, source: Arc<dyn Source>, revoked: CancellationToken) {
        let owned = self.shared.ways.own(source.partition());
        self.run_owned(source, owned, revoked).await;
    }

    async fn run_owned(&self, source: Arc<dyn Source>, owned: Owned, revoked: CancellationToken) {
        let stop = self.tasks.stopping().child_token();
        let generations = generation::run(&self.shared, &self.tasks, (&*source, &owned), &stop);
        tokio::pin!(generations);
        tokio::select! {
            () = &mut generations => return,
            () = revoked.cancelled() => stop.cancel(),
        }
        generations.await;
    }
}

/// Starts the sagas of a log whose only partition is the whole of it.
///
/// # Errors
/// [`DefinitionError`]: a table cannot be followed; nothing was started.
pub fn start(
    store: Arc<dyn EventStore>,
    commands: Arc<dyn CommandPort>,
    clock: Clock,
    tasks: &Tasks,
    config: SagaConfig,
) -> Result<Sagas, DefinitionError> {
    let source = Arc::new(WholeLog(store.clone()));
    let sagas = Sagas::new(store, commands, clock, tasks, config, 1, None)?;
    let owned = sagas.shared.ways.own(source.partition()); // At once: who asks too early is not sent elsewhere.
    let running = sagas.clone();
    tasks.spawn("sagas", async move { running.run_owned(source, owned, CancellationToken::new()).await });
    Ok(sagas)
}
