//! The condition of a served log: whether it can be read and written, whether it is intact, and whether there is room
//! for more.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use super::queue::State;
use super::readers::Subject;
use super::{Shared, SqliteStore, damage_note, reader};
use crate::port::{Direction, EventStore, Filter};
use crate::{Position, ReadError};

/// How long a commit may be under way before the log counts as hanging: a commit takes milliseconds.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);
/// Events that each look at the log verifies besides its end, so that damage is found that nobody has read yet: at one look a
/// second a log of a million events is read through in an hour and costs some milliseconds a second.
const VERIFIED_PER_PROBE: usize = 256;
/// A disk with so much room is never short, however small a share of the disk it is: a write-ahead log at its limit fits twice.
const ROOM_ENOUGH_BYTES: u64 = 2 * crate::config::WAL_LIMIT_BYTES;

/// The reason why a log does not work as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTrouble {
    /// The stored data differs from what was written. The condition does not pass by itself.
    Damaged(String),
    /// Nothing can be written: the disk is full, or the file does not exist any more.
    Unwritable(String),
    /// Reads or commits have had no answer for too long.
    Hanging(String),
    /// Commands of clients are refused until there is room; work that was begun goes on.
    Short(String),
}

impl fmt::Display for LogTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "the log is damaged: {what}"),
            Self::Unwritable(reason) => write!(f, "the log cannot be written: {reason}"),
            Self::Hanging(what) => write!(f, "the log does not answer: {what}"),
            Self::Short(what) => write!(f, "clients' commands are refused: {what}"),
        }
    }
}

/// Sizes of the files of a served log and of its disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogNumbers {
    /// Bytes of the write-ahead log that are in use.
    pub wal_bytes: u64,
    /// How long the restart of the write-ahead log has been overdue; zero while it is below the size at which it should
    /// restart.
    pub checkpoint_overdue: Duration,
    /// Bytes that are free on the disk for this user.
    pub disk_free_bytes: u64,
    /// Bytes of the whole disk.
    pub disk_bytes: u64,
}

/// The observations of a log's threads.
#[derive(Default)]
pub(super) struct Condition {
    damage: OnceLock<String>,
    // Held for a copy or a write of plain values, never while waiting.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The reason why the last commit failed; `None` if it succeeded.
    failing: Option<String>,
    committing_since: Option<Instant>,
    /// When the writer last reported progress; `None` during work that may take any time.
    writer_seen: Option<Instant>,
    overdue_since: Option<Instant>,
    numbers: LogNumbers,
    short: Option<Arc<str>>,
    /// Position up to which the events have been verified.
    verified: Position,
}

impl Condition {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock()
    }

    /// The known damage of the log, if there is any.
    pub fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Records that a commit begins.
    pub fn committing(&self) {
        let now = Some(Instant::now());
        let mut seen = self.seen();
        (seen.committing_since, seen.writer_seen) = (now, now);
    }

    /// Records that a commit has ended, with the reason if it failed.
    pub fn committed(&self, failed: Option<String>) {
        let mut seen = self.seen();
        (seen.committing_since, seen.failing) = (None, failed);
    }

    /// Records that the writer makes progress, about once a second also when there is nothing to write.
    pub fn writer_goes_on(&self) {
        self.seen().writer_seen = Some(Instant::now());
    }

    /// Records that the writer's next work may take any time: it opens a log, or it ends.
    pub fn writer_takes_its_time(&self) {
        self.seen().writer_seen = None;
    }

    /// Whether the last commit failed.
    pub fn is_failing(&self) -> bool {
        self.seen().failing.is_some()
    }

    /// Records the size of the write-ahead log, and whether its restart is overdue.
    pub fn wal(&self, bytes: u64, overdue: bool) {
        let mut seen = self.seen();
        seen.numbers.wal_bytes = bytes;
        seen.overdue_since = overdue.then(|| seen.overdue_since.unwrap_or_else(Instant::now));
    }

    /// Bytes of the write-ahead log that are in use.
    pub fn wal_bytes(&self) -> u64 {
        self.seen().numbers.wal_bytes
    }

    /// Whether the restart of the write-ahead log is overdue.
    pub fn is_overdue(&self) -> bool {
        self.seen().overdue_since.is_some()
    }

    /// How long the restart of the write-ahead log has been overdue.
    pub fn overdue(&self) -> Duration {
        self.seen().overdue_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The reason why clients' commands are refused at the moment.
    pub fn short(&self) -> Option<Arc<str>> {
        self.seen().short.clone()
    }
}

