//! The events of one partition of the topic, as a [`Source`] that followers are fed from.
//!
//! ```text
//! let source = PartitionSource::new(&config, 3);              // or: assigned.source
//! let mut feed = source.follow(checkpoint, Filter::default()).await?;
//! while let Some(delivery) = feed.next().await { … }          // as from the log itself
//! ```
//!
//! A checkpoint is a position of the log, never an offset: the topic can be deleted and filled again while a follower is
//! under way. `up_to` of a delivery says that everything *of this partition* at or below is delivered; watermarks move it
//! when the partition is idle. A record that nobody can read is passed by, counted and logged with its cause.
//!
//! While Kafka is away a feed waits. After ten seconds it says so once, with an error that names the cause, and goes on
//! waiting: a follower may go on with `next`, or begin again from its checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use event_store::port::Feed;
use event_store::{Delivery, Filter, Position, ReadError, Source, Subscription};
use tokio::sync::mpsc;

use crate::arrived::Arrived;
use crate::config::BusConfig;
use crate::following::Follower;

/// Deliveries of up to 1 024 events that wait for a follower: enough that reading and applying go on side by side.
const DELIVERIES_AHEAD: usize = 2;

/// One partition of the topic. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PartitionSource {
    config: Arc<BusConfig>,
    partition: u32,
    progress: Progress,
    arrived: Arrived,
}

/// The offset behind what a follower has dealt with, or -1: for the display of lag, nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<AtomicI64>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(-1)))
    }
}

impl Progress {
    /// The next offset, if anything was dealt with.
    pub fn offset(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|offset| *offset >= 0)
    }

    /// The next offset is this one.
    pub fn moved(&self, next_offset: i64) {
        self.0.store(next_offset, Ordering::Relaxed);
    }
}

impl PartitionSource {
    /// A partition, 0 to `config.partitions` - 1.
    pub fn new(config: &BusConfig, partition: u32) -> Self {
        Self { config: Arc::new(config.clone()), partition, progress: Progress::default(), arrived: Arrived::default() }
    }

    /// As [`Self::new`], whose followers' progress somebody watches.
    pub(crate) fn with_progress(config: &BusConfig, partition: u32, progress: Progress, arrived: Arrived) -> Self {
        Self { progress, arrived, ..Self::new(config, partition) }
    }
}

#[async_trait]
impl Source for PartitionSource {
    fn partition(&self) -> u32 {
        self.partition
    }

    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        let (sender, deliveries) = mpsc::channel(DELIVERIES_AHEAD);
        let reading = self.arrived.reading(self.partition, after);
        let follower = Follower::new(self.config.clone(), self.partition, after, filter, reading);
        // librdkafka is asked by blocking calls: on a thread that ends when the subscription is dropped.
        let thread = std::thread::Builder::new().name(format!("bus-partition-{}", self.partition));
        thread.spawn(move || follower.run(&sender)).map_err(|error| ReadError::Unavailable {
            path: self.config.topic.clone(),
            reason: format!("no thread to read it: {error}"),
        })?;
        Ok(Subscription::new(Fed { deliveries, delivered: -1, progress: self.progress.clone() }))
    }
}

/// A delivery, and the offset behind it.
pub(crate) struct Read {
    pub delivery: Result<Delivery, ReadError>,
    pub next_offset: i64,
}

/// What the thread has read.
struct Fed {
    deliveries: mpsc::Receiver<Read>,
    /// The offset behind the last delivery: dealt with when the next one is asked for.
    delivered: i64,
    progress: Progress,
}

#[async_trait]
impl Feed for Fed {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        self.progress.0.fetch_max(self.delivered, Ordering::Relaxed);
        let read = self.deliveries.recv().await?;
        self.delivered = read.next_offset;
        Some(read.delivery)
    }
}
