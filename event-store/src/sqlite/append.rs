//! How an append gets into the queue: at once if the stream's head is in memory, after one look-up if not; and what a
//! repeated append is answered.

use std::path::Path;

use rusqlite::Connection;
use uuid::Uuid;

use super::queue::{Head, Submitted, unwritable};
use super::readers::Subject;
use super::{SqliteStore, reader};
use crate::port::{APPEND_BYTES, APPEND_EVENTS, EVENT_BYTES};
use crate::{Append, AppendError, Appended, Epoch, Expected, NewEvent, ReadError, StreamName, Ticket};

/// The largest version that an append may expect: with the events behind it it is still a number that SQLite has.
const LAST_VERSION: u64 = i64::MAX as u64 - APPEND_EVENTS as u64;
/// How far back an append at any version is compared (architecture: "the stream's last 4 096 events").
const LOOKED_BACK: u64 = 4_096;
/// How often a look-up may be overtaken by others before the caller is asked to try again.
const TRIES: usize = 64;

impl SqliteStore {
    /// Queues an append, or says what became of it when it was made before. Queueing itself does not wait: dropped at one of
    /// its waits, nothing was queued.
    pub(super) async fn submit(&self, append: Append, epoch: Option<Epoch>) -> Result<Ticket, AppendError> {
        check_size(&append)?;
        if self.shared.options.faults.is_contended(&append.stream) {
            let expected = append.expected.to_string();
            return Err(AppendError::Conflict { stream: append.stream, expected, actual: None });
        }
        let mut append = append;
        let mut checked_at = None;
        for _ in 0..TRIES {
            let submitted = self.shared.queue().submit(append, checked_at, epoch, &self.shared.path)?;
            append = match submitted {
                Submitted::Queued(ticket) => {
                    self.shared.wake.notify_one();
                    return Ok(ticket);
                }
                Submitted::HeadUnknown(append, mark) => {
                    let head = self.read_head(&append.stream).await?;
                    self.shared.queue().learn(&append.stream, head, mark);
                    append
                }
                Submitted::Behind(append, actual) => match append.expected {
                    Expected::NoStream => return self.repeated(&append, 0, actual).await,
                    // Beyond SQLite's largest number no event can stand, so it is no repetition either.
                    Expected::Exact(version) if version >= LAST_VERSION => return Err(conflict(append, actual)),
                    Expected::Exact(version) => return self.repeated(&append, version + 1, actual).await,
                    Expected::Any => match self.look_back(&append).await? {
                        LookedBack::Repeats(first_version) => {
                            return self.repeated(&append, first_version, actual).await;
                        }
                        LookedBack::NewAt(version) => {
                            checked_at = Some(version);
                            append
                        }
                    },
                },
            };
        }
        Err(AppendError::Overloaded)
    }

    /// Looks a head up in a thread of its own. It is one or two index pages, nearly always in memory; but where the disk
    /// stalls, the thread that runs requests must not stand still with it.
    async fn read_head(&self, stream: &StreamName) -> Result<Head, AppendError> {
        let name = stream.clone();
        let read = move |connection: &Connection, path: &Path| reader::head(connection, path, &name);
        let head = self.heads.run(Subject::Head(stream.clone()), read).await;
        self.shared.noted(head).map_err(|error| self.unread(&error))
    }

    /// The stream is not where the append expected it. If the append's events stand where it wanted them, it is a
    /// repetition and gets the first answer; else it is a conflict.
    async fn repeated(&self, append: &Append, first_version: u64, actual: Option<u64>) -> Result<Ticket, AppendError> {
        let stream = &append.stream;
        let last_version = first_version + append.events.len() as u64 - 1;
        let queued = self.shared.queue().queued_ids(stream, first_version);
        let durable = self.read_ids(stream, first_version, last_version).await.map_err(|error| self.unread(&error))?;
        let stands = |version: u64| {
            let queued = queued.ids.iter().find(|(at, _)| *at == version).map(|(_, id)| *id);
            queued.or_else(|| durable.iter().find(|(at, _, _)| *at == version).map(|(_, id, _)| *id))
        };
        let same = (first_version..).zip(&append.events).all(|(version, event)| stands(version) == Some(event.id));
        if !same {
            let (expected, actual) = (append.expected.to_string(), queued.actual.or(actual));
            return Err(AppendError::Conflict { stream: stream.clone(), expected, actual });
        }
        // What is durable already is answered at once. (That it is all durable is only known where nothing of it is queued.)
        if let (None, Some((version, _, position))) = (queued.sequence, durable.last())
            && *version == last_version
        {
            let appended = Appended { version: *version, position: *position };
            return Ok(Ticket::new(first_version, last_version, queued.epoch, std::future::ready(Ok(appended))));
        }
        let ids = append.events.iter().map(|event| event.id).collect();
        let answer = self.clone().first_answer(stream.clone(), first_version, ids, queued.sequence);
        Ok(Ticket::new(first_version, last_version, queued.epoch, answer))
    }

