//! The feed: from the store's subscription to the workers, and the checkpoint back.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::OrderId;
use event_store::{Delivery, Filter, Position, RecordedEvent};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{self, Active, Checkpoint};
use super::operator::Request;
use super::{Failed, Shared};
use crate::stream::{Feed, heard};

/// Batches that may wait for a worker: a few of the subscription's own, so that one slow append does not stop the feed.
pub(super) const WAITING: usize = 16;
/// How often the checkpoint is saved while something moves. What was taken in since is taken in again after a crash:
/// 2 s of a full load are read back within a second.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// One more second between two checkpoints for so many active sagas: writing some MB must stay a small share.
const SAGAS_PER_SECOND: usize = 10_000;

/// What a worker is told.
pub(super) enum Told {
    /// Of the feed, in order.
    Feed(Vec<(Arc<RecordedEvent>, Feed)>),
    /// All that was told before has been taken in: say which sagas are active.
    Active(oneshot::Sender<Vec<Active>>),
    /// A person acts on a saga.
    Act(Box<Request>),
}

/// The way to a worker.
pub(super) type Link = mpsc::Sender<Told>;

/// The worker of an order.
pub(super) fn worker_of(order_id: OrderId, workers: usize) -> usize {
    // The last bytes of an id made by SHA-1 are as good as a hash of it.
    let bytes = order_id.0.as_u128() as u64;
    usize::try_from(bytes % workers as u64).unwrap_or(0)
}

/// Takes the feed in from `after` on, until the service stops (then a last checkpoint is saved) or something fails.
pub(super) async fn run(
    shared: &Shared,
    links: &[Link],
    after: Position,
    stopping: &CancellationToken,
) -> Result<(), Failed> {
    let sagas = crate::sagas::ALL.iter().map(|definition| format!("saga_{}", definition.name)).collect::<Vec<_>>();
    let categories = ["order", "payment", "shipment"].into_iter().chain(sagas.iter().map(String::as_str));
    let mut subscription = shared.store.subscribe(after, Filter::categories(categories)).await?;
    let (mut taken_in, mut saved) = (after, after);
    let mut save_every = SAVE_EVERY;
    let mut next_save = tokio::time::Instant::now() + save_every;
    loop {
        tokio::select! {
            delivery = subscription.next() => match delivery {
                Some(Ok(Delivery::Events { events, up_to })) => {
                    route(links, &events).await?;
                    taken_in = up_to;
                }
                Some(Ok(Delivery::CaughtUp)) => tracing::info!(position = %taken_in, "sagas have caught up"),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()), // The store has closed: the process is on its way out.
            },
            () = stopping.cancelled() => {
                if taken_in > saved {
                    save(shared, links, taken_in).await?;
                }
                return Ok(());
            }
            // Real time: how much is read again after a crash has nothing to do with the shop's clock.
            () = tokio::time::sleep_until(next_save) => {
                if taken_in > saved {
                    let active = save(shared, links, taken_in).await?;
                    saved = taken_in;
                    save_every = SAVE_EVERY + Duration::from_secs((active / SAGAS_PER_SECOND) as u64);
                }
                next_save = tokio::time::Instant::now() + save_every;
            }
        }
    }
}

async fn route(links: &[Link], events: &[Arc<RecordedEvent>]) -> Result<(), Failed> {
    let mut batches: Vec<Vec<_>> = links.iter().map(|_| Vec::new()).collect();
    for event in events {
        let Some(order_id) = order_of(event) else { continue };
        match heard(event, order_id) {
            Ok(feed) => {
                let batch = &mut batches[worker_of(order_id, links.len())];
                batch.extend(feed.into_iter().map(|feed| (event.clone(), feed)));
            }
            Err(error) => {
                // Only a newer program writes such an event; that one's sagas will take it in.
                let (stream, version) = (&event.stream, event.version);
                tracing::error!(%stream, version, %error, "an event of the feed cannot be read and is passed over");
            }
        }
    }
    for (link, batch) in links.iter().zip(batches) {
        if !batch.is_empty() {
            link.send(Told::Feed(batch)).await.map_err(|_| Failed::Worker)?;
        }
    }
    Ok(())
}

/// The order that an event belongs to.
pub(super) fn order_of(event: &RecordedEvent) -> Option<OrderId> {
    match event.stream.category() {
        "order" => event.stream.id().parse().ok(),
        _ => event.metadata.partition_key.parse().ok(),
    }
}

/// Saves how far the feed has been taken in; how many sagas are active.
async fn save(shared: &Shared, links: &[Link], position: Position) -> Result<usize, Failed> {
    let mut answers = Vec::with_capacity(links.len());
    for link in links {
        let (reply, answer) = oneshot::channel();
        link.send(Told::Active(reply)).await.map_err(|_| Failed::Worker)?;
        answers.push(answer);
    }
    let mut active = Vec::new();
    for answer in answers {
        active.extend(answer.await.map_err(|_| Failed::Worker)?);
    }
    let count = active.len();
    metrics::gauge!("sagas_active").set(count as f64);
    if let Err(error) = checkpoint::save(&*shared.store, &Checkpoint { position, active }).await {
        // The one before still holds; only more will be read again.
        tracing::warn!(%error, "the sagas' checkpoint was not saved");
    }
    Ok(count)
}
