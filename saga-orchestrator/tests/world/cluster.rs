//! A log that several orchestrators share, each by a way of its own that can be stopped at any call: what a process that
//! is killed or paused looks like from outside.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::port::Feed;
use event_store::sqlite::SqliteStore;
use event_store::{
    Append, AppendError, Delegate, Delivery, Direction, Epoch, EventStore, Filter, Position, ReadError, RecordedEvent,
    Source, StreamName, StreamSnapshot, Subscription, Ticket,
};
use saga_orchestrator::{CommandPort, Dispatch, Outcome};
use service_kit::Tasks;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::mini_bus::MiniBus;

/// What happens to a process: it stands still at a moment, until it is let go on, if ever.
pub struct Fate {
    still: watch::Sender<bool>,
    /// Moments: before and after each append and each command.
    pub moments: AtomicUsize,
    stop_at: AtomicUsize,
    /// Whether it stands still the next time it saves a snapshot.
    pub stop_at_save: AtomicBool,
    /// Whether it stands still the next time it sends a command.
    pub stop_at_send: AtomicBool,
    /// How often somebody else had written first.
    pub conflicts: AtomicUsize,
    /// Whether the store is away.
    pub away: AtomicBool,
}

impl Fate {
    /// Stands still at this moment; `usize::MAX`: never.
    pub fn stopping_at(moment: usize) -> Arc<Self> {
        Arc::new(Self {
            still: watch::Sender::new(false),
            moments: AtomicUsize::new(0),
            stop_at: AtomicUsize::new(moment),
            stop_at_save: AtomicBool::new(false),
            stop_at_send: AtomicBool::new(false),
            conflicts: AtomicUsize::new(0),
            away: AtomicBool::new(false),
        })
    }

    pub fn stop(&self) {
        self.still.send_replace(true);
    }

    pub fn go_on(&self) {
        self.stop_at.store(usize::MAX, Ordering::Relaxed);
        self.still.send_replace(false);
    }

    /// Waits until it stands still.
    pub async fn stands_still(&self) {
        self.still.subscribe().wait_for(|still| *still).await.unwrap();
    }

    async fn gate(&self) {
        self.still.subscribe().wait_for(|still| !*still).await.unwrap();
    }

    async fn moment(&self) {
        let moment = self.moments.fetch_add(1, Ordering::Relaxed);
        if moment == self.stop_at.load(Ordering::Relaxed) {
            self.stop();
        }
        self.gate().await;
    }

    fn read(&self) -> Result<(), ReadError> {
        let reason = || "the store is away".to_owned();
        let gone = || ReadError::Unavailable { path: "127.0.0.1:2113".to_owned(), reason: reason() };
        if self.away.load(Ordering::Relaxed) { Err(gone()) } else { Ok(()) }
    }
}

/// One process's way to the log. Queued is durable, as where the log is another process.
pub struct Way {
    pub log: Arc<SqliteStore>,
    pub fate: Arc<Fate>,
}

#[async_trait]
impl Delegate for Way {
    fn inner(&self) -> &dyn EventStore {
        &*self.log
    }

    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        self.fate.moment().await;
        if self.fate.away.load(Ordering::Relaxed) {
            let (path, reason) = ("127.0.0.1:2113".to_owned(), "the store is away".to_owned());
            return Err(AppendError::Unwritable { path, reason });
        }
        let result = match self.log.append(append).await {
            Ok(ticket) => {
                let (first, last) = (ticket.first_version, ticket.last_version);
                let durable = ticket.durable().await;
                durable.map(|appended| Ticket::new(first, last, Epoch(0), async move { Ok(appended) }))
            }
            Err(error) => Err(error),
        };
        if matches!(result, Err(AppendError::Conflict { .. })) {
            self.fate.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        self.fate.moment().await;
        result
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.fate.gate().await;
        self.fate.read()?;
        let read = self.log.read_stream(stream, from, direction, limit).await;
        self.fate.gate().await;
        read
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.fate.gate().await;
        self.fate.read()?;
        self.log.read_all(from, direction, limit, filter).await
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        self.fate.gate().await;
        self.fate.read()?;
        self.log.load_snapshot(stream).await
    }

    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError> {
        if self.fate.stop_at_save.swap(false, Ordering::Relaxed) {
            self.fate.stop();
        }
        self.fate.gate().await;
        self.fate.read()?;
        self.log.save_snapshot(stream, snapshot).await
    }

