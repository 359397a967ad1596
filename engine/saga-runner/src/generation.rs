//! One generation of a partition after the other: workers and a subscription that begin from the checkpoint, and end together.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Pauses, Tasks, waiting};
use event_store::{AppendError, Source};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::runner::{Failed, Shared};
use super::subscriber::Subscriber;
use super::ways::Owned;
use super::{checkpoint, subscription, worker};

/// How long to wait before a generation is begun anew after the store failed it: long enough not to spin, short enough
/// not to be noticed. The longest is still less than a tenth of what a take-over may take.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(500), Duration::from_secs(4));
/// A generation that ran so long was not failed by what failed the one before.
const WENT_WELL: Duration = Duration::from_secs(10);
/// How long a generation that is told to stop may take to end what is on its way and to save its checkpoint. Whatever
/// does not end in time is done again by the next owner of the partition.
const GRACE: Duration = Duration::from_secs(4);
/// Over a network a worker waits for each append, so that so many times as many of them share the work.
const OVER_A_NETWORK: usize = 4;

/// Runs generations of a partition until told to stop, or the store has closed.
pub(super) async fn run<P: Subscriber>(
    shared: &Arc<Shared<P>>,
    tasks: &Tasks,
    (source, owned): (&dyn Source, &Owned<P>),
    stop: &CancellationToken,
) {
    let partition = source.partition();
    let mut pauses = PAUSES;
    while !stop.is_cancelled() {
        let began = Instant::now();
        match generation(shared, tasks, (source, owned), stop).await {
            Ok(()) => break,
            Err(Failed::Epoch | Failed::Append(AppendError::EpochEnded { .. })) => {
                tracing::warn!("the store began a new epoch; sagas are read again");
            }
            // On one machine the log closes when the process is on its way out.
            Err(Failed::Closed) if !shared.store.is_shared() => break,
            Err(error) => {
                tracing::error!(partition, error = &error as &dyn std::error::Error, "sagas pause and are read again");
                shared.report.pauses(partition, &error);
                if began.elapsed() >= WENT_WELL {
                    pauses.went_well();
                }
                // A real pause also where the clock is turned by hand: the store's trouble is real.
                tokio::select! { () = tokio::time::sleep(pauses.failed()) => {}, () = stop.cancelled() => {} }
            }
        }
    }
    shared.report.ended(partition);
}

/// Runs until told to stop (`Ok`) or something must be read again.
async fn generation<P: Subscriber>(
    shared: &Arc<Shared<P>>,
    tasks: &Tasks,
    (source, owned): (&dyn Source, &Owned<P>),
    stop: &CancellationToken,
) -> Result<(), Failed> {
    let mut epoch = shared.store.epoch();
    let began = *epoch.borrow_and_update();
    let what = format!("the checkpoint of the sagas of partition {}", source.partition());
    let load = checkpoint::load::<P>(&*shared.store, shared.partition(source.partition()));
    let saved = tokio::select! {
        saved = waiting::named(what, load) => saved?,
        () = stop.cancelled() => return Ok(()),
    };
    let count = workers(shared);
    let (ended, failed) = (CancellationToken::new(), CancellationToken::new());
    let why = Arc::default();
    let signals = worker::Signals { epoch: began, workers: count, ended: ended.clone(), failed: failed.clone(), why };
    let _guard = ended.clone().drop_guard();
    let mut links = Vec::with_capacity(count);
    let mut joins = Vec::with_capacity(count);
    for index in 0..count {
        let active = saved.active.iter().filter(|entry| subscription::worker_of(&entry.key.subject, count) == index);
        let active = active.cloned().collect();
        let (link, join) = worker::spawn(shared.clone(), tasks, signals.clone(), active, saved.saved_at);
        links.push(link);
        joins.push(join);
    }
    owned.open(&links);
    let result = tokio::select! {
        result = subscription::run(shared, &links, (source, saved.position), stop) => result,
        Ok(_) = epoch.wait_for(|now| *now != began) => Err(Failed::Epoch),
        () = failed.cancelled() => Err(Failed::Worker),
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {
            tracing::warn!(partition = source.partition(), "the sagas did not end in time; others go on where they were");
            Ok(())
        }
    };
    owned.open(&[]);
    ended.cancel();
    for join in joins {
        // Each ends at once; what it was about to send is sent by the next generation.
        let _ = join.await;
    }
    // The task that noticed that a worker is gone does not know why.
    let why = signals.why.lock().take();
    match (result, why) {
        (Err(Failed::Worker), Some(why)) => Err(why),
        (result, _) => result,
    }
}

fn workers<P: Subscriber>(shared: &Shared<P>) -> usize {
    let workers = shared.limits.workers.max(1);
    if shared.store.is_shared() { workers * OVER_A_NETWORK } else { workers }
}
