//! Which partitions this process has, and the ways to their workers for people's requests.
//!
//! A subject belongs to the partition of its partition key: one replica at a time has that one. Who asks another replica is
//! told so, and asks the next.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use saga_engine::process::SubjectOf;
use tokio::sync::oneshot;

use super::operator::{Answer, Asked};
use super::runner::Partitions;
use super::subscriber::Subscriber;
use super::subscription::{Link, Told, worker_of};

/// The ways to the workers of the running generations. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ways<P: Subscriber> {
    partitions: Partitions,
    owned: Arc<Mutex<HashMap<u32, Open<P>>>>,
}

/// A partition that this process has; without workers between two generations.
struct Open<P: Subscriber> {
    by: Arc<()>,
    links: Vec<Link<P>>,
}

/// A partition, had until this is dropped.
pub(crate) struct Owned<P: Subscriber> {
    ways: Ways<P>,
    partition: u32,
    me: Arc<()>,
}

impl<P: Subscriber> Ways<P> {
    /// To the workers of these partitions, none of which this process has yet.
    pub fn new(partitions: Partitions) -> Self {
        Self { partitions, owned: Arc::default() }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        self.partitions.count.max(1)
    }

    /// How many partitions this process has; at least 1, since the caller belongs to one.
    pub fn owned(&self) -> usize {
        self.lock().len().max(1)
    }

    /// From now on this process has a partition. Who had it before, here, has it no more.
    pub fn own(&self, partition: u32) -> Owned<P> {
        let me = Arc::new(());
        self.lock().insert(partition, Open { by: me.clone(), links: Vec::new() });
        Owned { ways: self.clone(), partition, me }
    }

    /// Hands a request to the worker that has the subject, and waits for its answer.
    pub async fn ask(&self, subject: SubjectOf<P>, asked: impl FnOnce(oneshot::Sender<Answer>) -> Asked<P>) -> Answer {
        let partition = (self.partitions.of)(subject.to_string().as_bytes(), self.partitions());
        let link = match self.lock().get(&partition) {
            None => return Answer::Elsewhere { partition },
            Some(open) => open.links.get(worker_of(&subject, open.links.len().max(1))).cloned(),
        };
        let Some(link) = link else { return Answer::NotNow };
        let (reply, answer) = oneshot::channel();
        if link.send(Told::Act(Box::new(asked(reply)))).await.is_err() {
            return Answer::NotNow;
        }
        drop(link); // A caller that waits does not keep the worker's channel open.
        // If this future is dropped here, the act is carried out all the same: the same request again finds it.
        answer.await.unwrap_or(Answer::NotNow)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Open<P>>> {
        // Held for a look or a copy of a few handles, never across an await.
        self.owned.lock()
    }
}

impl<P: Subscriber> Owned<P> {
    /// The workers of the generation that has begun; none when it has ended.
    pub(super) fn open(&self, links: &[Link<P>]) {
        if let Some(open) = self.ways.lock().get_mut(&self.partition).filter(|open| Arc::ptr_eq(&open.by, &self.me)) {
            open.links = links.to_vec();
        }
    }
}

impl<P: Subscriber> Drop for Owned<P> {
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
    use crate::example::BoxOffice;

    #[test]
    fn the_room_of_a_process_is_shared_by_the_partitions_that_it_has() {
        let of = |_: &[u8], _| 0;
        let ways = Ways::<BoxOffice>::new(Partitions { count: 6, of });
        assert_eq!(ways.owned(), 1);
        let (first, second) = (ways.own(0), ways.own(4));
        assert_eq!(ways.owned(), 2);
        drop(first);
        assert_eq!(ways.owned(), 1);
        drop(second);
    }
}
