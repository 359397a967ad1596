//! The client: what one can ask an event store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::connection::{Health, Links};
use crate::read::{Direction, Filter, LogFrom, StreamFrom, What, read};
use crate::subscription::Subscription;
use crate::{Error, Expected, LogPosition, NewEvent, Notices, RecordedEvent, Settings, Written, append};

/// A client of one event store. Cheap to clone; all clones share one connection. Calls fail and subscriptions end once the
/// last clone is dropped or one of them is closed.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    links: Arc<Links>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.links.close();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.shared.links.store)
    }
}

impl Client {
    /// A client that begins to connect at once and goes on trying. It does not wait, and cannot fail: what is asked of it
    /// waits for the connection. Needs a Tokio runtime.
    pub fn new(settings: Settings) -> Self {
        let deadline = settings.deadline;
        Self { shared: Arc::new(Shared { links: Links::open(settings) }), deadline }
    }

    /// The same client with another bound on how long a call may take, its repetitions included.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { shared: self.shared.clone(), deadline }
    }

    /// How the connection is, as it changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.links.health()
    }

    /// What the server says of itself besides the protocol, as it changes: as it was with the last read.
    pub fn notices(&self) -> watch::Receiver<Notices> {
        self.shared.links.notices()
    }

    /// The store's address without user and password.
    pub fn address(&self) -> &str {
        &self.shared.links.store
    }

    /// Ends all calls and subscriptions, of all clones.
    pub fn close(&self) {
        self.shared.links.close();
    }

    /// Appends events to a stream, all or none. They are durable when this returns. When no answer comes, the same events
    /// are sent again within the deadline, which is harmless by their ids. Dropped while it waits, they may be written.
    ///
    /// # Errors
    /// [`Error::WrongExpected`]; [`Error::UnknownOutcome`] if no answer came at all; [`Error::Unavailable`],
    /// [`Error::Busy`]: nothing was written; [`Error::Refused`], [`Error::AccessDenied`], [`Error::StreamDeleted`],
    /// [`Error::Malformed`], [`Error::Closed`].
    pub async fn append(&self, stream: &str, expected: Expected, events: &[NewEvent]) -> Result<Written, Error> {
        append::append(&self.shared.links, stream, expected, events, self.deadline).await
    }

    /// Reads up to `count` events of a stream; `None` if there is no such stream. They are all in memory at once: ask for
    /// thousands, not for all.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Busy`], [`Error::AccessDenied`], [`Error::StreamDeleted`], [`Error::Refused`],
    /// [`Error::Malformed`], [`Error::Closed`].
    pub async fn read_stream(
        &self,
        stream: &str,
        from: StreamFrom,
        direction: Direction,
        count: u64,
    ) -> Result<Option<Vec<RecordedEvent>>, Error> {
        let what = What::Stream { name: stream.to_owned(), from };
        read(&self.shared.links, &what, direction, count, self.deadline).await
    }

    /// Reads up to `count` events of the log, those that pass the filter.
    ///
    /// # Errors
    /// As [`Self::read_stream`].
    pub async fn read_log(
        &self,
        from: LogFrom,
        direction: Direction,
        count: u64,
        filter: Option<Filter>,
    ) -> Result<Vec<RecordedEvent>, Error> {
        let what = What::Log { from, filter };
        let events = read(&self.shared.links, &what, direction, count, self.deadline).await?;
        Ok(events.unwrap_or_default())
    }

    /// Follows a stream, from the event after this revision on.
    pub fn subscribe_to_stream(&self, stream: &str, after: Option<u64>) -> Subscription {
        Subscription::of_stream(self.shared.links.clone(), stream, after)
    }

    /// Follows the log, from the event after this position on. A filtered subscription hands over checkpoints, too.
    pub fn subscribe_to_log(&self, after: Option<LogPosition>, filter: Option<Filter>) -> Subscription {
        Subscription::of_log(self.shared.links.clone(), after, filter)
    }
}
