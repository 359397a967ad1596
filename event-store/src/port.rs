//! The port: what a log must do. `sqlite` is the embedded one; the conformance suite says what every one must pass.
//!
//! An append has two moments. *Queued*: its versions are known, later appends may build on it, and only the end of the
//! epoch can undo it. *Durable*: its position is known and it survives a power cut. What is submitted after another's
//! ticket was queued is never durable without it. Reads and subscriptions deliver durable events only.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::envelope::Timestamp;
use crate::{AppendError, NewEvent, Position, ReadError, RecordedEvent, StreamName};

/// Counts the failed commits of this process: what was queued in an older epoch and is not durable is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// What the writer believes of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It has no events.
    NoStream,
    /// Its last event has this version.
    Exact(u64),
    /// Anything.
    Any,
}

impl Expected {
    /// The version after which to append: `None` is a stream without events.
    pub fn at(version: Option<u64>) -> Self {
        version.map_or(Self::NoStream, Self::Exact)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => f.write_str("no stream"),
            Self::Exact(version) => write!(f, "version {version}"),
            Self::Any => f.write_str("any version"),
        }
    }
}

/// The most events of one append.
pub const APPEND_EVENTS: usize = 1_000;
/// The most bytes of one append, metadata included: one commit's worth.
pub const APPEND_BYTES: usize = 4 << 20;
/// The most bytes of one event, metadata included: what Kafka takes in a record and a gRPC client in a message unless told
/// otherwise. The events of the shop are below 100 KB.
pub const EVENT_BYTES: usize = 1_000_000;

/// Events to append to one stream, all or none.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream.
    pub stream: StreamName,
    /// What the writer believes of it.
    pub expected: Expected,
    /// 1 to [`APPEND_EVENTS`] events of at most [`EVENT_BYTES`] each, and [`APPEND_BYTES`] together.
    pub events: Vec<NewEvent>,
}

/// What a durable append is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The version of its last event.
    pub version: u64,
    /// The position of its last event.
    pub position: Position,
}

/// An append that is queued, and the way to wait until it is durable. Dropping it changes nothing of the append.
pub struct Ticket {
    /// The version of the first event.
    pub first_version: u64,
    /// The version of the last event.
    pub last_version: u64,
    /// The epoch in which it was queued.
    pub epoch: Epoch,
    durable: Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send>>,
}

impl Ticket {
    /// A ticket whose second moment is `durable`.
    pub fn new(
        first_version: u64,
        last_version: u64,
        epoch: Epoch,
        durable: impl Future<Output = Result<Appended, AppendError>> + Send + 'static,
    ) -> Self {
        Self { first_version, last_version, epoch, durable: Box::pin(durable) }
    }

    /// Waits until the append, and all that was queued before it, is durable.
    ///
    /// # Errors
    /// [`AppendError::EpochEnded`] if the commit failed; [`AppendError::Unwritable`] if the log can no longer be written.
    pub async fn durable(self) -> Result<Appended, AppendError> {
        self.durable.await
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({}..={}, epoch {})", self.first_version, self.last_version, self.epoch.0)
    }
}

/// Which way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// How much one page of a read holds: whichever is reached first ends it, but a page has an event where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// The most events, 1 to 10 000.
    pub events: usize,
    /// A page ends with the event that makes it this large. Bytes.
    pub bytes: usize,
}

impl PageLimit {
    /// So many events, however large they are.
    pub fn events(events: usize) -> Self {
        Self { events, bytes: usize::MAX }
    }
}

/// Which events of the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only streams of these categories; empty: all.
    pub categories: Vec<String>,
}

impl Filter {
    /// Only streams of these categories.
    pub fn categories<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { categories: names.into_iter().map(str::to_owned).collect() }
    }

    /// Whether an event of this stream passes.
    pub fn admits(&self, stream: &StreamName) -> bool {
        self.categories.is_empty() || self.categories.iter().any(|category| category == stream.category())
    }
}

/// What a subscription hands over.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Durable events in position order, those that pass the filter; and how far the log has been looked through,
    /// which is at or beyond the last of them. A batch may be empty: then only the checkpoint moves.
    Events {
        /// The events, shared among the subscribers.
        events: Vec<Arc<RecordedEvent>>,
        /// Everything at or below is delivered or filtered away.
        up_to: Position,
    },
    /// All that was durable at some moment after the subscription began has been handed over; live from here.
    CaughtUp,
}

/// Where a subscription's deliveries come from: an adapter's own reader that knows how far it has come. It is pulled, not
/// pushed at: a slow reader costs nobody memory.
#[async_trait]
pub trait Feed: Send {
    /// The next delivery; `None` when the store has closed. When the future is dropped while it waits, nothing is lost:
    /// the next call delivers what this one would have.
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>>;
}

#[async_trait]
impl Feed for mpsc::Receiver<Result<Delivery, ReadError>> {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        self.recv().await
    }
}

/// Catch-up, then live, without a hole or a duplicate at the seam. A slow reader falls back to reading the table; it
/// never blocks the writer and never grows memory. Ends (`None`) when the store closes.
pub struct Subscription {
    feed: Box<dyn Feed>,
}

