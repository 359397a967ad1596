//! A store that stands in front of another one, and says only what it does differently: a double in a test, a cache.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::port::{
    Append, Direction, Epoch, EventStore, Filter, StoreStats, StreamInfo, StreamSnapshot, Subscription, Ticket,
};
use crate::{AppendError, Position, ReadError, RecordedEvent, StreamName};

/// An [`EventStore`] that hands every call on to [`Self::inner`], except for the methods that an implementation overrides.
/// Those have the meaning and the errors that [`EventStore`] gives them.
#[async_trait]
#[allow(missing_docs, reason = "the methods are those of `EventStore`")]
pub trait Delegate: Send + Sync + 'static {
    /// The store behind this one.
    fn inner(&self) -> &dyn EventStore;

    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        self.inner().append(append).await
    }

    /// Looks at the epoch of this store, and appends with [`Self::append`].
    async fn append_within(&self, epoch: Epoch, append: Append) -> Result<Ticket, AppendError> {
        if *self.epoch().borrow() == epoch {
            self.append(append).await
        } else {
            Err(AppendError::EpochEnded { stream: append.stream })
        }
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.inner().read_stream(stream, from, direction, limit).await
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.inner().read_all(from, direction, limit, filter).await
    }

    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        self.inner().subscribe(after, filter).await
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        self.inner().load_snapshot(stream).await
    }

    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError> {
        self.inner().save_snapshot(stream, snapshot).await
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.inner().head()
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.inner().epoch()
    }

    fn is_shared(&self) -> bool {
        self.inner().is_shared()
    }
}

#[async_trait]
impl<D: Delegate> EventStore for D {
    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        Delegate::append(self, append).await
    }

    async fn append_within(&self, epoch: Epoch, append: Append) -> Result<Ticket, AppendError> {
        Delegate::append_within(self, epoch, append).await
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        Delegate::read_stream(self, stream, from, direction, limit).await
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        Delegate::read_all(self, from, direction, limit, filter).await
    }

    // Pages and probes are read with the two methods above, so that what a double does to reads it does to all of them.

    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        Delegate::subscribe(self, after, filter).await
    }

    async fn list_streams(
        &self,
        category: Option<&str>,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, ReadError> {
        self.inner().list_streams(category, after, limit).await
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        Delegate::load_snapshot(self, stream).await
    }

    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError> {
        Delegate::save_snapshot(self, stream, snapshot).await
    }

    fn head(&self) -> watch::Receiver<Position> {
        Delegate::head(self)
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        Delegate::epoch(self)
    }

    fn is_shared(&self) -> bool {
        Delegate::is_shared(self)
    }

    fn refuses_clients(&self) -> Option<Arc<str>> {
        self.inner().refuses_clients()
    }

    fn damage(&self) -> Option<Arc<str>> {
        self.inner().damage()
    }

    async fn stats(&self) -> Result<StoreStats, ReadError> {
        self.inner().stats().await
    }
}
