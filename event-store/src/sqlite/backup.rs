//! A copy of a log, taken while it is served, and verified.
//!
//! The copy is of one moment: the read that it holds open keeps that moment, so the write-ahead log of a served folder
//! grows by what is written meanwhile. The file is made under another name, verified event by event, synced, and renamed:
//! a backup that stands under its name is whole. To restore it, put it as `events.db` into an empty folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::check::{CheckReport, check_file};
use super::open;
use crate::OpenError;

/// Pages copied between two calls of `progress`: 16 MiB.
const PAGES_PER_STEP: i32 = 4_096;

/// Why there is no backup. Nothing stands under its name then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no log to copy.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// Something stands in its place.
    #[error("`{0}` exists already; give the backup another name")]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("the backup `{path}` cannot be written: {reason}; free space or give another place")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The copy is as damaged as the log itself.
    #[error("the log is damaged ({} problems), and so would be its backup; run `backstitch store check`", .0.problem_count)]
    Damaged(Box<CheckReport>),
}

/// What a backup is doing, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupStep {
    /// Copying pages.
    Copying,
    /// Verifying the copy's events.
    Verifying,
}

/// Copies the log of a folder, also one that another process serves, to a new file. `progress` is told the step, what is
/// done of it and how much it is (pages, then events). The report is that of the copy.
///
/// # Errors
/// [`BackupError`].
pub fn backup(
    dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(BackupStep, u64, u64),
) -> Result<CheckReport, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let path = dir.join(open::LOG_FILE);
    let source = open::open_to_read(&path)?;
    let mut draft_name = to.as_os_str().to_owned();
    draft_name.push(".new");
    let draft = PathBuf::from(draft_name);
    let copied = copy(&source, &draft, progress).and_then(|()| {
        let report = check_file(&draft, &mut |done, all| progress(BackupStep::Verifying, done, all))?;
        if report.is_whole() { Ok(report) } else { Err(BackupError::Damaged(Box::new(report))) }
    });
    let published = copied.and_then(|report| {
        publish(&draft, to).map_err(|error| unwritable(to, &error))?;
        Ok(CheckReport { path: to.display().to_string(), ..report })
    });
    if published.is_err() {
        remove(&draft);
    }
    published
}

fn copy(source: &Connection, draft: &Path, progress: &mut dyn FnMut(BackupStep, u64, u64)) -> Result<(), BackupError> {
    remove(draft);
    let failed = |error: rusqlite::Error| unwritable(draft, &error);
    // One read transaction around all steps keeps the moment; without it each commit of the server restarts the copy.
    let moment = source.unchecked_transaction().map_err(failed)?;
    moment.query_row("select count(*) from categories", [], |_| Ok(())).map_err(failed)?;
    let mut target = Connection::open(draft).map_err(failed)?;
    let copying = Backup::new(&moment, &mut target).map_err(failed)?;
    while copying.step(PAGES_PER_STEP).map_err(failed)? == StepResult::More {
        let done = copying.progress();
        let all = u64::try_from(done.pagecount).unwrap_or(0);
        progress(BackupStep::Copying, all.saturating_sub(u64::try_from(done.remaining).unwrap_or(0)), all);
    }
    Ok(())
}

fn publish(draft: &Path, to: &Path) -> std::io::Result<()> {
    File::open(draft)?.sync_all()?;
    for leftover in [open::wal_path(draft), open::shm_path(draft)] {
        // The verifying connection wrote nothing, so its write-ahead log is empty.
        let _ = fs::remove_file(leftover);
    }
    fs::rename(draft, to)?;
    match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

fn remove(draft: &Path) {
    for leftover in [draft.to_owned(), open::wal_path(draft), open::shm_path(draft)] {
        let _ = fs::remove_file(leftover); // Not there is what we want.
    }
}

fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> BackupError {
    BackupError::Unwritable { path: path.to_owned(), reason: error.to_string() }
}
