//! What waits to be written, and the heads of streams with all of it counted in: where an append is accepted.
//!
//! *Invariant:* the order of the queue is the order of the log. Versions are given here, under one lock.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;

use lru::LruCache;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::port::StreamSnapshot;
use crate::{Append, AppendError, Appended, Epoch, Expected, NewEvent, Ticket};
use crate::{ReadError, StreamName};

/// Heads of idle streams kept in memory: at about 200 bytes each some 13 MB. A stream beyond costs one look-up.
const HEADS_CACHED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
/// Events that may wait: half a second of writing at the least speed we accept (30 k/s). Beyond: `Overloaded`.
const EVENTS_WAITING: usize = 16_384;
/// Bytes that may wait, so that large events cannot fill the memory.
const BYTES_WAITING: usize = 64 << 20;
/// Snapshots that may wait; they are short cuts, one more is refused without harm.
const SNAPSHOTS_WAITING: usize = 1_024;
/// Events in one commit: beyond about a thousand the speed no longer grows, only the wait does.
const EVENTS_PER_COMMIT: usize = 2_048;
/// Bytes in one commit, so that large events do not make one commit take seconds.
const BYTES_PER_COMMIT: usize = 4 << 20;
/// Evictions are counted per group of streams, so that a look-up can tell that it may have been overtaken.
const EVICTION_GROUPS: usize = 256;

/// An append that waits, its versions given.
pub(super) struct Pending {
    pub stream: StreamName,
    /// The stream's number in the file.
    pub key: i64,
    /// 0: the stream begins with it.
    pub first_version: u64,
    pub events: Vec<NewEvent>,
    pub bytes: usize,
    /// Its place among all appends of this process.
    pub sequence: u64,
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Pending {
    /// The version of its last event.
    pub fn last_version(&self) -> u64 {
        self.first_version + self.events.len() as u64 - 1
    }
}

/// A snapshot that waits.
pub(super) struct PendingSnapshot {
    pub stream: StreamName,
    pub snapshot: StreamSnapshot,
    pub reply: oneshot::Sender<Result<(), ReadError>>,
}

/// What the writer takes at once and commits at once.
#[derive(Default)]
pub(super) struct Group {
    pub appends: Vec<Pending>,
    pub snapshots: Vec<PendingSnapshot>,
}

impl Group {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.snapshots.is_empty()
    }
}

/// Where a stream stands, queued events counted in.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// The stream's number in the file; `None`: it has none yet.
    pub key: Option<i64>,
    /// The version of its last event.
    pub version: Option<u64>,
    /// Its events that are not durable: version, id, sequence of the append.
    queued: VecDeque<(u64, Uuid, u64)>,
}

impl Head {
    /// A head as read from the file.
    pub fn durable(key: Option<i64>, version: Option<u64>) -> Self {
        Self { key, version, queued: VecDeque::new() }
    }
}

/// Whether the log takes appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It does.
    Open,
    /// The disk refuses; why. The writer tries again by itself.
    Broken(String),
    /// What is stored is not what was written; what is wrong. Nothing is written any more.
    Damaged(String),
    /// The store is closing or closed.
    Closed,
}

/// What a look-up must know to be sure that it is not stale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    evictions: u64,
    epoch: Epoch,
}

/// The queued part of a stream from some version on, to compare a repeated append with.
pub(super) struct QueuedIds {
    /// Version and id, ascending.
    pub ids: Vec<(u64, Uuid)>,
    /// The append that must be settled before the answer; `None`: nothing of it is queued.
    pub sequence: Option<u64>,
    /// The version of the stream's last event; `None` also if its head is not in memory any more.
    pub actual: Option<u64>,
    pub epoch: Epoch,
}

/// What became of a submission.
pub(super) enum Submitted {
    /// It is queued.
    Queued(Ticket),
    /// The head is not in memory: read it and [`Queue::learn`] it.
    HeadUnknown(Append, Mark),
    /// The stream is elsewhere, at this version; the append may be a repetition.
    Behind(Append, Option<u64>),
}

