//! The sagas of a process: what they are started with, what all parts of a runner share, and how partitions are run.

use std::sync::Arc;

use engine_runtime::{Clock, Tasks};
use event_store::{AppendError, EventStore, ReadError, Source, WholeLog};
use saga_engine::DefinitionError;
use saga_engine::process::SettingsOf;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::checkpoint::Partition;
use super::generation;
use super::operator::Operator;
use super::ports::CommandPort;
use super::report::{Report, Standing};
use super::subscriber::Subscriber;
use super::ways::{Owned, Ways};

/// What a runner is started with.
pub struct Setup<P: Subscriber> {
    /// The log that has the sagas, and the events that they follow.
    pub store: Arc<dyn EventStore>,
    /// Carries the sagas' commands out.
    pub commands: Arc<dyn CommandPort>,
    /// The time, by which timers fire.
    pub clock: Clock,
    /// The tasks in which all runs; the sagas stop when they are stopped.
    pub tasks: Tasks,
    /// How long things may take, as an operator has set it.
    pub settings: SettingsOf<P>,
    /// How much a process takes on at once.
    pub limits: Limits,
    /// Among how many partitions the subjects are distributed.
    pub partitions: Partitions,
}

/// How much a process takes on at once. The partitions that it runs share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps whose commands may be on their way at once. Events are always taken in. Default 512.
    pub window: usize,
    /// Workers for each partition; over a network, four times as many. Default 2: the smallest machine that is meant has two
    /// cores.
    pub workers: usize,
    /// Saga states kept in memory, each some KB. Default 4 096 in all.
    pub cached_sagas: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window: 512, workers: 2, cached_sagas: 4096 }
    }
}

/// Among how many partitions the subjects are distributed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Partitions {
    /// How many there are, at least 1.
    pub count: u32,
    /// The partition of a partition key, from 0 to `count` - 1. It must be the function by which the sources of partitions
    /// distribute events ([`Sagas::run`]).
    pub of: fn(&[u8], u32) -> u32,
}

impl Partitions {
    /// One partition, the whole log: for a program that is the only one to run the sagas of its log.
    pub const ONE: Self = Self { count: 1, of: |_, _| 0 };
}

/// What all parts of a runner share.
pub(crate) struct Shared<P: Subscriber> {
    pub store: Arc<dyn EventStore>,
    pub commands: Arc<dyn CommandPort>,
    pub clock: Clock,
    pub settings: SettingsOf<P>,
    pub limits: Limits,
    pub ways: Ways<P>,
    pub(super) report: Report,
}

impl<P: Subscriber> Shared<P> {
    /// A partition under the partitioning of this process.
    pub(super) fn partition(&self, number: u32) -> Partition {
        Partition { number, of: self.ways.partitions() }
    }
}

/// Why a generation ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    #[error("the log could not be written")]
    Append(#[from] AppendError),
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
pub struct Sagas<P: Subscriber> {
    shared: Arc<Shared<P>>,
    tasks: Tasks,
}

impl<P: Subscriber> Clone for Sagas<P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), tasks: self.tasks.clone() }
    }
}

impl<P: Subscriber> Sagas<P> {
    /// Prepares the sagas; no partition runs yet. [`Self::run`] runs one.
    ///
    /// # Errors
    /// [`DefinitionError`]: a table of steps cannot be followed.
    pub fn new(setup: Setup<P>) -> Result<Self, DefinitionError> {
        P::validate()?;
        let Setup { store, commands, clock, tasks, settings, limits, partitions } = setup;
        let (ways, report) = (Ways::new(partitions), Report::new());
        Ok(Self { shared: Arc::new(Shared { store, commands, clock, settings, limits, ways, report }), tasks })
    }

    /// Starts the sagas of a log whose only partition is the whole of it ([`Partitions::ONE`]).
    ///
    /// # Errors
    /// [`DefinitionError`]: a table of steps cannot be followed; nothing was started.
    pub fn start(setup: Setup<P>) -> Result<Self, DefinitionError> {
        let sagas = Self::new(Setup { partitions: Partitions::ONE, ..setup })?;
        let source = Arc::new(WholeLog(sagas.shared.store.clone()));
        let owned = sagas.shared.ways.own(source.partition()); // At once: who asks too early is not sent elsewhere.
        let running = sagas.clone();
        sagas.tasks.spawn("sagas", async move { running.run_owned(source, owned, CancellationToken::new()).await });
        Ok(sagas)
    }

    /// Runs the sagas of a partition until it is revoked or the tasks are stopped. When this returns, within some seconds of
    /// that whatever the store does, nothing of this process acts on them any more. Dropped, it is as if the process had
    /// died: the next owner of the partition goes on.
    pub async fn run(&self, source: Arc<dyn Source>, revoked: CancellationToken) {
        let owned = self.shared.ways.own(source.partition());
        self.run_owned(source, owned, revoked).await;
    }

    async fn run_owned(&self, source: Arc<dyn Source>, owned: Owned<P>, revoked: CancellationToken) {
        let stop = self.tasks.stopping().child_token();
        let generations = generation::run(&self.shared, &self.tasks, (&*source, &owned), &stop);
        tokio::pin!(generations);
        tokio::select! {
            () = &mut generations => return,
            () = revoked.cancelled() => stop.cancel(),
        }
        generations.await;
    }

    /// The way for people's acts to these sagas.
    pub fn operator(&self) -> Operator<P> {
        Operator { ways: self.shared.ways.clone() }
    }

    /// Follows how the sagas are, for a health check.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.report.standing()
    }

    /// The log that has the sagas.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.shared.store
    }

    /// The clock by which timers fire.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How long things may take, as an operator has set it.
    pub fn settings(&self) -> &SettingsOf<P> {
        &self.shared.settings
    }
}
