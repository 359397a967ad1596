//! Parked keys: what a projection could not apply, and waits for.
//!
//! A poisoned event (one that cannot be decoded, or whose rows the store refuses) parks its key: (projection, generation,
//! source stream). The rows of that stream stay where they are, its later events are not applied, and everything else
//! goes on. One row a parked key is stored beside the rows, with the version at which the stream stands still (in Postgres by
//! `table.rs`). No event is copied: the log is the queue, and a retry reads the stream from there on.
//!
//! *Invariant:* a key is parked, moved and freed in the transaction of the rows and the checkpoint.
//! *Invariant:* what was discarded stays so: whenever that version is read again, it is moved past.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_store::{Position, RecordedEvent, StreamName};
use uuid::Uuid;

use crate::projecting::changes::text;

/// So many keys are parked one by one. More are no longer the fault of some events but of the program or the database:
/// the read model stops. At some 500 bytes a key 5 MB.
pub const MOST_PARKED: usize = 10_000;

/// Why an event is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The program cannot decode it.
    Unreadable,
    /// The store refuses its rows.
    Refused,
}

impl Cause {
    /// The word in table and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }

    /// The cause of this word.
    pub(crate) fn stored(word: &str) -> Self {
        if word == "refused" { Self::Refused } else { Self::Unreadable }
    }
}

/// The event at which a stream stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its version: the next that the rows need.
    pub version: u64,
    /// Its position in the log.
    pub position: Position,
    /// The id of the event.
    pub event_id: Uuid,
    /// The type of the event, such as `SeatHeld`.
    pub event_type: String,
    /// The key by which its stream is assigned to a partition.
    pub partition_key: String,
    /// Why it is not applied.
    pub cause: Cause,
    /// What the program or the store says.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When the event occurred.
    pub occurred_at: DateTime<Utc>,
}

/// Who moves past an event, and why.
#[derive(Debug, Clone)]
pub struct Discarding {
    /// The operator who discards it.
    pub actor: String,
    /// The reason that the operator gives.
    pub reason: String,
    /// When it is discarded.
    pub at: DateTime<Utc>,
    /// The request: the same one again discards nothing more.
    pub request_id: Uuid,
}

/// Parked streams, and where they stand. Shared: what was told once stays as it was.
pub type Letters = Arc<HashMap<StreamName, Letter>>;

/// The parked streams of one projection, and its discarded events, as in the tables. Cheap to clone: what a batch that
/// does not commit has changed is dropped with its copy.
#[derive(Debug, Clone, Default)]
pub struct Parked {
    letters: Letters,
    discarded: Arc<HashMap<StreamName, BTreeSet<u64>>>,
    /// Parked, moved or freed since the last write.
    changed: HashSet<StreamName>,
}

impl Parked {
    /// Whether this stream is parked: its events are not to be applied.
    pub fn holds(&self, stream: &StreamName) -> bool {
        !self.letters.is_empty() && self.letters.contains_key(stream)
    }

    /// Whether this event was discarded: it is to be moved past.
    pub fn discards(&self, event: &RecordedEvent) -> bool {
        !self.discarded.is_empty()
            && self.discarded.get(&event.stream).is_some_and(|versions| versions.contains(&event.version))
    }

    /// The event at which a stream stands still.
    pub fn letter(&self, stream: &StreamName) -> Option<&Letter> {
        self.letters.get(stream)
    }

    /// All parked streams, each with the event that parks it.
    pub fn letters(&self) -> &Letters {
        &self.letters
    }

    /// Whether so many keys are parked that it cannot be the events.
    pub fn is_full(&self) -> bool {
        self.letters.len() >= MOST_PARKED
    }

    /// What was parked, or moved, since the last write.
    pub fn lately(&self) -> Vec<(StreamName, Letter)> {
        let letter =
            |stream| self.letters.get_key_value(stream).map(|(stream, letter)| (stream.clone(), letter.clone()));
        self.changed.iter().filter_map(letter).collect()
    }

    /// Parks a stream at this event.
    pub fn park(&mut self, event: &RecordedEvent, cause: Cause, error: &str) {
        let letter = Letter {
            version: event.version,
            position: event.position,
            event_id: event.id,
            event_type: text(&event.event_type),
            partition_key: text(&event.metadata.partition_key),
            cause,
            error: text(error),
            attempts: 1,
            occurred_at: event.metadata.occurred_at,
        };
        Arc::make_mut(&mut self.letters).insert(event.stream.clone(), letter);
        self.changed.insert(event.stream.clone());
    }

    /// Lets a stream go on, to be tried again; the event at which it stood. `None`: it is not parked.
    pub fn open(&mut self, stream: &StreamName) -> Option<Letter> {
        let letter = Arc::make_mut(&mut self.letters).remove(stream)?;
        self.changed.insert(stream.clone());
        Some(letter)
    }

    /// Parks a stream again as it was.
    pub fn keep(&mut self, stream: &StreamName, letter: Letter) {
        Arc::make_mut(&mut self.letters).insert(stream.clone(), letter);
    }

    /// Counts the attempt where a stream stands again where it stood.
    pub fn tried(&mut self, stream: &StreamName, before: &Letter) {
        if let Some(letter) = Arc::make_mut(&mut self.letters).get_mut(stream)
            && letter.version == before.version
        {
            letter.attempts = before.attempts.saturating_add(1);
        }
    }

    /// From now on the event at which a parked stream stands is moved past.
    pub fn discard(&mut self, stream: &StreamName, version: u64) {
        Arc::make_mut(&mut self.discarded).entry(stream.clone()).or_default().insert(version);
    }

    /// With these parked streams and discarded versions, as they are stored.
    pub(crate) fn stored(letters: HashMap<StreamName, Letter>, discarded: HashMap<StreamName, BTreeSet<u64>>) -> Self {
        Self { letters: Arc::new(letters), discarded: Arc::new(discarded), changed: HashSet::new() }
    }

    /// What is to be written: the streams that were freed, and those that were parked or moved.
    pub(crate) fn unwritten(&self) -> (Vec<&StreamName>, Vec<(&StreamName, &Letter)>) {
        let (parked, freed): (Vec<&StreamName>, Vec<&StreamName>) =
            self.changed.iter().partition(|stream| self.letters.contains_key(*stream));
        (freed, parked.into_iter().filter_map(|stream| self.letters.get_key_value(stream)).collect())
    }

    /// What has changed is written.
    pub(crate) fn written(&mut self) {
        self.changed.clear();
    }
}
