//! Membership of a consumer group: which partitions are ours. Nothing is fetched by it: followers have readers of their
//! own, so that they can begin at their checkpoints.
//!
//! Partitions change hands cooperatively: a replica that comes or goes moves only what must move. The member polls on a
//! thread of its own. When a partition is taken away, its `revoked` fires, and the thread answers the group only when the
//! work on it has ended (its [`Held`] was dropped), or after `[bus] handover_ms`: only then is it given to another.
//!
//! *Invariant:* while all members live and end their work within the bound, a partition has one holder at a time. A member
//! that was paused for longer than the session time-out does not know that its partitions were given away: what it does
//! when it wakes must be refused by expected versions and epochs, not by this.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::config::BusConfig;
use crate::connection::{Told, client_error};
use crate::error::BusError;
use crate::source::Progress;

/// How long the thread waits for something of the group before it looks around.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How often offsets are committed. They are for the eyes of operators only.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// A membership. Dropped, it leaves the group, in the background.
pub(crate) struct Membership {
    shared: Arc<Shared>,
    left: watch::Receiver<bool>,
    bound: Duration,
}

/// A partition that is ours until `revoked` fires; dropped, the work on it has ended.
pub(crate) struct Held {
    pub partition: u32,
    pub revoked: CancellationToken,
    pub progress: Progress,
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.lock().held.remove(&self.id);
        self.shared.ended.notify_all();
    }
}

struct Shared {
    // Held for short looks and writes, never across an await; the thread waits on `ended` with it.
    state: Mutex<State>,
    ended: Condvar,
    given: Notify,
    leaving: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Assigned and not yet asked for.
    waiting: VecDeque<Ours>,
    /// Being worked on, by the number of the assignment.
    held: HashMap<u64, Ours>,
    next_id: u64,
    gone: bool,
}

#[derive(Clone)]
struct Ours {
    partition: u32,
    revoked: CancellationToken,
    progress: Progress,
    id: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Membership {
    /// Joins a group that shares the partitions of a topic.
    pub fn join(config: &BusConfig, topic: &str, group: &str) -> Result<Self, BusError> {
        if config.brokers.is_none() {
            return Err(BusError::NoBrokers);
        }
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ended: Condvar::new(),
            given: Notify::new(),
            leaving: AtomicBool::new(false),
        });
        let context =
            Member { told: Told::default(), shared: shared.clone(), topic: topic.to_owned(), bound: config.handover() };
        let session = config.session_timeout_ms;
        let mut client = config.client();
        client
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // Five signs of life may be lost; a change of the group is heard of at the next one.
            .set("heartbeat.interval.ms", (session / 6).max(100).to_string())
            // The thread stands still for `handover_ms` at most; this is only there for when it hangs.
            .set("max.poll.interval.ms", (config.handover_ms + 60_000).max(session).to_string())
            // A topic that was made anew, or partitions that were, are seen within this.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        let consumer: BaseConsumer<Member> =
            client.create_with_context(context).map_err(|error| client_error(config, error))?;
        consumer.subscribe(&[topic]).map_err(|error| client_error(config, error))?;
        let (leave, left) = watch::channel(false);
        let (theirs, group) = (shared.clone(), group.to_owned());
        let thread = std::thread::Builder::new().name("bus-group".to_owned()).spawn(move || {
            poll(&consumer, &theirs, &group);
            // Leaves the group; what is still held is taken away first, by the call-back below.
            drop(consumer);
            theirs.lock().gone = true;
            theirs.given.notify_waiters();
            leave.send_replace(true);
        });
        thread.map_err(|error| BusError::Settings(format!("no thread for a consumer group: {error}")))?;
        Ok(Self { shared, left, bound: config.handover() + Duration::from_secs(5) })
    }

    /// The next partition that is given to us; `None`: we have left. Safe to drop while waiting.
    pub async fn next(&self) -> Option<Held> {
        loop {
            let given = self.shared.given.notified();
            tokio::pin!(given);
            given.as_mut().enable();
            {
                let mut state = self.shared.lock();
                if let Some(ours) = state.waiting.pop_front() {
                    state.held.insert(ours.id, ours.clone());
                    let Ours { partition, revoked, progress, id } = ours;
                    return Some(Held { partition, revoked, progress, id, shared: self.shared.clone() });
                }
                if state.gone {
                    return None;
                }
            }
            given.await;
        }
    }

    /// Leaves: takes back what was given out, waits (bounded) until the work on it has ended, and tells the group, so that
    /// others take over at once.
    pub async fn leave(mut self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
        let left = tokio::time::timeout(self.bound, self.left.wait_for(|left| *left)).await;
        if left.is_err() {
            tracing::warn!(
                "a consumer group was not left in time; its partitions go to others after the session time-out"
            );
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
    }
}

