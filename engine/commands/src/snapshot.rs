//! From the log to a state, and the short cut between them.
//!
//! A snapshot is JSON: the state after `version`, the id of that version's event, the latest event time and the clients'
//! commands of the last 24 h. It is only written when all in it is durable, and only believed if the log has that very
//! event at that version: a snapshot beside a log restored from an older backup is ignored. Losing one costs time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine_runtime::Clock;
use event_store::{Direction, Epoch, EventStore, ReadError, RecordedEvent, StreamName, StreamSnapshot};
use eventsourcing::{Aggregate, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::cache::{Beneath, Folded, Kept};
use crate::command::SendError;
use crate::idempotency::{Remembered, Window};
use crate::older::{self, Older};

/// Events read at once: at 600 bytes 600 kB.
const PAGE: usize = 1_000;

/// Events after which a new snapshot is worth its while: reading as many takes some 5 ms.
const EVENTS_MIN: u64 = 1_000;

/// A snapshot of so many bytes waits for one more event each, so that a large state does not cost more than its events.
const BYTES_PER_EVENT: u64 = 64;

/// Events read by one load after which a snapshot is kept at once: some 250 ms of the embedded log, some 2.5 s over the network. A
/// load that is given up, or a process that dies, loses no more than that, so that the next load begins there.
const LOADED_BEFORE_KEPT: u64 = 50_000;

/// Snapshots written at once; the next ones wait for their stream's next command.
const WRITING_MAX: usize = 2;

/// How long to wait for events that are queued by somebody else: many commits' time.
const QUEUED_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct Content<A> {
    state: A,
    last_id: Uuid,
    last_at: Timestamp,
    window: Vec<Remembered>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<older::Kept>,
}

/// As [`Content`], borrowed.
#[derive(Debug, Serialize)]
struct ContentRef<'a, A> {
    state: &'a A,
    last_id: Uuid,
    last_at: Timestamp,
    window: &'a [Remembered],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    older: &'a [older::Kept],
}

/// Reads and writes states.
#[derive(Clone)]
pub(crate) struct Snapshots {
    store: Arc<dyn EventStore>,
    clock: Clock,
    epoch: watch::Receiver<Epoch>,
    writing: Arc<Semaphore>,
}

impl Snapshots {
    pub fn new(store: Arc<dyn EventStore>, clock: Clock) -> Self {
        Self { epoch: store.epoch(), store, clock, writing: Arc::new(Semaphore::new(WRITING_MAX)) }
    }

    /// The state of a stream as it is durable. Where `at_least` says that the stream is at that version, durable or
    /// queued, waits until it is durable or its epoch has ended.
    ///
    /// # Errors
    /// [`SendError::Unavailable`] if the log cannot be read, or has an event that this program cannot read.
    pub async fn load<A: Aggregate>(&self, stream: &StreamName, at_least: Option<u64>) -> Result<Folded<A>, SendError> {
        let epoch = *self.epoch.borrow();
        let mut folded = self.short_cut(stream, epoch).await?;
        self.read_up_to(stream, &mut folded, at_least, epoch).await?;
        Ok(folded)
    }