impl Shared {
    /// Records that the log is damaged: from now on nothing is written to it.
    pub(super) fn damaged(&self, what: &str) {
        if self.condition.damage.set(what.to_owned()).is_ok() {
            tracing::error!(
                log = %self.path.display(), what,
                "the log is damaged: nothing is written to it any more; stop, keep a copy of the folder, run `backstitch store check`"
            );
            self.queue().move_to(State::Damaged(what.to_owned()));
            damage_note::leave(&self.path, what);
        }
    }

    /// Records what a read has found out about the log.
    pub(super) fn noted<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if let Err(ReadError::Damaged { position, what, .. }) = &read {
            self.damaged(&format!("at position {position}: {what}"));
        }
        read
    }

    /// Looks at the disk and the write-ahead log; called about once a second.
    pub(super) fn look_for_room(&self) {
        let (free, all) = match self.options.faults.has_little_room() {
            true => (1, 1 << 30),
            false => room_of(&self.path),
        };
        let numbers = {
            let mut seen = self.condition.seen();
            seen.numbers.disk_free_bytes = free;
            seen.numbers.disk_bytes = all;
            seen.numbers
        };
        // Asks the system, so nothing is locked that commits and commands wait for.
        let short = self.shortage(&numbers);
        let mut seen = self.condition.seen();
        match (&seen.short, &short) {
            (None, Some(why)) => tracing::error!(log = %self.path.display(), why, "clients' commands are refused"),
            (Some(_), None) => tracing::info!(log = %self.path.display(), "clients' commands are taken again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        seen.short = short.map(Into::into);
    }

    fn shortage(&self, numbers: &LogNumbers) -> Option<String> {
        let (limit, percent) = (self.options.wal_limit_bytes, u64::from(self.options.min_free_percent));
        if numbers.wal_bytes > limit {
            self.options.faults.before_look();
            return Some(format!(
                "the write-ahead log has {} MB, more than the {} MB of `wal_limit_mb`; it cannot begin anew while it is read by: {}",
                numbers.wal_bytes >> 20,
                limit >> 20,
                self.files.other_readers()
            ));
        }
        let free = numbers.disk_free_bytes;
        is_nearly_full(free, numbers.disk_bytes, percent).then(|| {
            format!(
                "the disk of `{}` has {} MB left, less than 2 GiB and less than the {percent} % of `min_free_disk_percent`; free space",
                self.path.display(),
                free >> 20
            )
        })
    }
}

/// Whether a disk of `all` bytes (0: unknown) with `free` bytes left is too full for clients' commands.
fn is_nearly_full(free: u64, all: u64, percent: u64) -> bool {
    all > 0 && free < ROOM_ENOUGH_BYTES && free * 100 < all * percent
}

/// The free bytes and all bytes of a file's disk; zeros where the system does not know.
fn room_of(path: &std::path::Path) -> (u64, u64) {
    use std::os::unix::ffi::OsStrExt;
    let folder = path.parent().unwrap_or(path);
    let Ok(folder) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return (0, 0) };
    let mut said = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and `said` has room for what statvfs(3) writes; it is read only if it wrote.
    let said = unsafe {
        if libc::statvfs(folder.as_ptr(), said.as_mut_ptr()) != 0 {
            return (0, 0);
        }
        said.assume_init()
    };
    let block = said.f_frsize;
    (said.f_bavail.saturating_mul(block), said.f_blocks.saturating_mul(block))
}

