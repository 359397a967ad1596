//! A log whose appends are queued at once but durable only when a gate is opened; it counts what is asked of it, and can
//! say that others write it, too.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::sqlite::SqliteStore;
use event_store::{
    Append, AppendError, Delegate, Direction, Epoch, EventStore, Expected, ReadError, RecordedEvent, StreamName,
    StreamSnapshot, Ticket,
};
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

pub struct Gated {
    log: Arc<SqliteStore>,
    open: watch::Sender<bool>,
    appends: watch::Sender<usize>,
    reads: AtomicUsize,
    readable: watch::Sender<bool>,
    shared: bool,
    /// Moved by a test; it is not the log's own.
    epoch: watch::Sender<Epoch>,
    /// Whether the next append is queued only to be lost.
    loses: AtomicBool,
    /// What happens just before the next append.
    first: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Where the next read of a stream tells that the log has been read, and what its answer waits for.
    held: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
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
        let epoch = watch::Sender::new(*log.epoch().borrow());
        let (reads, loses) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (first, held) = (Mutex::default(), Mutex::default());
        Self { log, open, appends, reads, readable, shared, epoch, loses, first, held }
    }

    /// Appends so far, as they come.
    pub fn watch_appends(&self) -> watch::Receiver<usize> {
        self.appends.subscribe()
    }

    /// Streams and snapshots read so far.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Whether streams are read; if not, a read of one waits until they are.
    pub fn readable(&self, readable: bool) {
        self.readable.send_replace(readable);
    }

    /// Holds the answer of the next read of a stream back: until the sender fires. The receiver hears when the log itself
    /// has been read.
    pub fn hold_next_read(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((tells, told), (releases, released)) = (oneshot::channel(), oneshot::channel());
        *self.held.lock().unwrap() = Some((tells, released));
        (told, releases)
    }

    /// From now on nothing becomes known to be durable.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Everything becomes known as it is.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// The next append is queued, and lost: as soon as the gate is open its commit has failed.
    pub fn lose_next_append(&self) {
        self.loses.store(true, Ordering::SeqCst);
    }

    /// A commit has failed: what was queued is lost.
    pub fn end_epoch(&self) {
        self.epoch.send_modify(|epoch| epoch.0 += 1);
    }

    /// Does this just before the next append is looked at.
    pub fn before_next_append(&self, first: impl Future<Output = ()> + Send + 'static) {
        *self.first.lock().unwrap() = Some(Box::pin(first));
    }

    async fn happen_first(&self) {
        let first = self.first.lock().unwrap().take();
        if let Some(first) = first {
            first.await;
        }
    }

    fn lost(&self, append: Append) -> Ticket {
        let Expected::Exact(at) = append.expected else { panic!("only an append to a stream with events is lost") };
        self.appends.send_modify(|count| *count += 1);
        let (first, last) = (at + 1, at + append.events.len() as u64);
        let mut open = self.open.subscribe();
        Ticket::new(first, last, *self.epoch.borrow(), async move {
            let _ = open.wait_for(|open| *open).await;
            Err(AppendError::EpochEnded { stream: append.stream })
        })
    }

    /// Appends so far.
    pub fn appends(&self) -> usize {
        *self.appends.borrow()
    }
}

#[async_trait]
impl Delegate for Gated {
    fn inner(&self) -> &dyn EventStore {
        &*self.log
    }

    async fn append_within(&self, epoch: Epoch, append: Append) -> Result<Ticket, AppendError> {
        self.happen_first().await;
        if *self.epoch.borrow() != epoch {
            return Err(AppendError::EpochEnded { stream: append.stream });
        }
        Delegate::append(self, append).await
    }

    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        self.happen_first().await;
        if self.loses.swap(false, Ordering::SeqCst) {
            return Ok(self.lost(append));
        }
        let ticket = self.log.append(append).await?;
        self.appends.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        let epoch = *self.epoch.borrow();
        Ok(Ticket::new(ticket.first_version, ticket.last_version, epoch, async move {
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
        let found = self.log.read_stream(stream, from, direction, limit).await;
        let held = self.held.lock().unwrap().take();
        if let Some((tells, released)) = held {
            tells.send(()).unwrap();
            released.await.unwrap();
        }
        found
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.log.load_snapshot(stream).await
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    fn is_shared(&self) -> bool {
        self.shared
    }
}