pub(super) struct Queue {
    state: State,
    pub epoch: Epoch,
    appends: VecDeque<Pending>,
    snapshots: Vec<PendingSnapshot>,
    events: usize,
    bytes: usize,
    next_key: i64,
    next_sequence: u64,
    /// Streams with queued events: never evicted.
    pinned: HashMap<StreamName, Head>,
    idle: LruCache<StreamName, Head>,
    evictions: [u64; EVICTION_GROUPS],
}

impl Queue {
    /// An empty queue before a log whose streams have numbers below `next_key`.
    pub fn new(next_key: i64) -> Self {
        Self {
            state: State::Open,
            epoch: Epoch(0),
            appends: VecDeque::new(),
            snapshots: Vec::new(),
            events: 0,
            bytes: 0,
            next_key,
            next_sequence: 1,
            pinned: HashMap::new(),
            idle: LruCache::new(HEADS_CACHED),
            evictions: [0; EVICTION_GROUPS],
        }
    }

    /// Whether appends are taken.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What is closed stays closed, and what is damaged stays so until then.
    pub fn move_to(&mut self, state: State) {
        match self.state {
            State::Closed => {}
            State::Damaged(_) if state != State::Closed => {}
            State::Open | State::Broken(_) | State::Damaged(_) => self.state = state,
        }
    }

