//! Makes a new log, unless the folder shows that there was one before.
//!
//! *Invariant:* nothing that may hold committed data is removed, and no empty log is put in the place of one that is missing.
//!
//! The file is made under another name and renamed: a log is whole or not there. So what a broken creation leaves has the
//! name of the draft, and can be removed; anything else in the folder is a trace of a log.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;

use super::checkpoint::PAGE_BYTES;
use super::load::UNFINISHED;
use super::open::{MARK_FILE, of_sqlite, shm_path, truncate_wal, unusable, wal_path};
use super::schema::{APPLICATION_ID, CREATE, FORMAT};
use super::{SqliteOptions, damage_note};
use crate::OpenError;

/// The log while it is being made.
const DRAFT: &str = "events.db.new";

/// Makes the log of a folder that has none.
///
/// # Errors
/// [`OpenError::Missing`] if there was one; what the system says.
pub(super) fn create(dir: &Path, path: &Path, lock_was_there: bool, options: &SqliteOptions) -> Result<(), OpenError> {
    let draft = dir.join(DRAFT);
    // A creation or an import that was cut short has left the lock, too.
    let begun = draft.exists() || dir.join(UNFINISHED).exists();
    let left = [wal_path(path), shm_path(path), dir.join(MARK_FILE), dir.join(damage_note::FILE)];
    let left: Vec<PathBuf> = left.into_iter().filter(|path| path.exists()).collect();
    if options.new_log {
        move_aside(&left)?;
    } else {
        let traces = left.iter().chain(options.traces.iter().filter(|path| path.exists()));
        let mut traces: Vec<String> = traces.map(|path| format!("`{}`", path.display())).collect();
        if lock_was_there && !begun {
            traces.push(format!("the lock file of a server in `{}`", dir.display()));
        }
        if !traces.is_empty() {
            let traces = format!("{} would not be there otherwise", traces.join(", "));
            return Err(OpenError::Missing { path: path.display().to_string(), traces });
        }
    }
    for leftover in [draft.clone(), wal_path(&draft), shm_path(&draft)] {
        match fs::remove_file(&leftover) {
            Ok(()) => tracing::warn!(file = %leftover.display(), "removed what a broken creation left"),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(&leftover, &error)),
        }
    }
    build(&draft).map_err(|error| of_sqlite(&draft, &error))?;
    let publish = || {
        File::open(&draft)?.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(dir)?.sync_all()
    };
    publish().map_err(|error| unusable(path, &error))
}

fn build(draft: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(draft)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(CREATE)?;
    truncate_wal(&connection)
}

/// Gives what is left of another log a name under which nobody looks for it. It may hold committed data.
fn move_aside(left: &[PathBuf]) -> Result<(), OpenError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for path in left {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".before-{now}"));
        fs::rename(path, &name).map_err(|error| unusable(path, &error))?;
        tracing::warn!(file = %path.display(), kept = %PathBuf::from(name).display(), "kept what is left of another log");
    }
    Ok(())
}
