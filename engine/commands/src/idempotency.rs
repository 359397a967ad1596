//! Idempotency: earlier requests are remembered, so that a command has its effect once and a repeat gets the first
//! answer.
//!
//! A command that appended is recognized by the metadata of its own events. It is remembered for a day ([`Window`],
//! kept in the snapshot), and where there are too many commands, by its position in the log ([`Older`]). A refusal, or
//! a command that had nothing to change, appended nothing: it is remembered in bounded memory ([`Answers`]) and decided
//! again after a restart.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;

use event_store::{Position, RecordedEvent};
use eventsourcing::Timestamp;
use futures_util::FutureExt as _;
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cache::Durable;
use crate::command::{Reply, SendError};
use crate::older::{self, Older};

/// How long a stream remembers a client's key, by the time of its events. Source: `architecture.md` §3 (Stripe prunes
/// after 24 h at the earliest).
const REMEMBERED: chrono::Duration = chrono::Duration::hours(24);

/// Commands of one stream that are remembered wholly, at some 150 bytes each: 10 MB. Beyond it the oldest are remembered by
/// where they stand in the log, at 16 bytes each, and looked up there.
const RECENT_MAX: usize = 65_536;

/// What one of those that are remembered wholly holds in memory, its places in two collections included.
const COMMAND_BYTES: usize = 256;

/// How many move there at once.
const MOVED_AT_ONCE: usize = 8_192;

/// Commands of one stream that are remembered by where they stand: 16 MB. With more than 12 keys a second on one stream, all
/// day long, the stream takes no further commands of clients until the oldest are a day old.
const OLDER_MAX: usize = 1_048_576;

/// Commands of one stream beyond which an operator is told: half of what there is room for.
const MANY: usize = (RECENT_MAX + OLDER_MAX) / 2;

/// Refusals and no-ops remembered at most, over all streams: at some 300 bytes 5 MB.
const ANSWERS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("16 384 is not 0");

/// A client's command that appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The id of the remembered command.
    pub command_id: Uuid,
    /// The hash of its body.
    pub hash: String,
    /// The version of its last event.
    pub version: u64,
    /// The position of its last event; `None` while that is not known to be durable.
    pub position: Option<Position>,
    /// When it was decided.
    pub at: Timestamp,
}

impl Remembered {
    /// The client's command that made an event of the log.
    fn by(event: &RecordedEvent) -> Option<Self> {
        let metadata = &event.metadata;
        Some(Self {
            command_id: metadata.command_id,
            hash: metadata.command_hash.clone()?,
            version: event.version,
            position: Some(event.position),
            at: metadata.occurred_at,
        })
    }
}

/// The record of an earlier command with the same id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There was no such command.
    No,
    /// The command appended events, which are durable.
    Done { version: u64, position: Position },
    /// The command appended events, which are not durable yet.
    InFlight,
    /// The id was used with another body.
    OtherBody,
}

/// The clients' commands of one stream in the last 24 h of its event time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    commands: HashMap<Uuid, Remembered>,
    // As they were appended, so the first is the oldest.
    recent: VecDeque<Uuid>,
    // Those that were not durable when last looked at.
    open: VecDeque<(Uuid, Durable)>,
    older: Older,
    // One of the older ones, as it was found in the log.
    recalled: Option<Remembered>,
}

impl Window {
    /// Looks up an earlier command with this id.
    pub fn find(&mut self, command_id: Uuid, hash: &str) -> Known {
        self.settle();
        let recalled = self.recalled.as_ref().filter(|command| command.command_id == command_id);
        match self.commands.get(&command_id).or(recalled) {
            None => Known::No,
            Some(command) if command.hash != hash => Known::OtherBody,
            Some(Remembered { version, position: Some(position), .. }) => {
                Known::Done { version: *version, position: *position }
            }
            Some(Remembered { position: None, .. }) => Known::InFlight,
        }
    }

    /// Makes room for one more. Only where there is none the clock alone says what is too old: of a stream without new events
    /// nothing would be forgotten otherwise.
    ///
    /// # Errors
    /// There is none; with the time until there is.
    pub fn room(&mut self, now: Timestamp) -> Result<(), chrono::Duration> {
        self.move_oldest();
        if self.recent.len() >= RECENT_MAX {
            self.forget(now);
            self.move_oldest();
        }
        if self.recent.len() < RECENT_MAX {
            return Ok(());
        }
        let oldest = self.older.oldest_until().or_else(|| Some(self.commands.get(self.recent.front()?)?.at));
        Err(oldest.map_or(REMEMBERED, |oldest| oldest + REMEMBERED - now))
    }

    /// Keeps the oldest by where they stand in the log, if there are too many to keep wholly.
    fn move_oldest(&mut self) {
        if self.recent.len() < RECENT_MAX || self.older.len() + MOVED_AT_ONCE > OLDER_MAX {
            return;
        }
        self.settle();
        let durable = |id: &&Uuid| self.commands.get(id).is_some_and(|command| command.position.is_some());
        let moved = self.recent.iter().take(MOVED_AT_ONCE).take_while(durable).count();
        let moved: Vec<Remembered> = self.recent.drain(..moved).filter_map(|id| self.commands.remove(&id)).collect();
        if let Some(until) = moved.iter().map(|command| command.at).max() {
            self.older.push(until, moved.iter().map(|command| (command.command_id, command.version)));
        }
    }