impl SqliteStore {
    /// Examines whether the log works: whether the last commit succeeded and none hangs, whether a read of its end and
    /// of a further part is answered within `deadline`, and whether the events read are as they were written.
    ///
    /// # Errors
    /// [`LogTrouble`], the worst first.
    pub async fn examine(&self, deadline: Duration) -> Result<(), LogTrouble> {
        self.known_trouble()?;
        let read = tokio::time::timeout(deadline, self.verify_on()).await;
        match read {
            Ok(Ok(())) => {}
            Ok(Err(ReadError::Damaged { position, what, .. })) => {
                return Err(LogTrouble::Damaged(format!("at position {position}: {what}")));
            }
            Ok(Err(error @ ReadError::Unavailable { .. })) => return Err(LogTrouble::Hanging(error.to_string())),
            Err(_) => {
                let what = format!("a read of its last event had no answer within {} s", deadline.as_secs_f64());
                return Err(LogTrouble::Hanging(what));
            }
        }
        self.known_trouble()?;
        self.shared.condition.short().map_or(Ok(()), |why| Err(LogTrouble::Short(why.to_string())))
    }

    /// Checks for trouble that is known without reading.
    fn known_trouble(&self) -> Result<(), LogTrouble> {
        let shared = &self.shared;
        if let Some(what) = shared.condition.damage() {
            return Err(LogTrouble::Damaged(what.to_owned()));
        }
        if let Some(gone) = shared.files.gone() {
            return Err(LogTrouble::Unwritable(gone.reason().to_owned()));
        }
        if let State::Broken(reason) = shared.queue().state() {
            return Err(LogTrouble::Unwritable(reason.clone()));
        }
        let seen = shared.condition.seen();
        if let Some(reason) = &seen.failing {
            return Err(LogTrouble::Unwritable(format!("the last commit failed: {reason}")));
        }
        match seen.committing_since.map(|since| since.elapsed()) {
            Some(took) if took > COMMIT_WITHIN => {
                Err(LogTrouble::Hanging(format!("a commit has been under way for {} s", took.as_secs())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the end of the log, and the next part after the one that was verified before.
    async fn verify_on(&self) -> Result<(), ReadError> {
        let filter = Filter::default();
        self.read_all(Position(u64::MAX), Direction::Backward, 1, &filter).await?;
        let from = self.shared.condition.seen().verified;
        let rows = VERIFIED_PER_PROBE.min(reader::ROWS_PER_STATEMENT);
        let events = self.read_all(from, Direction::Forward, rows, &filter).await?;
        // From the beginning again once the end is reached.
        let next = events.last().filter(|_| events.len() == rows).map_or(Position::START, |last| last.position);
        self.shared.condition.seen().verified = next;
        Ok(())
    }

    /// How long the writing thread has made no progress. It reports progress about once a second, also when there is
    /// nothing to write; a restart helps if it never does again. Zero while it opens the log and once the store is
    /// closed.
    pub fn writer_silent_for(&self) -> Duration {
        self.shared.condition.seen().writer_seen.map_or(Duration::ZERO, |seen| seen.elapsed())
    }

    /// Sizes of the files and the disk, as observed within the last second.
    pub fn numbers(&self) -> LogNumbers {
        let condition = &self.shared.condition;
        let numbers = condition.seen().numbers;
        LogNumbers { checkpoint_overdue: condition.overdue(), ..numbers }
    }

    /// Carries out a read on one of the reading threads, and records what it has found out about the log.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        subject: Subject,
        read: impl FnOnce(&Connection, &Path) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        // On the reading thread, which may write the note, and also where nobody waits for the answer any more.
        self.readers.run(subject, move |connection, path| shared.noted(read(connection, path))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_by_its_share_and_by_what_is_left() {
        const GIB: u64 = 1 << 30;
        assert!(is_nearly_full(GIB, 100 * GIB, 10));
        assert!(!is_nearly_full(8 * GIB, 250 * GIB, 10), "8 GiB are enough, though 3 % of the disk");
        assert!(!is_nearly_full(GIB, 8 * GIB, 10), "an eighth of a small disk");
        assert!(!is_nearly_full(0, 100 * GIB, 0), "switched off");
        assert!(!is_nearly_full(0, 0, 10), "unknown");
    }
}
