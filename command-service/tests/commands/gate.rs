//! A log whose appends are queued at once but durable only when a gate is opened; it counts what is asked of it, and can
//! say that others write it, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use event_store::sqlite::SqliteStore;
use event_store::{
    Append, AppendError, Direction, Epoch, EventStore, Filter, Position, ReadError, RecordedEvent, StoreStats,
    StreamInfo, StreamName, StreamSnapshot, Subscription, Ticket,
};
use tokio::sync::watch;

pub struct Gated {
    log: Arc<SqliteStore>,
    open: watch::Sender<bool>,
    appends: watch::Sender<usize>,
    reads: AtomicUsize,
    readable: watch::Sender<bool>,
    shared: bool,
}

impl Gated {
    pub fn new(log: Arc<SqliteStore>) -> Arc<Self> {
        Arc::new(Self::of(log, false))
    }

    /// A log that says that others write it, too.
    pub fn shared(log: Arc<SqliteStore>) -> Arc<Self> {
        Arc::new(Self::of(log, true))
    }

    fn of(log: Arc<SqliteStore>, shared: bool) -> Self {
        let (open, appends) = (watch::Sender::new(true), watch::Sender::new(0));
        let readable = watch::Sender::new(true);
        Self { log, open, appends, reads: AtomicUsize::new(0), readable, shared }
    }

    /// Appends so far, as they come.
    pub fn watch_appends(&self) -> watch::Receiver<usize> {
        self.appends.subscribe()
    }

    /// Streams and snapshots read so far.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Whether streams are read; if not, whoever reads one waits until they are.
    pub fn readable(&self, readable: bool) {
        self.readable.send_replace(readable);
    }

    /// From now on nothing becomes known to be durable.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Everything becomes known as it is.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Appends so far.
    pub fn appends(&self) -> usize {
        *self.appends.borrow()
    }
}

#[async_trait]
impl EventStore for Gated {
    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        let ticket = self.log.append(append).await?;
        self.appends.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        Ok(Ticket::new(ticket.first_version, ticket.last_version, ticket.epoch, async move {
            let _ = open.wait_for(|open| *open).await;
            ticket.durable().await
        }))
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let _ = self.readable.subscribe().wait_for(|readable| *readable).await;
        self.log.read_stream(stream, from, direction, limit).await
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.log.read_all(from, direction, limit, filter).await
    }

    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        self.log.subscribe(after, filter).await
    }

    async fn list_streams(
        &self,
        category: Option<&str>,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, ReadError> {
        self.log.list_streams(category, after, limit).await
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.log.load_snapshot(stream).await
    }

    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError> {
        self.log.save_snapshot(stream, snapshot).await
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.log.head()
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.log.epoch()
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn stats(&self) -> Result<StoreStats, ReadError> {
        self.log.stats().await
    }
}