impl Subscription {
    /// A subscription that hands over what the feed gives. (A bounded channel is a feed, too.)
    pub fn new(feed: impl Feed + 'static) -> Self {
        Self { feed: Box::new(feed) }
    }

    /// The next delivery; `None` when the store has closed. Safe to drop while waiting.
    pub async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        self.feed.next().await
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// A stream as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its name.
    pub stream: StreamName,
    /// The version of its last event.
    pub version: u64,
}

/// The state of a stream after `version`, as its owner wrote it. Only a short cut: it can be thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSnapshot {
    /// The version of the last event in it.
    pub version: u64,
    /// The format of `state`; a reader that knows another ignores the snapshot.
    pub schema: u32,
    /// What the owner wrote, JSON.
    pub state: String,
}

/// Numbers about the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Events in the log.
    pub events: u64,
    /// Streams in the log.
    pub streams: u64,
    /// Bytes on disk, write-ahead log included.
    pub bytes: u64,
    /// The last durable position.
    pub position: Position,
    /// When the last event was written.
    pub last_recorded_at: Option<Timestamp>,
    /// Events per category.
    pub categories: Vec<(String, u64)>,
}

/// An event store.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Queues events; the ticket tells when they are durable. Appending the same ids again at the version where they
    /// already stand answers with what the first append had.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] against the stream's head, queued appends included; [`AppendError::Overloaded`];
    /// [`AppendError::Refused`]; [`AppendError::Unwritable`].
    async fn append(&self, append: Append) -> Result<Ticket, AppendError>;

    /// The same, if the epoch is still this one: for what was decided on queued events of any stream. An adapter whose
    /// epoch moves looks at it in the same moment in which it queues.
    ///
    /// # Errors
    /// As [`Self::append`]; [`AppendError::EpochEnded`] if the epoch has moved. Nothing was queued then.
    async fn append_within(&self, epoch: Epoch, append: Append) -> Result<Ticket, AppendError> {
        if *self.epoch().borrow() == epoch {
            self.append(append).await
        } else {
            Err(AppendError::EpochEnded { stream: append.stream })
        }
    }

    /// Up to `limit` (1 to 10 000) durable events of a stream from `from` (inclusive) on; none if it does not exist.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError>;

    /// Up to `limit` (1 to 10 000) durable events of the whole log: forward those after `from`, backward those before
    /// it (`Position(u64::MAX)`: from the end).
    ///
    /// # Errors
    /// [`ReadError`].
    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError>;

    /// One page of a stream from `from` (inclusive) on, bounded in bytes, too. Only a page without events says that there are no
    /// more. An adapter that cannot bound the bytes reads `limit.events`.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn read_stream_page(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.read_stream(stream, from, direction, limit.events).await
    }

    /// One page of the whole log, with positions as [`Self::read_all`] has them, bounded as [`Self::read_stream_page`].
    ///
    /// # Errors
    /// [`ReadError`].
    async fn read_all_page(
        &self,
        from: Position,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.read_all(from, direction, limit.events, &Filter::default()).await
    }

    /// Reads the last event of the log, to find out whether reads are answered at this moment: within `deadline`, else the
    /// error says so. What is read is verified like any other read.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Unavailable`] also when the deadline has passed.
    async fn probe(&self, deadline: Duration) -> Result<(), ReadError> {
        let filter = Filter::default();
        let read = self.read_all(Position(u64::MAX), Direction::Backward, 1, &filter);
        let late = |_| ReadError::Unavailable {
            path: "event log".to_owned(),
            reason: format!("reading its last event had no answer within {} ms", deadline.as_millis()),
        };
        tokio::time::timeout(deadline, read).await.map_err(late)?.map(drop)
    }

    /// Everything after `after`, then live.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError>;

    /// Streams by name after `after`, up to `limit` (1 to 10 000), of one category or of all.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn list_streams(
        &self,
        category: Option<&str>,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, ReadError>;

    /// The newest snapshot of a stream.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError>;

    /// Keeps a snapshot in place of an older one. Not synced: losing it costs time only.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError>;

    /// The last durable position, as it moves.
    fn head(&self) -> watch::Receiver<Position>;

    /// The epoch, as it moves: at each move drop what was folded from queued events.
    fn epoch(&self) -> watch::Receiver<Epoch>;

    /// Whether other processes append to it as well. Then what was folded from a stream is the last word on it only until
    /// somebody else has written. (The log of another process also never has anything queued, and its epoch never moves; an
    /// embedded one that is served to others has both.)
    fn is_shared(&self) -> bool {
        false
    }

    /// Why commands of clients are not to be taken at the moment: there is hardly room for more. What was begun, such as a
    /// saga's commands, goes on. `None`: nothing speaks against them.
    fn refuses_clients(&self) -> Option<Arc<str>> {
        None
    }

    /// What is known to be damaged in the log, and nothing is written to it any more. `None`: nothing is known to be.
    fn damage(&self) -> Option<Arc<str>> {
        None
    }

    /// Numbers about the log.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn stats(&self) -> Result<StoreStats, ReadError>;
}
