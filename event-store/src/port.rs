//! The port: the operations of an event log. `sqlite` is the embedded one; every adapter must pass the conformance
//! suite.
//!
//! An append has two moments. *Queued*: its versions are known, later appends may build on it, and only the end of the
//! epoch can undo it. *Durable*: its position is known and it survives a power cut. An append that is submitted after
//! another's ticket was queued is never durable without that one. Reads and subscriptions deliver durable events only.

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

/// The number of failed commits of this process. Appends that were queued in an older epoch and are not durable are
/// lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The writer's expectation of the stream's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The stream has no events.
    NoStream,
    /// The last event of the stream has this version.
    Exact(u64),
    /// Any version is accepted.
    Any,
}

impl Expected {
    /// The expectation that the stream is at this version; `None` is a stream without events.
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
    /// Name of the stream to append to.
    pub stream: StreamName,
    /// The expected version of the stream.
    pub expected: Expected,
    /// The events, 1 to [`APPEND_EVENTS`], of at most [`EVENT_BYTES`] each and [`APPEND_BYTES`] together.
    pub events: Vec<NewEvent>,
}

/// The result of a durable append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Version of the last event in the stream.
    pub version: u64,
    /// Position of the last event in the log.
    pub position: Position,
}

/// An append that is queued, and the way to wait until it is durable. Dropping it changes nothing of the append.
pub struct Ticket {
    /// Version of the first event in the stream.
    pub first_version: u64,
    /// Version of the last event in the stream.
    pub last_version: u64,
    /// The epoch in which the append was queued.
    pub epoch: Epoch,
    durable: Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send>>,
}

impl Ticket {
    /// A ticket that is durable when `durable` says so.
    pub fn new(
        first_version: u64,
        last_version: u64,
        epoch: Epoch,
        durable: impl Future<Output = Result<Appended, AppendError>> + Send + 'static,
    ) -> Self {
        Self { first_version, last_version, epoch, durable: Box::pin(durable) }
    }

    /// Waits until the append, and everything queued before it, is durable.
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

/// The direction of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The oldest event comes first.
    Forward,
    /// The newest event comes first.
    Backward,
}

/// The size of one page of a read. The first bound that is reached ends the page, but a page has an event if there is
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// The most events, 1 to 10 000.
    pub events: usize,
    /// Bytes after which the page ends: the event that exceeds them is its last one.
    pub bytes: usize,
}

impl PageLimit {
    /// A page of so many events, however large they are.
    pub fn events(events: usize) -> Self {
        Self { events, bytes: usize::MAX }
    }
}

/// A selection of the events of the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Categories of the streams to select; empty selects all.
    pub categories: Vec<String>,
}

impl Filter {
    /// A selection of the streams of these categories.
    pub fn categories<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { categories: names.into_iter().map(str::to_owned).collect() }
    }

    /// Whether the events of this stream are selected.
    pub fn admits(&self, stream: &StreamName) -> bool {
        self.categories.is_empty() || self.categories.iter().any(|category| category == stream.category())
    }
}

/// A delivery of a subscription.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Durable events in position order, those that the filter selects, and how far the log has been read, which is at
    /// or beyond the last of them. A batch may be empty: then only the checkpoint moves.
    Events {
        /// The events, shared among the subscribers.
        events: Vec<Arc<RecordedEvent>>,
        /// Every selected event at or below this position has been delivered.
        up_to: Position,
    },
    /// Everything that was durable at some moment after the subscription began has been delivered; live events follow.
    CaughtUp,
}

/// The source of a subscription's deliveries: an adapter's own reader that knows how far it has read. It is pulled, so
/// a slow reader costs no memory of others.
#[async_trait]
pub trait Feed: Send {
    /// The next delivery; `None` when the store has closed. If the future is dropped while it waits, nothing is lost:
    /// the next call returns the delivery of this one.
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>>;
}

#[async_trait]
impl Feed for mpsc::Receiver<Result<Delivery, ReadError>> {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        self.recv().await
    }
}

/// A subscription to the log: first the stored events, then live ones, without a gap or a duplicate between the two. A
/// slow reader falls back to reading the table; it never blocks the writer and never grows memory. It ends (`None`)
/// when the store closes.
pub struct Subscription {
    feed: Box<dyn Feed>,
}

