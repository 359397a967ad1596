//! Orders on their way from placed to confirmed, told from the log alone: how many, how fast, how long each took.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use event_store::{Delivery, EventStore, Filter, Position, StreamName};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use service_kit::Tasks;
use tokio::sync::{Semaphore, watch};

use super::load::{self, Load, Plan};
use super::machine::Used;
use super::report::Latencies;

/// What the log has told so far.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Orders placed.
    pub placed: u64,
    /// Orders confirmed.
    pub confirmed: u64,
    /// From placed to confirmed, by the events' own times.
    pub latencies: Latencies,
}

/// What a load did while a follower counted.
#[derive(Debug)]
pub struct Run {
    /// What the generator did.
    pub load: Load,
    /// Orders confirmed a second.
    pub per_second: f64,
    /// What this process used, without the generator.
    pub used: Used,
}

/// Runs a load under a follower's eyes.
///
/// # Errors
/// If the shop refuses a request.
pub async fn run(plan: Plan, follower: &Follower, progress: ProgressBar) -> anyhow::Result<Run> {
    let (before, begin) = (Used::by("self"), Instant::now());
    let load = tokio::task::spawn_blocking(move || load::run(plan)).await.context("the generator panicked")??;
    let per_second = rate(follower.confirmed(), begin);
    let used = Used::since(before, Used::by("self")).without(load.generator_cpu);
    progress.finish_and_clear();
    Ok(Run { load, per_second, used })
}

/// Follows the log and lets the generator place another order for each that is confirmed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Follower {
    told: Arc<Mutex<Told>>,
    confirmed: watch::Receiver<u64>,
}

impl Follower {
    /// Follows `store` from where it is now; each confirmation gives `gate` a permit.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn start(store: Arc<dyn EventStore>, gate: Arc<Semaphore>, tasks: &Tasks) -> anyhow::Result<Self> {
        let head = *store.head().borrow();
        let mut feed = store.subscribe(head, Filter::categories(["order"])).await?;
        let told = Arc::new(Mutex::new(Told::default()));
        let (count, confirmed) = watch::channel(0);
        let (shared, stop) = (Arc::clone(&told), tasks.stopping());
        tasks.spawn("bench follower", async move {
            let mut open: HashMap<StreamName, event_store::envelope::Timestamp> = HashMap::new();
            loop {
                let delivery = tokio::select! {
                    delivery = feed.next() => delivery,
                    () = stop.cancelled() => return,
                };
                let events = match delivery {
                    Some(Ok(Delivery::Events { events, .. })) => events,
                    Some(Ok(Delivery::CaughtUp)) => continue,
                    Some(Err(error)) => return tracing::error!(%error, "the log cannot be followed"),
                    None => return,
                };
                // Held for a batch of additions, never over an await.
                let mut told = shared.lock();
                for event in events {
                    match &*event.event_type {
                        "OrderPlaced" => {
                            told.placed += 1;
                            open.insert(event.stream.clone(), event.metadata.occurred_at);
                        }
                        "OrderConfirmed" => {
                            told.confirmed += 1;
                            let placed = open.remove(&event.stream).unwrap_or(event.metadata.occurred_at);
                            let took = event.metadata.occurred_at - placed;
                            told.latencies.add(took.to_std().unwrap_or_default());
                            gate.add_permits(1);
                        }
                        _ => {}
                    }
                }
                count.send_replace(told.confirmed);
            }
        });
        Ok(Self { told, confirmed })
    }

    /// Orders confirmed so far.
    pub fn confirmed(&self) -> u64 {
        *self.confirmed.borrow()
    }

    /// All that was told so far.
    pub fn told(&self) -> Told {
        let told = self.told.lock().clone();
        Told { latencies: Latencies::of([told.latencies]), ..told }
    }

    /// Waits until `orders` are confirmed.
    ///
    /// # Errors
    /// If that takes longer than `bound`.
    pub async fn until(&self, orders: u64, bound: Duration) -> anyhow::Result<()> {
        let mut confirmed = self.confirmed.clone();
        let enough = tokio::time::timeout(bound, confirmed.wait_for(|confirmed| *confirmed >= orders)).await;
        let so_far = self.confirmed();
        enough.with_context(|| format!("{so_far} of {orders} orders were confirmed within {bound:?}"))??;
        Ok(())
    }
}

/// What an order left in the log, on average.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weight {
    /// Events.
    pub events: f64,
    /// Bytes of data.
    pub data_bytes: f64,
    /// Bytes on disk, indexes and write-ahead log included.
    pub disk_bytes: f64,
}

/// Reads the log after `from` and says what each of `orders` orders left there.
///
/// # Errors
/// If the log cannot be read.
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub async fn weigh(store: &dyn EventStore, from: Position, bytes_before: u64, orders: u64) -> anyhow::Result<Weight> {
    let (mut at, mut events, mut data) = (from, 0_u64, 0_u64);
    loop {
        let page = store.read_all(at, event_store::Direction::Forward, 10_000, &Filter::default()).await?;
        let Some(last) = page.last() else { break };
        at = last.position;
        events += page.len() as u64;
        data += page.iter().map(|event| event.data.get().len() as u64).sum::<u64>();
    }
    let disk = store.stats().await?.bytes.saturating_sub(bytes_before);
    let orders = orders.max(1) as f64;
    Ok(Weight { events: events as f64 / orders, data_bytes: data as f64 / orders, disk_bytes: disk as f64 / orders })
}

/// Confirmations a second since `begin`.
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
fn rate(confirmed: u64, begin: Instant) -> f64 {
    confirmed as f64 / begin.elapsed().as_secs_f64()
}
