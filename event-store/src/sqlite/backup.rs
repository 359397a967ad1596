//! Backup: a copy of a log, taken while it is served and verified. It is a new folder, ready to be served.
//!
//! Events are read page by page and written unchanged, with the same checksums, so no read is open for long and the
//! write-ahead log of a served folder can restart meanwhile. The folder is made under another name, verified event by
//! event, synced, and renamed: a folder under the name of the backup is complete. It ends between two appends: with the
//! last event when it began, or at the position or moment that was asked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::LogFile;
use super::check::{CheckReport, check_file};
use super::load::{LoadError, Loader};
use super::open;
use crate::envelope::Timestamp;
use crate::{OpenError, Position, ReadError};

/// The reason why a backup failed. No folder has the backup's name then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no log to copy.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The log cannot be read: it would be copied with its damage.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A file or folder with the backup's name exists already.
    #[error("`{0}` exists already; give the backup another name")]
    Exists(PathBuf),
    /// The log had no event at that position or moment yet.
    #[error("nothing was written by then: the log goes from position 1 to {0}")]
    Nothing(Position),
    /// The copy cannot be written.
    #[error("the backup `{path}` cannot be written: {reason}; free space or give another place")]
    Unwritable {
        /// Path of the folder.
        path: PathBuf,
        /// The system's description of the error.
        reason: String,
    },
    /// The copy differs from what was written.
    #[error("the copy has {} problems: the disk did not keep what was written, or the log is damaged", .0.problem_count)]
    Damaged(Box<CheckReport>),
}

/// The end of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The last event of the log when the backup begins.
    Now,
    /// The event at this position, or one before it where an append would be cut in two.
    Position(Position),
    /// The last append that was written at or before this moment.
    Moment(Timestamp),
}

/// The phase of a backup, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupStep {
    /// The events are being copied.
    Copying,
    /// The events of the copy are being verified.
    Verifying,
}

/// The result of a backup.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BackedUp {
    /// Path of the new folder.
    pub folder: String,
    /// Position of the log's last event when the backup began.
    pub log_position: Position,
    /// When the store wrote the last event of the copy.
    pub last_recorded_at: Option<Timestamp>,
    /// Number of snapshots that were copied; those that do not fit are left out.
    pub snapshots: u64,
    /// The report of the check of the copy.
    #[serde(flatten)]
    pub report: CheckReport,
}

/// Copies the log of a folder, also one that another process serves, to a new folder. `progress` gets the phase, the
/// events that are done and the number of events in the phase.
///
/// # Errors
/// [`BackupError`].
pub fn backup(
    dir: &Path,
    to: &Path,
    until: Until,
    progress: &mut dyn FnMut(BackupStep, u64, u64),
) -> Result<BackedUp, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let log = LogFile::open(dir)?;
    let head = log.head()?;
    let end = match until {
        Until::Now => head,
        Until::Position(position) => log.whole_appends(position.min(head))?,
        Until::Moment(moment) => log.whole_appends(log.last_at(moment)?)?,
    };
    if end == Position::START && until != Until::Now {
        return Err(BackupError::Nothing(head));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    let draft = PathBuf::from(name);
    let made = make(&log, &draft, end, progress).and_then(|(report, snapshots)| {
        let last_recorded_at = log.event(end)?.map(|event| event.recorded_at);
        let published = fs::rename(&draft, to).and_then(|()| sync_folder_of(to));
        published.map_err(|error| unwritable(to, &error))?;
        let report = CheckReport { path: to.join(open::LOG_FILE).display().to_string(), ..report };
        Ok(BackedUp { folder: to.display().to_string(), log_position: head, last_recorded_at, snapshots, report })
    });
    if made.is_err() {
        remove(&draft);
    }
    made
}

fn make(
    log: &LogFile,
    draft: &Path,
    end: Position,
    progress: &mut dyn FnMut(BackupStep, u64, u64),
) -> Result<(CheckReport, u64), BackupError> {
    remove(draft); // What an interrupted backup left.
    let of_load = |error: LoadError| unwritable(draft, &error);
    let mut copy = Loader::open(draft).map_err(|error| unwritable(draft, &error))?;
    while copy.position() < end {
        progress(BackupStep::Copying, copy.position().0, end.0);
        for event in log.page(copy.position(), end)? {
            copy.push(event).map_err(of_load)?;
        }
    }
    copy.flush().map_err(of_load)?;
    let (mut snapshots, mut after) = (0, String::new());
    loop {
        let (page, last) = log.snapshots(&after)?;
        for (stream, snapshot) in &page {
            snapshots += u64::from(copy.snapshot(stream, snapshot).map_err(of_load)?);
        }
        copy.flush().map_err(of_load)?;
        let Some(last) = last else { break };
        after = last;
    }
    copy.finish().map_err(of_load)?;
    let report = check_file(&draft.join(open::LOG_FILE), &mut |done, all| progress(BackupStep::Verifying, done, all))?;
    if report.is_whole() && report.position == end {
        Ok((report, snapshots))
    } else {
        Err(BackupError::Damaged(Box::new(report)))
    }
}

/// Makes the file names in the folder of a file durable.
pub(super) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

/// Removes an unfinished backup: the files that a backup makes, and the folder if nothing else is in it.
fn remove(draft: &Path) {
    let log = draft.join(open::LOG_FILE);
    let files = [open::wal_path(&log), open::shm_path(&log), log];
    let others = ["lock", "events.mark", "import.unfinished"].map(|name| draft.join(name));
    for file in files.into_iter().chain(others) {
        let _ = fs::remove_file(file); // Not there is what we want.
    }
    let _ = fs::remove_dir(draft); // As above; what is not ours stays, and the next backup fails by name.
}

fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> BackupError {
    BackupError::Unwritable { path: path.to_owned(), reason: error.to_string() }
}
