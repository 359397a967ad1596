//! Failures on order, so that tests can see what the log does when the disk fails. Without an order they cost one
//! atomic read per commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, ffi};

/// What goes wrong next. For tests; a product leaves it alone. Clones share the order.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    before_commit: Arc<AtomicU32>,
    after_commit: Arc<AtomicU32>,
    syncs: Arc<AtomicU32>,
    reopens: Arc<AtomicU32>,
    panics: Arc<AtomicU32>,
    /// 0: no limit was ever ordered.
    pages: Arc<AtomicU32>,
}

impl Faults {
    /// The next `count` commits fail with a write error before anything of them is durable.
    pub fn fail_commits(&self, count: u32) {
        self.before_commit.store(count, Ordering::SeqCst);
    }

    /// The next `count` commits succeed on disk, but the writer is told that they failed: the answer is lost.
    pub fn lose_answers(&self, count: u32) {
        self.after_commit.store(count, Ordering::SeqCst);
    }

    /// The next commit fails in its sync.
    pub fn fail_sync(&self) {
        self.syncs.store(1, Ordering::SeqCst);
    }

    /// The writer meets a broken invariant in its next commit, and panics.
    pub fn break_invariant(&self) {
        self.panics.store(1, Ordering::SeqCst);
    }

    /// After a failed commit, opening the log anew fails so often.
    pub fn fail_reopens(&self, count: u32) {
        self.reopens.store(count, Ordering::SeqCst);
    }

    /// The log may have at most so many pages of 4 KiB: real `SQLITE_FULL` beyond it, as on a full disk.
    pub fn limit_to_pages(&self, pages: u32) {
        self.pages.store(pages, Ordering::SeqCst);
    }

    pub(super) fn limit_pages(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self.pages.load(Ordering::SeqCst) {
            0 => Ok(()),
            pages => connection.pragma_update(None, "max_page_count", pages),
        }
    }

    pub(super) fn before_commit(&self) -> rusqlite::Result<()> {
        assert!(!take(&self.panics), "an invariant was broken on order of a test");
        if take(&self.syncs) {
            return Err(failure(ffi::SQLITE_IOERR_FSYNC));
        }
        if take(&self.before_commit) { Err(failure(ffi::SQLITE_IOERR_WRITE)) } else { Ok(()) }
    }

    pub(super) fn reopen(&self) -> rusqlite::Result<()> {
        if take(&self.reopens) { Err(failure(ffi::SQLITE_CANTOPEN)) } else { Ok(()) }
    }

    pub(super) fn after_commit(&self) -> rusqlite::Result<()> {
        if take(&self.after_commit) { Err(failure(ffi::SQLITE_IOERR_WRITE)) } else { Ok(()) }
    }
}

fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("ordered by a test".to_owned()))
}