    /// The state of a stream that is most likely to begin now, or has only just begun, in a log that others write, too:
    /// read without looking for a snapshot.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn begin<A: Aggregate>(&self, stream: &StreamName) -> Result<Folded<A>, SendError> {
        let epoch = *self.epoch.borrow();
        let mut folded = Folded::empty(epoch, true);
        self.read_up_to(stream, &mut folded, None, epoch).await?;
        Ok(folded)
    }

    /// Reads what has come to the stream since. Waits as [`Self::load`] does.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn catch_up<A: Aggregate>(
        &self,
        stream: &StreamName,
        folded: &mut Folded<A>,
        at_least: Option<u64>,
    ) -> Result<(), SendError> {
        let epoch = *self.epoch.borrow();
        self.read_up_to(stream, folded, at_least, epoch).await
    }

    async fn read_up_to<A: Aggregate>(
        &self,
        stream: &StreamName,
        folded: &mut Folded<A>,
        at_least: Option<u64>,
        epoch: Epoch,
    ) -> Result<(), SendError> {
        self.settle(stream, folded).await?;
        let (mut head, mut waited) = (self.store.head(), Duration::ZERO);
        loop {
            head.borrow_and_update();
            self.read_on(stream, folded).await?;
            if folded.version >= at_least || *self.epoch.borrow() != epoch {
                return Ok(());
            }
            // Only waiting has a bound: reading ends by itself, however long the stream is.
            let begun = Instant::now();
            match tokio::time::timeout(QUEUED_WAIT.saturating_sub(waited), head.changed()).await {
                Ok(Ok(())) => waited += begun.elapsed(),
                Ok(Err(_)) => return Err(SendError::unavailable("the log is being closed")),
                Err(_) => return Err(SendError::unavailable("the log takes long to write")),
            }
        }
    }

    /// Makes sure that what follows is read on top of what is in the log: what was queued may be lost, and somebody else's
    /// events may stand in its place. Then the state is read anew.
    async fn settle<A: Aggregate>(&self, stream: &StreamName, folded: &mut Folded<A>) -> Result<(), SendError> {
        if matches!(folded.beneath, Beneath::Durable(_)) {
            return Ok(());
        }
        let settled = tokio::time::timeout(QUEUED_WAIT, folded.beneath.clone().durable()).await;
        match settled.map_err(|_| SendError::unavailable("the log takes long to write"))? {
            Ok(position) => folded.beneath = Beneath::Durable(position),
            Err(_) => {
                let epoch = *self.epoch.borrow();
                *folded = self.short_cut(stream, epoch).await?;
            }
        }
        Ok(())
    }

    /// Now, if others write the log, too: from such a moment on a state may be old.
    pub fn moment(&self) -> Option<Instant> {
        self.store.is_shared().then(Instant::now)
    }

    async fn short_cut<A: Aggregate>(&self, stream: &StreamName, epoch: Epoch) -> Result<Folded<A>, SendError> {
        let Some(snapshot) = self.store.load_snapshot(stream).await.map_err(unreadable)? else {
            return Ok(Folded::empty(epoch, true));
        };
        let bytes = snapshot.state.len();
        let content: Option<Content<A>> = (snapshot.schema == A::STATE_FORMAT)
            .then(|| serde_json::from_str(&snapshot.state))
            .and_then(|read| read.inspect_err(|error| tracing::warn!(%stream, %error, "a snapshot is ignored")).ok());
        let content = content.and_then(|mut content| {
            let older = Older::of(std::mem::take(&mut content.older))?;
            Some((content, older))
        });
        let last = self.store.read_stream(stream, snapshot.version, Direction::Forward, 1).await.map_err(unreadable)?;
        Ok(match (content, last.first()) {
            (Some((content, older)), Some(event))
                if event.version == snapshot.version && event.id == content.last_id =>
            {
                Folded {
                    state: Arc::new(content.state),
                    version: Some(snapshot.version),
                    last_id: Some(event.id),
                    last_at: Some(content.last_at),
                    beneath: Beneath::Durable(event.position),
                    epoch,
                    window: Window::of(content.window, older, event.position),
                    snapshot: Kept { version: Some(snapshot.version), bytes: Arc::new(AtomicUsize::new(bytes)) },
                    read: true,
                    seen_at: None,
                }
            }
            _ => Folded::empty(epoch, true),
        })
    }

    async fn read_on<A: Aggregate>(&self, stream: &StreamName, folded: &mut Folded<A>) -> Result<(), SendError> {
        folded.seen_at = self.moment();
        let now = self.clock.now();
        loop {
            let from = folded.version.map_or(0, |version| version + 1);
            let page = self.store.read_stream(stream, from, Direction::Forward, PAGE).await.map_err(unreadable)?;
            for event in &page {
                fold(folded, event, now)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
            if events_since_snapshot(folded) >= LOADED_BEFORE_KEPT
                && let Some(keeping) = self.take(stream, folded)
            {
                keeping.await;
            }
        }
    }

    /// Whether so much has happened since the last snapshot that a new one is worth its while.
    pub fn is_due<A: Aggregate>(folded: &Folded<A>) -> bool {
        let bytes = folded.snapshot.bytes.load(Ordering::Relaxed) as u64;
        events_since_snapshot(folded) >= EVENTS_MIN.max(bytes / BYTES_PER_EVENT)
    }

    /// Notes the state and gives the work that keeps it once it is durable; `None` if enough are being written.
    pub fn take<A: Aggregate>(
        &self,
        stream: &StreamName,
        folded: &mut Folded<A>,
    ) -> Option<impl Future<Output = ()> + Send + use<A>> {
        let permit = self.writing.clone().try_acquire_owned().ok()?;
        let (version, last_id, last_at) = (folded.version?, folded.last_id?, folded.last_at?);
        let (state, window, beneath) = (folded.state.clone(), folded.window.all(), folded.beneath.clone());
        let older = folded.window.older().clone();
        folded.snapshot.version = Some(version);
        let bytes = folded.snapshot.bytes.clone();
        let (store, stream) = (self.store.clone(), stream.clone());
        Some(async move {
            let _permit = permit;
            if beneath.durable().await.is_err() {
                return; // Its events are lost, and so is the state.
            }
            // A large state takes tens of milliseconds to write down: not on a thread that serves requests.
            let written = tokio::task::spawn_blocking(move || {
                let older = older.kept();
                serde_json::to_string(&ContentRef { state: &*state, last_id, last_at, window: &window, older: &older })
            });
            let saved = match written.await {
                Ok(Ok(state)) => {
                    bytes.store(state.len(), Ordering::Relaxed);
                    store.save_snapshot(&stream, StreamSnapshot { version, schema: A::STATE_FORMAT, state }).await
                }
                Ok(Err(error)) => return tracing::warn!(%stream, %error, "a state cannot be written as a snapshot"),
                Err(error) => return tracing::warn!(%stream, %error, "writing a snapshot was given up"),
            };
            if let Err(error) = saved {
                tracing::warn!(%stream, %error, "a snapshot was not kept; the stream is read from its events");
            }
        })
    }
}

