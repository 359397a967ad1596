//! A consumer group of ours: the replicas of a service share the topic's partitions.
//!
//! ```text
//! let mut group = Group::join(&config, &config.group("projections")).await?;
//! while let Some(assigned) = group.next().await {
//!     tasks.spawn("partition", async move {
//!         let checkpoint = …;                                   // the position of this partition, from our own tables
//!         let mut feed = assigned.source.follow(checkpoint, Filter::default()).await?;
//!         loop {
//!             tokio::select! {
//!                 () = assigned.revoked.cancelled() => break,   // finish what is under way, start nothing more
//!                 delivery = feed.next() => …
//!             }
//!         }
//!         drop(assigned);                                       // the work has ended: it may be handed over
//!     });
//! }
//! ```

use std::fmt;
use std::sync::Arc;

use event_store::Source;
use tokio_util::sync::CancellationToken;

use crate::arrived::Arrived;
use crate::config::BusConfig;
use crate::error::BusError;
use crate::membership::{Held, Membership};
use crate::source::PartitionSource;
use crate::topics;

/// A member of a consumer group. Dropping it leaves the group in the background; [`Group::leave`] is better.
pub struct Group {
    config: BusConfig,
    membership: Membership,
    arrived: Arrived,
}

/// A partition that this replica works on. Its holder begins nothing new once `revoked` has fired, and drops this when
/// its work has ended; the group waits for that, at most `[bus] handover_ms`, before another replica is given the
/// partition.
pub struct Assigned {
    /// Number of the partition, from 0.
    pub partition: u32,
    /// The source of the partition's events.
    pub source: Arc<dyn Source>,
    /// Fires when the partition is taken away: members joined, this one leaves, or it was considered dead.
    pub revoked: CancellationToken,
    _held: Held,
}

impl Group {
    /// Joins a group of the topic, by its whole name (`config.group("sagas")`). Waits for Kafka; makes the topic if
    /// it is absent.
    ///
    /// # Errors
    /// [`BusError`] that trying again does not help: no brokers, wrong settings, a topic that is refused.
    pub async fn join(config: &BusConfig, group: &str) -> Result<Self, BusError> {
        Self::join_telling(config, group, Arrived::default()).await
    }

    /// As [`Self::join`]; `arrived` is told what comes, for [`crate::arrived::watch_over`].
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn join_telling(config: &BusConfig, group: &str, arrived: Arrived) -> Result<Self, BusError> {
        topics::ready(config).await?;
        Ok(Self { config: config.clone(), membership: Membership::join(config, &config.topic, group)?, arrived })
    }

    /// The next partition for this replica; `None` when it has left. Safe to drop while waiting.
    pub async fn next(&mut self) -> Option<Assigned> {
        let held = self.membership.next().await?;
        let source =
            PartitionSource::with_progress(&self.config, held.partition, held.progress.clone(), self.arrived.clone());
        Some(Assigned {
            partition: held.partition,
            source: Arc::new(source),
            revoked: held.revoked.clone(),
            _held: held,
        })
    }

    /// Leaves: `revoked` of everything assigned fires, the work on it is waited for (bounded), others take over at once.
    pub async fn leave(self) {
        self.membership.leave().await;
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({})", self.config.topic)
    }
}

impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assigned({})", self.partition)
    }
}
