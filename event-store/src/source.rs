//! Where followers get the events from: the log itself on one machine, a bus it is relayed to in a cluster.
//!
//! *Invariant:* a follower is correct under at-least-once, repeated and (over streams) reordered delivery. A source only
//! promises that nothing of its partition is left out, and that one stream's events come in order, repeats apart.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{EventStore, Filter, Position, ReadError, Subscription};

/// A partition of all events, by their `partition_key`; on one machine there is one, the whole log.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Which partition, from 0.
    fn partition(&self) -> u32;

    /// Everything of the partition after `after`, then live. A delivery's `up_to` says: everything of this partition at
    /// or below is delivered.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError>;
}

/// The log as its only partition.
#[derive(Clone)]
pub struct WholeLog(pub Arc<dyn EventStore>);

impl std::fmt::Debug for WholeLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WholeLog")
    }
}

#[async_trait]
impl Source for WholeLog {
    fn partition(&self) -> u32 {
        0
    }

    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        self.0.subscribe(after, filter).await
    }
}