    /// Queues an append if it fits the stream's head. With `checked_at` an append at any version has been compared with
    /// the stream up to that version and is none of its events again. With `epoch` it is only for that one.
    pub fn submit(
        &mut self,
        append: Append,
        checked_at: Option<u64>,
        epoch: Option<Epoch>,
        path: &std::path::Path,
    ) -> Result<Submitted, AppendError> {
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return Err(AppendError::EpochEnded { stream: append.stream });
        }
        match &self.state {
            State::Open => {}
            State::Broken(reason) => return Err(unwritable(path, reason)),
            State::Damaged(what) => {
                return Err(AppendError::Damaged { path: path.display().to_string(), what: what.clone() });
            }
            State::Closed => return Err(unwritable(path, "it is closed")),
        }
        let (key, version) = match self.head(&append.stream) {
            Some(head) => (head.key, head.version),
            None => {
                let mark = Mark { evictions: self.evictions[group_of(&append.stream)], epoch: self.epoch };
                return Ok(Submitted::HeadUnknown(append, mark));
            }
        };
        let fits = match append.expected {
            Expected::NoStream => version.is_none(),
            Expected::Exact(expected) => version == Some(expected),
            Expected::Any => version.is_none() || version == checked_at,
        };
        if !fits {
            return Ok(Submitted::Behind(append, version));
        }
        let bytes = append.events.iter().map(NewEvent::size).sum::<usize>();
        if self.events + append.events.len() > EVENTS_WAITING || self.bytes + bytes > BYTES_WAITING {
            return Err(AppendError::Overloaded);
        }
        Ok(Submitted::Queued(self.push(append, key, version, bytes)))
    }

    fn push(&mut self, append: Append, key: Option<i64>, version: Option<u64>, bytes: usize) -> Ticket {
        let Append { stream, events, .. } = append;
        let key = key.unwrap_or_else(|| {
            self.next_key += 1;
            self.next_key - 1
        });
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let first_version = version.map_or(0, |version| version + 1);
        let last_version = first_version + events.len() as u64 - 1;
        let mut head = match self.pinned.remove(&stream) {
            Some(head) => head,
            None => self.idle.pop(&stream).unwrap_or_else(|| Head::durable(None, None)),
        };
        head.key = Some(key);
        head.version = Some(last_version);
        head.queued.extend((first_version..).zip(&events).map(|(version, event)| (version, event.id, sequence)));
        self.pinned.insert(stream.clone(), head);
        self.events += events.len();
        self.bytes += bytes;
        let (reply, answer) = oneshot::channel();
        let waiting_for = stream.clone();
        self.appends.push_back(Pending { stream, key, first_version, events, bytes, sequence, reply });
        Ticket::new(first_version, last_version, self.epoch, async move {
            // The writer answers every append that it takes; it drops one unanswered only when its thread dies.
            answer.await.unwrap_or(Err(AppendError::EpochEnded { stream: waiting_for }))
        })
    }

    fn head(&mut self, stream: &StreamName) -> Option<&Head> {
        match self.pinned.get(stream) {
            Some(head) => Some(head),
            None => self.idle.get(stream),
        }
    }

    /// Takes in a head that was read from the file after `mark` was given. It is dropped if an append may have overtaken
    /// the reading: the next submission asks for it again.
    pub fn learn(&mut self, stream: &StreamName, head: Head, mark: Mark) {
        let current = mark.epoch == self.epoch && self.evictions[group_of(stream)] == mark.evictions;
        if current && self.head(stream).is_none() {
            self.keep_idle(stream.clone(), head);
        }
    }

    fn keep_idle(&mut self, stream: StreamName, head: Head) {
        if let Some((evicted, _)) = self.idle.push(stream.clone(), head)
            && evicted != stream
        {
            self.evictions[group_of(&evicted)] += 1;
        }
    }

    /// The queued events of a stream from `from` on.
    pub fn queued_ids(&mut self, stream: &StreamName, from: u64) -> QueuedIds {
        let epoch = self.epoch;
        let actual = self.head(stream).and_then(|head| head.version);
        let queued = self.pinned.get(stream).map(|head| &head.queued);
        let found = queued.into_iter().flatten().filter(|(version, _, _)| *version >= from);
        let mut ids = Vec::new();
        let mut sequence = None;
        for (version, id, by) in found {
            ids.push((*version, *id));
            sequence = Some(*by);
        }
        QueuedIds { ids, sequence, actual, epoch }
    }

    /// Queues a snapshot behind the appends it stands on.
    pub fn push_snapshot(&mut self, snapshot: PendingSnapshot) -> bool {
        let room = self.state == State::Open && self.snapshots.len() < SNAPSHOTS_WAITING;
        if room {
            self.snapshots.push(snapshot);
        }
        room
    }

    /// Whether no append and no snapshot waits.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.snapshots.is_empty()
    }

    /// The next commit: the oldest appends within the bounds. Snapshots go only with the last of them, because one
    /// must never be durable without the events beneath it.
    pub fn take(&mut self, appends_max: usize) -> Group {
        let (mut events, mut bytes) = (0, 0);
        let mut count = 0;
        for pending in self.appends.iter().take(appends_max) {
            if count > 0
                && (events + pending.events.len() > EVENTS_PER_COMMIT || bytes + pending.bytes > BYTES_PER_COMMIT)
            {
                break;
            }
            events += pending.events.len();
            bytes += pending.bytes;
            count += 1;
        }
        let appends = self.appends.drain(..count).collect();
        self.events -= events;
        self.bytes -= bytes;
        let snapshots = if self.appends.is_empty() { std::mem::take(&mut self.snapshots) } else { Vec::new() };
        Group { appends, snapshots }
    }

    /// The group is durable: its streams may be evicted when nothing else of them waits.
    pub fn settle(&mut self, group: &Group) {
        for pending in &group.appends {
            let Some(head) = self.pinned.get_mut(&pending.stream) else { continue };
            while head.queued.front().is_some_and(|(_, _, sequence)| *sequence <= pending.sequence) {
                head.queued.pop_front();
            }
            if head.queued.is_empty()
                && let Some((stream, head)) = self.pinned.remove_entry(&pending.stream)
            {
                self.keep_idle(stream, head);
            }
        }
    }

    /// Ends the epoch: what waits is handed back unwritten, and every head is forgotten.
    pub fn end_epoch(&mut self, next_key: i64) -> Group {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.next_key = next_key;
        (self.events, self.bytes) = (0, 0);
        self.pinned.clear();
        self.idle.clear();
        Group { appends: self.appends.drain(..).collect(), snapshots: std::mem::take(&mut self.snapshots) }
    }

    /// The sequence of the last append accepted.
    pub fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }
}

/// The log refuses appends, and why.
pub(super) fn unwritable(path: &std::path::Path, reason: &str) -> AppendError {
    AppendError::Unwritable { path: path.display().to_string(), reason: reason.to_owned() }
}

fn group_of(stream: &StreamName) -> usize {
    crc32fast::hash(stream.as_str().as_bytes()) as usize % EVICTION_GROUPS
}