impl Subscription {
    /// A subscription to the deliveries of the feed. (A bounded channel is a feed, too.)
    pub fn new(feed: impl Feed + 'static) -> Self {
        Self { feed: Box::new(feed) }
    }

    /// The next delivery; `None` when the store has closed. Dropping the future while it waits loses nothing.
    pub async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        self.feed.next().await
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// A stream in the store's list of streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Name of the stream.
    pub stream: StreamName,
    /// Version of the last event of the stream.
    pub version: u64,
}

/// A snapshot: the state of a stream after `version`, written by the stream's owner. It only saves time and can be
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSnapshot {
    /// Version of the last event that the state includes.
    pub version: u64,
    /// Format of `state`. A reader that knows only other formats ignores the snapshot.
    pub schema: u32,
    /// The state as its owner wrote it, JSON.
    pub state: String,
}

/// The size of the log in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Number of events in the log.
    pub events: u64,
    /// Number of streams in the log.
    pub streams: u64,
    /// Bytes on disk, the write-ahead log included.
    pub bytes: u64,
    /// Position of the last durable event.
    pub position: Position,
    /// When the last event was written.
    pub last_recorded_at: Option<Timestamp>,
    /// Number of events by category of their streams.
    pub categories: Vec<(String, u64)>,
}

/// An event store: the one log of all events. Every adapter implements this trait and passes the conformance suite.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Queues events; the ticket tells when they are durable. A repeat with the same ids, at the version where they
    /// already are, answers with the result of the first append.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] against the stream's head, queued appends included; [`AppendError::Overloaded`];
    /// [`AppendError::Refused`]; [`AppendError::Unwritable`].
    async fn append(&self, append: Append) -> Result<Ticket, AppendError>;

    /// Appends as [`Self::append`] does, if the epoch is still this one. It is for events that were decided on queued
    /// events of any stream. An adapter whose epoch moves compares it at the moment in which it queues the append.
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

    /// Reads up to `limit` (1 to 10 000) durable events of a stream from version `from` (inclusive) on; none if the
    /// stream does not exist.
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

    /// Reads up to `limit` (1 to 10 000) durable events of the whole log: forward those after `from`, backward those
    /// before it (`Position(u64::MAX)`: from the end).
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

    /// Reads one page of a stream from `from` (inclusive) on, which is also bounded in bytes. Only a page without
    /// events means that there are no more. An adapter that cannot bound the bytes reads `limit.events`.
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

    /// Reads one page of the whole log, with positions as in [`Self::read_all`] and bounds as in
    /// [`Self::read_stream_page`].
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

    /// Reads the last event of the log, to find out whether reads are answered now. The event is verified as in every
    /// read.
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

    /// Subscribes to everything after `after`: stored events first, then live ones.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError>;

    /// Lists streams by name after `after`, up to `limit` (1 to 10 000), of one category or of all.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn list_streams(
        &self,
        category: Option<&str>,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, ReadError>;

    /// Loads the newest snapshot of a stream.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError>;

    /// Saves a snapshot in place of an older one. It is not synced: losing it costs only time.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError>;

    /// Watches the position of the last durable event.
    fn head(&self) -> watch::Receiver<Position>;

    /// Watches the epoch: at each change, discard every state that was folded from queued events.
    fn epoch(&self) -> watch::Receiver<Epoch>;

    /// Whether other processes append to the log as well. A state that was folded from a stream is then current only
    /// until another process writes. (The log of another process also never has anything queued, and its epoch never
    /// changes; an embedded log that is served to others has both.)
    fn is_shared(&self) -> bool {
        false
    }

    /// The reason why clients' commands must not be taken at the moment: there is hardly room for more events. Work
    /// that was begun, such as a saga's commands, goes on. `None`: there is no such reason.
    fn refuses_clients(&self) -> Option<Arc<str>> {
        None
    }

    /// The known damage of the log, because of which nothing is written to it any more. `None`: no damage is known.
    fn damage(&self) -> Option<Arc<str>> {
        None
    }

    /// Counts the events, streams and bytes of the log.
    ///
    /// # Errors
    /// [`ReadError`].
    async fn stats(&self) -> Result<StoreStats, ReadError>;
}
