//! A log divided as a bus would divide it, and replicas of the read side that follow its partitions: each partition at
//! a pace of its own, with repeats, again from the beginning, as the test says.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use event_store::port::Feed;
use event_store::sqlite::SqliteStore;
use event_store::{Delivery, EventStore, Filter, Position, ReadError, RecordedEvent, Source, Subscription};
use projection_service::{Config, Feeder, Handle, Replica, start_shared};
use service_kit::{Clock, Tasks};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stories::Dice;
use super::{BOUND, Log, Shop, at};

/// The partition of a key, as Kafka's clients have it.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    event_store::partition::of(key.as_bytes(), partitions)
}

/// How a partition is delivered.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Deliveries are repeated, whole or in part; 0: never.
    pub seed: u64,
    /// Every `follow` begins with the first event, whatever it is asked for.
    pub from_start: bool,
    /// Nothing beyond this is delivered.
    pub gate: watch::Receiver<Position>,
}

/// Everything, at once.
pub fn open() -> watch::Receiver<Position> {
    watch::channel(Position(u64::MAX)).1
}

impl Manner {
    pub fn plain() -> Self {
        Self { seed: 0, from_start: false, gate: open() }
    }

    pub fn behind(gate: watch::Receiver<Position>) -> Self {
        Self { gate, ..Self::plain() }
    }

    pub fn unruly(seed: u64) -> Self {
        Self { seed, from_start: true, gate: open() }
    }
}

/// One partition of a log.
pub struct Part {
    pub store: Arc<SqliteStore>,
    pub partition: u32,
    pub partitions: u32,
    pub manner: Manner,
}

#[async_trait]
impl Source for Part {
    fn partition(&self) -> u32 {
        self.partition
    }

    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        let after = if self.manner.from_start { Position::START } else { after };
        Ok(Subscription::new(PartFeed {
            subscription: self.store.subscribe(after, filter).await?,
            part: (self.partition, self.partitions),
            dice: (self.manner.seed > 0).then(|| Dice(self.manner.seed + after.0)),
            gate: self.manner.gate.clone(),
            waiting: VecDeque::new(),
            delivered: Vec::new(),
            looked_to: after,
            up_to: after,
            caught_up: false,
        }))
    }
}

struct PartFeed {
    subscription: Subscription,
    part: (u32, u32),
    dice: Option<Dice>,
    gate: watch::Receiver<Position>,
    waiting: VecDeque<Arc<RecordedEvent>>,
    delivered: Vec<Arc<RecordedEvent>>,
    looked_to: Position,
    up_to: Position,
    caught_up: bool,
}

impl PartFeed {
    /// Some of what may be delivered; a piece of what was before may come once more in front of it.
    fn some(&mut self, limit: Position) -> Delivery {
        let most = self.dice.as_mut().map_or(1_000, |dice| 1 + dice.roll(40));
        let mut events = Vec::new();
        if let Some(dice) = &mut self.dice
            && dice.roll(3) == 0
        {
            let from = self.delivered.len().saturating_sub(usize::try_from(dice.roll(60)).unwrap());
            events.extend_from_slice(&self.delivered[from..]);
        }
        self.up_to = limit;
        for _ in 0..most {
            let Some(event) = self.waiting.pop_front_if(|event| event.position <= limit) else { break };
            self.delivered.push(Arc::clone(&event));
            let times = self.dice.as_mut().map_or(1, |dice| 1 + dice.roll(2));
            (0..times).for_each(|_| events.push(Arc::clone(&event)));
        }
        if self.waiting.front().is_some_and(|event| event.position <= limit) {
            self.up_to = self.delivered.last().map_or(self.up_to, |event| event.position);
        }
        Delivery::Events { events, up_to: self.up_to }
    }
}

#[async_trait]
impl Feed for PartFeed {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        loop {
            let limit = self.looked_to.min(*self.gate.borrow_and_update());
            if self.up_to < limit {
                return Some(Ok(self.some(limit)));
            }
            if self.caught_up && self.up_to == self.looked_to {
                self.caught_up = false;
                return Some(Ok(Delivery::CaughtUp));
            }
            tokio::select! {
                delivery = self.subscription.next() => match delivery? {
                    Ok(Delivery::Events { events, up_to }) => {
                        let (own, of) = self.part;
                        let ours = |event: &Arc<RecordedEvent>| partition_of(&event.metadata.partition_key, of) == own;
                        self.waiting.extend(events.into_iter().filter(ours));
                        self.looked_to = up_to;
                    }
                    Ok(Delivery::CaughtUp) => self.caught_up = true,
                    Err(error) => return Some(Err(error)),
                },
                Ok(()) = self.gate.changed() => {}
            }
        }
    }
}

/// A replica of the read side.
pub struct Member {
    pub store: Arc<SqliteStore>,
    pub handle: Handle,
    pub feeder: Feeder,
    pub tasks: Tasks,
    pub router: Router,
    pub partitions: u32,
}

/// A partition in a replica's hands.
pub struct Fed {
    revoked: CancellationToken,
    ended: JoinHandle<()>,
}

impl Fed {
    /// Takes the partition away; returns when the work on it has ended.
    pub async fn revoke(self) {
        self.revoked.cancel();
        tokio::time::timeout(BOUND, self.ended).await.expect("the work ends").expect("it does not panic");
    }
}

impl Member {
    pub fn start(log: &Log, url: &str, name: &str, partitions: u32) -> Self {
        let (tasks, store) = (Tasks::new(), Arc::clone(&log.store));
        let replica = Replica { name: name.to_owned(), partitions, of: partition_of };
        let (_, ready) = watch::channel(Some(url.to_owned()));
        let (log, time) = (store.clone() as Arc<dyn EventStore>, (Clock::manual(at(0)), tasks.clone()));
        let (handle, feeder) = start_shared(log, replica, ready, time, &Config::default());
        let (router, _) = projection_service::http::router(handle.clone()).split_for_parts();
        Self { store, handle, feeder, tasks, router, partitions }
    }

    /// Gives it a partition.
    pub fn feed(&self, partition: u32, manner: Manner) -> Fed {
        let revoked = CancellationToken::new();
        let part = Part { store: Arc::clone(&self.store), partition, partitions: self.partitions, manner };
        let (feeder, token) = (self.feeder.clone(), revoked.clone());
        let ended = self.tasks.spawn("partition", async move { feeder.feed(Arc::new(part), token).await });
        Fed { revoked, ended }
    }

    /// Gives it all partitions.
    pub fn feed_all(&self, manner: &Manner) -> Vec<Fed> {
        (0..self.partitions).map(|partition| self.feed(partition, manner.clone())).collect()
    }

    /// As a shop, to ask and look with.
    pub fn shop(&self, log: Log, url: &str) -> Shop {
        let (clock, tasks) = (Clock::manual(at(0)), self.tasks.clone());
        Shop { log, handle: self.handle.clone(), url: url.to_owned(), clock, tasks, router: self.router.clone() }
    }

    /// Waits until all that is in the log is in the rows, as this replica sees it.
    pub async fn caught_up(&self) {
        let head = *self.store.head().borrow();
        assert!(self.handle.progress.all_reached(head, BOUND).await, "{:?}", self.handle.progress.statuses());
    }

    /// Stops it.
    pub async fn stop(self) {
        assert!(self.tasks.shut_down(BOUND).await, "a replica did not stop");
    }
}