    /// This process has heard nothing yet of what others wrote.
    fn head(&self) -> watch::Receiver<Position> {
        watch::channel(Position::START).1
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        watch::channel(Epoch(0)).1
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// How a partition of the log comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// Each event once, from the checkpoint on.
    Once,
    /// Each batch twice, and always from the very beginning, wherever the checkpoint is.
    AgainAndAgain,
}

/// A partition of the log, as Kafka would have it.
pub struct Split {
    pub log: Arc<SqliteStore>,
    pub fate: Arc<Fate>,
    pub partition: u32,
    pub partitions: u32,
    pub comes: Comes,
    /// How many events were handed over.
    pub handed_over: Arc<AtomicUsize>,
}

#[async_trait]
impl Source for Split {
    fn partition(&self) -> u32 {
        self.partition
    }

    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        self.fate.gate().await;
        let after = if self.comes == Comes::AgainAndAgain { Position::START } else { after };
        Ok(Subscription::new(Part {
            feed: self.log.subscribe(after, filter).await?,
            fate: self.fate.clone(),
            of: (self.partition, self.partitions),
            again: None,
            comes: self.comes,
            handed_over: self.handed_over.clone(),
        }))
    }
}

struct Part {
    feed: Subscription,
    fate: Arc<Fate>,
    of: (u32, u32),
    again: Option<Delivery>,
    comes: Comes,
    handed_over: Arc<AtomicUsize>,
}

#[async_trait]
impl Feed for Part {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        self.fate.gate().await;
        if let Some(again) = self.again.take() {
            return Some(Ok(again));
        }
        let mut delivery = self.feed.next().await?;
        if let Ok(Delivery::Events { events, .. }) = &mut delivery {
            let (partition, partitions) = self.of;
            let key = |event: &Arc<RecordedEvent>| event.metadata.partition_key.clone();
            events.retain(|event| event_store::partition::of(key(event).as_bytes(), partitions) == partition);
            self.handed_over.fetch_add(events.len(), Ordering::Relaxed);
        }
        if self.comes == Comes::AgainAndAgain {
            self.again = delivery.as_ref().ok().cloned();
        }
        Some(delivery)
    }
}

/// A source, and how many events it has handed over.
pub struct Counted {
    pub source: Arc<dyn Source>,
    pub handed_over: Arc<AtomicUsize>,
}

#[async_trait]
impl Source for Counted {
    fn partition(&self) -> u32 {
        self.source.partition()
    }

    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        let feed = self.source.follow(after, filter).await?;
        Ok(Subscription::new(CountedFeed { feed, handed_over: self.handed_over.clone() }))
    }
}

struct CountedFeed {
    feed: Subscription,
    handed_over: Arc<AtomicUsize>,
}

#[async_trait]
impl Feed for CountedFeed {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        let delivery = self.feed.next().await;
        if let Some(Ok(Delivery::Events { events, .. })) = &delivery {
            self.handed_over.fetch_add(events.len(), Ordering::Relaxed);
        }
        delivery
    }
}

/// One process's way to those who carry commands out.
pub struct Sender {
    pub bus: Arc<MiniBus>,
    pub fate: Arc<Fate>,
    /// The commands that this process has sent and a participant would still take.
    pub sent: Mutex<Vec<Uuid>>,
    /// Those who carry them out go on, whatever becomes of the sender.
    pub elsewhere: Tasks,
}

impl Sender {
    pub fn sent(&self) -> Vec<Uuid> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl CommandPort for Sender {
    async fn dispatch(&self, command: Dispatch) -> Outcome {
        if self.fate.stop_at_send.swap(false, Ordering::Relaxed) {
            self.fate.stop();
        }
        self.fate.moment().await;
        if self.bus.clock.now() <= command.not_after {
            self.sent.lock().unwrap().push(command.command_id);
        }
        let (bus, (reply, answer)) = (self.bus.clone(), oneshot::channel());
        self.elsewhere.spawn("command", async move {
            let _ = reply.send(bus.dispatch(command).await); // Nobody waits any more: it is done all the same.
        });
        let outcome = answer.await.unwrap();
        self.fate.moment().await;
        outcome
    }
}
