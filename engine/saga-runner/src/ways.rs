//! Which partitions this process has, and the ways to their workers for people's requests.
//!
//! An order belongs to the partition of its id, in which Kafka has its events: one replica at a time has that one. Who
//! asks another replica is told so, and asks the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ids::OrderId;
use tokio::sync::oneshot;

use super::feed::{Link, Told, worker_of};
use super::operator::{Answer, Request};

/// The ways to the workers of the running generations. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ways {
    partitions: u32,
    owned: Arc<Mutex<HashMap<u32, Open>>>,
}

/// A partition that this process has; without workers between two generations.
struct Open {
    by: Arc<()>,
    links: Vec<Link>,
}

/// A partition, had until this is dropped.
pub(crate) struct Owned {
    ways: Ways,
    partition: u32,
    me: Arc<()>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It was answered.
    Answered(Answer),
    /// Nobody is there at the moment, or nobody was any more when the answer was due: the same request again finds out.
    NotNow,
    /// The order belongs to a partition that this process does not have.
    Elsewhere(u32),
}

impl Ways {
    /// To the workers of so many partitions, none of which this process has yet.
    pub fn new(partitions: u32) -> Self {
        Self { partitions: partitions.max(1), owned: Arc::default() }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// How many partitions this process has; at least 1, since the caller belongs to one.
    pub fn owned(&self) -> usize {
        self.lock().len().max(1)
    }

    /// From now on this process has a partition. Who had it before, here, has it no more.
    pub fn own(&self, partition: u32) -> Owned {
        let me = Arc::new(());
        self.lock().insert(partition, Open { by: me.clone(), links: Vec::new() });
        Owned { ways: self.clone(), partition, me }
    }

    /// Hands a request to the worker that has the order.
    pub async fn ask(&self, order_id: OrderId, request: impl FnOnce(oneshot::Sender<Answer>) -> Request) -> Asked {
        let partition = event_bus::partition::of(order_id.to_string().as_bytes(), self.partitions);
        let link = match self.lock().get(&partition) {
            None => return Asked::Elsewhere(partition),
            Some(open) => open.links.get(worker_of(order_id, open.links.len().max(1))).cloned(),
        };
        let Some(link) = link else { return Asked::NotNow };
        let (reply, answer) = oneshot::channel();
        if link.send(Told::Act(Box::new(request(reply)))).await.is_err() {
            return Asked::NotNow;
        }
        drop(link); // A caller that waits does not keep the worker's channel open.
        // If this future is dropped here, the act is carried out all the same: the same request again finds it.
        answer.await.map_or(Asked::NotNow, Asked::Answered)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Open>> {
        // Held for a look or a copy of a few handles, never across an await.
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owned {
    /// The workers of the generation that has begun; none when it has ended.
    pub(super) fn open(&self, links: &[Link]) {
        if let Some(open) = self.ways.lock().get_mut(&self.partition).filter(|open| Arc::ptr_eq(&open.by, &self.me)) {
            open.links = links.to_vec();
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut owned = self.ways.lock();
        if owned.get(&self.partition).is_some_and(|open| Arc::ptr_eq(&open.by, &self.me)) {
            owned.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_s_room_is_shared_by_the_partitions_that_it_has_and_not_by_all_there_are() {
        let ways = Ways::new(6);
        assert_eq!(ways.owned(), 1);
        let (first, second) = (ways.own(0), ways.own(4));
        assert_eq!(ways.owned(), 2);
        drop(first);
        assert_eq!(ways.owned(), 1);
        drop(second);
    }
}
