//! Runs sagas: takes the feed in, appends what follows, sends what must be sent once that is durable.
//!
//! *Invariant:* queue first, dispatch after. A command leaves only when the event that issued it is durable.
//! *Invariant:* one order's inputs meet one worker, in order. *Invariant:* nothing in memory is needed: a new
//! generation (at start, and after the store's epoch has ended) reads the checkpoint and goes on.

mod checkpoint;
mod feed;
pub(crate) mod operator;
mod send;
mod timers;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use event_store::{EventStore, ReadError};
use service_kit::{Clock, Tasks};
use tokio_util::sync::CancellationToken;

use crate::config::SagaConfig;
use crate::definition::DefinitionError;
use crate::http::Handle;
use crate::ports::CommandPort;
use crate::sagas;

pub use checkpoint::CHECKPOINT_STREAM;
pub(crate) use checkpoint::Key;
use operator::Ways;

/// How long to wait before a generation is begun anew after the store failed it: long enough not to spin, short enough
/// not to be noticed.
const PAUSE: Duration = Duration::from_millis(500);

/// What all parts of a runner share.
pub(crate) struct Shared {
    pub store: Arc<dyn EventStore>,
    pub commands: Arc<dyn CommandPort>,
    pub clock: Clock,
    pub config: SagaConfig,
    pub ways: Ways,
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
    #[error("a worker of the sagas has ended")]
    Worker,
    #[error("somebody else keeps writing `{0}`")]
    Contended(String),
    #[error("`{0}` is no stream's name")]
    Name(String),
}

/// Starts the sagas.
///
/// # Errors
/// [`DefinitionError`]: a table cannot be followed; nothing was started.
pub fn start(
    store: Arc<dyn EventStore>,
    commands: Arc<dyn CommandPort>,
    clock: Clock,
    tasks: &Tasks,
    config: SagaConfig,
) -> Result<Handle, DefinitionError> {
    sagas::validate()?;
    let ways = Ways::default();
    let handle = Handle::new(store.clone(), clock.clone(), config.clone()).acting(ways.clone());
    let shared = Arc::new(Shared { store, commands, clock, config, ways });
    let stopping = tasks.stopping();
    let inner = tasks.clone();
    tasks.spawn("sagas", async move {
        while !stopping.is_cancelled() {
            match generation(&shared, &inner, &stopping).await {
                Ok(()) => return,
                Err(Failed::Epoch) => tracing::warn!("the store began a new epoch; sagas are read again"),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "sagas pause and are read again");
                    // A real pause also where the clock is turned by hand: the store's trouble is real.
                    tokio::select! { () = tokio::time::sleep(PAUSE) => {}, () = stopping.cancelled() => {} }
                }
            }
        }
    });
    Ok(handle)
}

/// Runs until the service stops (`Ok`) or something must be read again.
async fn generation(shared: &Arc<Shared>, tasks: &Tasks, stopping: &CancellationToken) -> Result<(), Failed> {
    let mut epoch = shared.store.epoch();
    let began = *epoch.borrow_and_update();
    let saved = checkpoint::load(&*shared.store).await?;
    let (ended, failed) = (CancellationToken::new(), CancellationToken::new());
    let signals = worker::Signals { epoch: began, ended: ended.clone(), failed: failed.clone() };
    let _guard = ended.clone().drop_guard();
    let count = shared.config.workers.max(1);
    let mut links = Vec::with_capacity(count);
    let mut joins = Vec::with_capacity(count);
    for index in 0..count {
        let active = saved.active.iter().filter(|entry| feed::worker_of(entry.key.order_id, count) == index);
        let active = active.cloned().collect();
        let (link, join) = worker::spawn(shared.clone(), tasks, signals.clone(), active);
        links.push(link);
        joins.push(join);
    }
    shared.ways.open(&links);
    let result = tokio::select! {
        result = feed::run(shared, &links, saved.position, stopping) => result,
        _ = epoch.wait_for(|now| *now != began) => Err(Failed::Epoch),
        () = failed.cancelled() => Err(Failed::Worker),
    };
    shared.ways.close();
    ended.cancel();
    for join in joins {
        // Each ends at its next step; what it was about to send is sent by the next generation.
        let _ = join.await;
    }
    result
}
