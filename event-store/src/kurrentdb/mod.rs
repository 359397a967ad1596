//! The log of another process, over KurrentDB's protocol: a KurrentDB, or a `backstitch store serve`.
//!
//! *Invariant:* what was acknowledged is in the log once. An append whose answer was lost is sent again with the same ids;
//! one whose outcome stays unknown is never said to have failed ([`AppendError::Unknown`]).
//! *Invariant:* system streams (`$…`) and the streams of snapshots never come through the port.
//!
//! # What is particular
//! * Queued is durable: the server answers when it has written, so a ticket waits for nothing, and the epoch never moves.
//! * The log is shared: others write to it ([`EventStore::is_shared`]).
//! * The head follows from this process's own appends, reads and subscriptions, and from a look at the log's end every
//!   200 ms (`head.rs`), which is also what finds out that the server is away, or back.
//! * Whether commands of clients are to be refused, and whether the log is damaged, is what a served log says with each read
//!   (`eventstore_client::Notices`); a KurrentDB says neither.
//! * `list_streams` walks the log from its beginning with each call, as the protocol has no list of streams: the server
//!   filters by category, but it is a tool for operators, not for requests. It holds no more than a page in memory.
//! * `stats` walks the log once and from then on only what is new; `bytes` are those of payloads and metadata, since the
//!   protocol does not tell the size on disk.
//! * A KurrentDB's user must be allowed to read `$all` and to write metadata of streams (`$admins` are).
//! * Appends at any version are repeated safely as far as the server looks back: a served log through the stream's last
//!   4 096 events, a KurrentDB through what it has in memory. Those at a version, which are all of ours, without limit.
//! * A store that is away makes calls wait until their deadline (10 s unless the address says otherwise), and later ones
//!   fail at once while it stays away; subscriptions wait.

mod append;
mod event;
mod following;
mod head;
mod listing;
mod named;
mod reading;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventstore_client::{Client, NodePreference, Notices, Settings, SettingsError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::head::Head;
use self::listing::Counted;
use crate::{
    Append, AppendError, Direction, Epoch, EventStore, Filter, Position, ReadError, RecordedEvent, StoreStats,
    StreamInfo, StreamName, StreamSnapshot, Subscription, Ticket,
};

pub use eventstore_client::Health;
pub use named::NotNamed;

/// How long opening waits for a server that does not answer yet: long enough for one that starts beside us.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The log of another process. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct KurrentStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    head: Head,
    health: watch::Sender<Health>,
    /// What the server says of itself, at least with each look at the log's end.
    notices: watch::Receiver<Notices>,
    epoch: watch::Sender<Epoch>,
    /// What was counted so far; behind a lock that waits, as only one may count at a time.
    counted: tokio::sync::Mutex<Counted>,
    /// Runs beside, and ends with the store.
    tasks: Mutex<JoinSet<()>>,
}

impl KurrentStore {
    /// The log at this address, such as `kurrentdb://user:password@host:2113?tls=false`. Waits up to 5 s for the server, so
    /// that the head is known; without it the store is there all the same and finds the server when it comes.
    ///
    /// # Errors
    /// [`SettingsError`] if it is no address, or one that leads to nodes which do not lead: what they say may be old, and
    /// what is decided here must stand on what is.
    pub async fn connect(url: &str) -> Result<Arc<Self>, SettingsError> {
        let settings: Settings = url.parse()?;
        if settings.preference != NodePreference::Leader {
            let (name, value) = ("nodePreference".to_owned(), format!("{:?}", settings.preference));
            let wanted = "`leader`: other nodes may answer with what is old";
            return Err(SettingsError::Value { name, value, wanted });
        }
        Ok(Self::open(settings).await)
    }

    async fn open(settings: Settings) -> Arc<Self> {
        let client = Client::new(settings);
        let head = Head::default();
        let health = watch::Sender::new(client.health().borrow().clone());
        let shared = Shared {
            health: health.clone(),
            notices: client.notices(),
            epoch: watch::Sender::new(Epoch(0)),
            counted: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            head: head.clone(),
            client: client.clone(),
        };
        shared.tasks.lock().spawn(head::watch(client, head.clone(), health));
        // It is not there yet: so be it.
        let _ = tokio::time::timeout(FIRST_ANSWER, head.answered()).await;
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// How the store is, as it changes: away, too, if it is there and lets us do nothing.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Where the log is, without user and password.
    pub fn address(&self) -> &str {
        self.shared.client.address()
    }

    /// Ends all calls and subscriptions.
    pub fn close(&self) {
        self.shared.tasks.lock().abort_all();
        self.shared.client.close();
        self.shared.health.send_replace(Health::Closed);
    }
}

#[async_trait]
impl EventStore for KurrentStore {
    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        if let Some(what) = self.damage() {
            // The server would only refuse it, as long as it is so: the next look at its end says when it is not.
            return Err(AppendError::Damaged { path: self.address().to_owned(), what: what.to_string() });
        }
        append::append(&self.shared.client, &self.shared.head, append).await
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        reading::stream(&self.shared.client, stream, from, direction, limit).await
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let events = reading::all(&self.shared.client, from, direction, limit, filter).await?;
        if let Some(newest) = events.iter().map(|event| event.position).max() {
            self.shared.head.moved_to(newest);
        }
        Ok(events)
    }

    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        Ok(Subscription::new(following::Following::new(&self.shared.client, &self.shared.head, after, filter)))
    }

    async fn list_streams(
        &self,
        category: Option<&str>,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, ReadError> {
        listing::streams(&self.shared.client, category, after, limit).await
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        snapshots::load(&self.shared.client, stream).await
    }

    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError> {
        snapshots::save(&self.shared.client, stream, snapshot).await
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.shared.head.subscribe()
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.shared.epoch.subscribe()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn refuses_clients(&self) -> Option<Arc<str>> {
        self.shared.notices.borrow().refuses_clients.as_deref().map(Into::into)
    }

    fn damage(&self) -> Option<Arc<str>> {
        self.shared.notices.borrow().damaged.as_deref().map(Into::into)
    }

    async fn stats(&self) -> Result<StoreStats, ReadError> {
        listing::stats(&self.shared.client, &self.shared.counted).await
    }
}