/// Until told to leave.
fn poll(consumer: &BaseConsumer<Member>, shared: &Shared, group: &str) {
    let mut committed = Instant::now();
    while !shared.leaving.load(Ordering::Relaxed) {
        // Nothing is fetched; what comes is an error, or a call-back was called.
        if let Some(Err(error)) = consumer.poll(LOOK_UP) {
            tracing::debug!(group, %error, "the group's broker");
        }
        if committed.elapsed() >= COMMIT_EVERY {
            committed = Instant::now();
            consumer.context().commit(consumer, CommitMode::Async);
        }
    }
}

/// What the group tells us.
struct Member {
    told: Told,
    shared: Arc<Shared>,
    topic: String,
    bound: Duration,
}

impl Member {
    fn assigned(&self, partitions: &TopicPartitionList) {
        let mut state = self.shared.lock();
        for partition in numbers(partitions) {
            state.next_id += 1;
            let (revoked, progress, id) = (CancellationToken::new(), Progress::default(), state.next_id);
            state.waiting.push_back(Ours { partition, revoked, progress, id });
            tracing::info!(topic = self.topic, partition, "a partition is ours");
        }
        drop(state);
        // A permit is stored if nobody waits at this moment.
        self.shared.given.notify_one();
    }

    fn revoked(&self, partitions: &TopicPartitionList) {
        let partitions: Vec<u32> = numbers(partitions).collect();
        let deadline = Instant::now() + self.bound;
        let mut state = self.shared.lock();
        state.waiting.retain(|ours| !partitions.contains(&ours.partition));
        let of_these: Vec<u64> =
            state.held.values().filter(|ours| partitions.contains(&ours.partition)).map(|ours| ours.id).collect();
        for id in &of_these {
            if let Some(ours) = state.held.get(id) {
                ours.revoked.cancel();
            }
        }
        while of_these.iter().any(|id| state.held.contains_key(id)) {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                let late: Vec<u32> =
                    of_these.iter().filter_map(|id| state.held.get(id)).map(|ours| ours.partition).collect();
                tracing::warn!(
                    topic = self.topic,
                    ?late,
                    "work on partitions did not end in time; they are handed over"
                );
                return;
            }
            self.shared.ended.wait_for(&mut state, rest);
        }
        drop(state);
        tracing::info!(topic = self.topic, ?partitions, "partitions are handed over");
    }

    /// Commits what was dealt with, so that Kafka's own tools show how far a group is. Nobody begins from there.
    fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let mut offsets = TopicPartitionList::new();
        for ours in self.shared.lock().held.values() {
            let Some(offset) = ours.progress.offset() else { continue };
            let Ok(partition) = i32::try_from(ours.partition) else { continue };
            if let Err(error) = offsets.add_partition_offset(&self.topic, partition, Offset::Offset(offset)) {
                tracing::debug!(%error, "an offset is not committed");
            }
        }
        if offsets.count() > 0
            && let Err(error) = consumer.commit(&offsets, mode)
        {
            tracing::debug!(%error, "offsets are not committed; the next ones will be");
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.told.log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(partitions) => {
                self.commit(consumer, CommitMode::Async);
                self.revoked(partitions);
            }
            Rebalance::Error(error) => tracing::warn!(topic = self.topic, %error, "a change of the group failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            // Followers read by themselves, from their checkpoints.
            if let Err(error) = consumer.pause(partitions) {
                tracing::debug!(%error, "partitions are not paused; what is fetched is dropped");
            }
            self.assigned(partitions);
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> impl Iterator<Item = u32> {
    partitions
        .elements()
        .into_iter()
        .filter_map(|it| u32::try_from(it.partition()).ok())
        .collect::<Vec<_>>()
        .into_iter()
}