fn events_since_snapshot<A>(folded: &Folded<A>) -> u64 {
    let after = |version: Option<u64>| version.map_or(0, |version| version + 1);
    after(folded.version) - after(folded.snapshot.version)
}

fn fold<A: Aggregate>(folded: &mut Folded<A>, event: &RecordedEvent, now: Timestamp) -> Result<(), SendError> {
    let decoded = A::decode(&event.event_type, event.schema_version, event.data.get()).map_err(|error| {
        tracing::error!(stream = %event.stream, version = event.version, %error, "an event cannot be read");
        SendError::unavailable(format_args!(
            "version {} of `{}` cannot be read by this program: {error}",
            event.version, event.stream
        ))
    })?;
    folded.forget(now);
    Arc::make_mut(&mut folded.state).evolve(&decoded);
    folded.version = Some(event.version);
    folded.last_id = Some(event.id);
    folded.last_at = folded.last_at.max(Some(event.metadata.occurred_at));
    folded.beneath = Beneath::Durable(event.position);
    folded.window.read(event);
    Ok(())
}

pub(crate) fn unreadable(error: ReadError) -> SendError {
    tracing::error!(%error, "the log cannot be read");
    match error {
        ReadError::Damaged { path, position, what } => damaged(&path, format_args!("at position {position}: {what}")),
        ReadError::Unavailable { .. } => SendError::unavailable("the log cannot be read at the moment"),
    }
}

/// A log that is damaged, for a client: the path is for the operator, who has it in the log messages.
pub(crate) fn damaged(path: &str, what: impl std::fmt::Display) -> SendError {
    tracing::error!(log = path, %what, "the log is damaged");
    SendError::Damaged { detail: format!("the event log is damaged: {what}; an operator has to restore it") }
}