    /// The versions at which the events of an older command may stand; empty if it is remembered wholly or not at all.
    pub fn older_versions(&self, command_id: Uuid) -> Vec<u64> {
        if self.commands.contains_key(&command_id) { Vec::new() } else { self.older.versions(command_id) }
    }

    /// Takes in an event that may be an older command's. Whether it is.
    pub fn recall(&mut self, command_id: Uuid, event: &RecordedEvent) -> bool {
        self.recalled = Remembered::by(event).filter(|command| command.command_id == command_id);
        self.recalled.is_some()
    }

    /// How many are remembered, if that is worth an operator's attention.
    pub fn many(&self) -> Option<usize> {
        Some(self.recent.len() + self.older.len()).filter(|count| *count >= MANY)
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.recent.len() * COMMAND_BYTES + self.older.len() * older::ENTRY_BYTES
    }

    /// Remembers a command that is queued.
    pub fn queued(&mut self, command: Remembered, durable: Durable) {
        self.open.push_back((command.command_id, durable));
        self.insert(command);
    }

    /// Remembers the command that made an event of the log, if a client sent it.
    pub fn read(&mut self, event: &RecordedEvent) {
        let metadata = &event.metadata;
        if let Some(known) = self.commands.get_mut(&metadata.command_id) {
            (known.version, known.position) = (event.version, Some(event.position)); // A command's next event.
            return;
        }
        let Some(command) = Remembered::by(event) else { return };
        self.insert(command);
        self.move_oldest();
    }

    /// All that is remembered, the oldest first.
    pub fn all(&self) -> Vec<Remembered> {
        self.recent.iter().filter_map(|id| self.commands.get(id)).cloned().collect()
    }

    /// Those that are remembered by where they stand in the log.
    pub fn older(&self) -> &Older {
        &self.older
    }

    /// A window with these, the oldest first; all are durable, up to `position` at least.
    pub fn of(commands: Vec<Remembered>, older: Older, position: Position) -> Self {
        let mut window = Self { older, ..Self::default() };
        for mut command in commands {
            // A snapshot is kept when all in it is durable; what was not yet looked at again had its place by then.
            command.position.get_or_insert(position);
            window.insert(command);
        }
        window
    }

    fn insert(&mut self, command: Remembered) {
        self.recent.push_back(command.command_id);
        self.commands.insert(command.command_id, command);
    }

    /// Forgets those that are too old at `now`.
    pub fn forget(&mut self, now: Timestamp) {
        self.older.forget(now - REMEMBERED);
        self.recalled = self.recalled.take().filter(|command| command.at > now - REMEMBERED);
        while let Some(oldest) = self.recent.front().and_then(|id| self.commands.get(id)) {
            if oldest.at > now - REMEMBERED {
                return;
            }
            self.commands.remove(&oldest.command_id.clone());
            self.recent.pop_front();
        }
    }

    /// Notes the positions of those that have become durable since.
    fn settle(&mut self) {
        while let Some((command_id, durable)) = self.open.front() {
            // The request that waited for it may be gone: then nobody has looked whether it is done.
            let Some(Ok(appended)) = durable.clone().now_or_never() else { return };
            if let Some(command) = self.commands.get_mut(command_id) {
                command.position = Some(appended.position);
            }
            self.open.pop_front();
        }
    }
}

/// The answers to clients' commands that appended nothing, of all streams, the most recent ones. Only durable answers
/// come in here, so the end of an epoch takes nothing out.
#[derive(Debug)]
pub(crate) struct Answers {
    // Held for one look or write, never across an await.
    answers: Mutex<LruCache<Uuid, Answered>>,
}

/// The hash of the command's body, and the answer.
type Answered = (String, Result<Reply, SendError>);

impl Answers {
    pub fn new() -> Self {
        Self { answers: Mutex::new(LruCache::new(ANSWERS_MAX)) }
    }

    /// The first answer again, if the command is known.
    pub fn find(&self, command_id: Uuid, hash: &str) -> Option<Result<Reply, SendError>> {
        let mut answers = self.answers.lock();
        let (first_hash, answer) = answers.get(&command_id)?;
        if first_hash != hash {
            return Some(Err(SendError::KeyReused));
        }
        Some(match answer {
            Ok(reply) => Ok(Reply { replayed: true, ..*reply }),
            Err(error) => Err(error.clone().again()),
        })
    }

    /// Remembers an answer that has left, or is about to.
    pub fn keep(&self, command_id: Uuid, hash: &str, answer: &Result<Reply, SendError>) {
        let mut answers = self.answers.lock();
        answers.put(command_id, (hash.to_owned(), answer.clone()));
    }
}