    /// Waits until the first append is settled and reads what became of it.
    async fn first_answer(
        self,
        stream: StreamName,
        first_version: u64,
        ids: Vec<Uuid>,
        sequence: Option<u64>,
    ) -> Result<Appended, AppendError> {
        let ended = AppendError::EpochEnded { stream: stream.clone() };
        if let Some(sequence) = sequence {
            let mut settled = self.shared.settled.subscribe();
            // An error means that the store is gone, and the first append with it.
            settled.wait_for(|settled| *settled >= sequence).await.map_err(|_| ended.clone())?;
        }
        let last_version = first_version + ids.len() as u64 - 1;
        let found = self.read_ids(&stream, first_version, last_version).await.map_err(|error| self.unread(&error))?;
        let whole = found.len() == ids.len() && found.iter().zip(&ids).all(|((_, found, _), id)| found == id);
        match found.last() {
            Some((version, _, position)) if whole => Ok(Appended { version: *version, position: *position }),
            Some(_) | None => Err(ended),
        }
    }

    async fn look_back(&self, append: &Append) -> Result<LookedBack, AppendError> {
        let stream = &append.stream;
        let first = append.events.first().map(|event| event.id);
        let queued = self.shared.queue().queued_ids(stream, 0);
        let Some(actual) = queued.actual else {
            return Ok(LookedBack::NewAt(u64::MAX)); // Forgotten meanwhile; no version equals this, it is asked again.
        };
        if let Some((version, _)) = queued.ids.iter().find(|(_, id)| Some(*id) == first) {
            return Ok(LookedBack::Repeats(*version));
        }
        let from = actual.saturating_sub(LOOKED_BACK - 1);
        let ids = self.read_ids(stream, from, actual).await.map_err(|error| self.unread(&error))?;
        let found = ids.iter().find(|(_, id, _)| Some(*id) == first);
        Ok(found.map_or(LookedBack::NewAt(actual), |(version, _, _)| LookedBack::Repeats(*version)))
    }

    async fn read_ids(
        &self,
        stream: &StreamName,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, Uuid, crate::Position)>, ReadError> {
        let stream = stream.clone();
        let subject = Subject::Ids(stream.clone());
        self.run(subject, move |connection, path| reader::ids(connection, path, &stream, from, to)).await
    }

    fn unread(&self, error: &ReadError) -> AppendError {
        if let ReadError::Damaged { path, position, what } = error {
            let what = format!("at position {position}: {what}");
            return AppendError::Damaged { path: path.clone(), what };
        }
        unwritable(&self.shared.path, &error.to_string())
    }
}

/// Whether an append at any version was made before.
enum LookedBack {
    /// Its first event stands at this version.
    Repeats(u64),
    /// It is not among the stream's last events up to this version.
    NewAt(u64),
}

fn conflict(append: Append, actual: Option<u64>) -> AppendError {
    AppendError::Conflict { stream: append.stream, expected: append.expected.to_string(), actual }
}

fn check_size(append: &Append) -> Result<(), AppendError> {
    let refused = |reason: String| AppendError::Refused { stream: append.stream.clone(), reason };
    if append.events.is_empty() || append.events.len() > APPEND_EVENTS {
        return Err(refused(format!("it has {} events, not 1 to {APPEND_EVENTS}", append.events.len())));
    }
    if let Some(event) = append.events.iter().find(|event| event.size() > EVENT_BYTES) {
        let (id, size) = (event.id, event.size());
        return Err(refused(format!("the event {id} has {size} bytes, more than {EVENT_BYTES}")));
    }
    let bytes = append.events.iter().map(NewEvent::size).sum::<usize>();
    if bytes > APPEND_BYTES {
        return Err(refused(format!("it has {bytes} bytes, more than {APPEND_BYTES}")));
    }
    Ok(())
}
