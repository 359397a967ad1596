//! Failures on order, so that tests can see what the log does when the disk fails. Without an order they cost one
//! atomic read per commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ffi};
use tokio::sync::watch;

use crate::StreamName;

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
    conflicts: Arc<AtomicU32>,
    little_room: Arc<AtomicBool>,
    contended: Arc<Mutex<String>>,
    cut: Arc<Cut>,
    reads: Arc<Gate>,
    looks: Arc<Gate>,
    commits: Arc<Gate>,
}

/// Where threads stand still on order.
#[derive(Debug, Default)]
struct Gate {
    /// Looked at first, so that a product pays for one atomic read.
    ordered: AtomicBool,
    stalled: Mutex<bool>,
    moved: Condvar,
    /// Threads that stand still.
    standing: AtomicU32,
}

impl Gate {
    fn close(&self) {
        self.ordered.store(true, Ordering::SeqCst);
        *self.stalled.lock() = true;
    }

    fn open(&self) {
        *self.stalled.lock() = false;
        self.moved.notify_all();
    }

    fn pass(&self) {
        if self.ordered.load(Ordering::Relaxed) {
            let mut stalled = self.stalled.lock();
            self.standing.fetch_add(1, Ordering::SeqCst);
            while *stalled {
                self.moved.wait(&mut stalled);
            }
            self.standing.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Where the log is cut off, as if the process died there.
#[derive(Debug, Default)]
struct Cut {
    /// Appends until then; 0: none is ordered.
    left: AtomicU64,
    /// Whether the last of them is already lost.
    before: AtomicBool,
    made: watch::Sender<bool>,
}

impl Faults {
    /// After the next `appends` appends nothing more is durable, and of the last of them nobody is told: the writer stands
    /// still until the store closes, and leaves the files as a kill would. Until then each commit has one append.
    pub fn cut_after(&self, appends: u64) {
        self.order_cut(appends, false);
    }

    /// As [`Self::cut_after`], but the last of them is not durable and all before it are told: the latest moment before it.
    pub fn cut_before(&self, appends: u64) {
        self.order_cut(appends, true);
    }

    /// No cut any more: for the store that is opened next.
    pub fn no_cut(&self) {
        self.order_cut(0, false);
    }

    /// Becomes true when the log is cut off.
    pub fn cut(&self) -> watch::Receiver<bool> {
        self.cut.made.subscribe()
    }

    /// No read is answered from now on, as if the disk did not answer.
    pub fn stall_reads(&self) {
        self.reads.close();
    }

    /// The system does not say from now on which processes read the log.
    pub fn stall_looks(&self) {
        self.looks.close();
    }

    /// The next commit has no end, as if the thread that writes hung.
    pub fn stall_commits(&self) {
        self.commits.close();
    }

    /// Lets stalled commits continue.
    pub fn resume_commits(&self) {
        self.commits.open();
    }

    /// Whether the system is being asked which processes read the log, and does not answer.
    pub fn look_stands_still(&self) -> bool {
        self.looks.standing.load(Ordering::SeqCst) > 0
    }

    /// Reads are answered again, and what the system is asked.
    pub fn resume_reads(&self) {
        self.reads.open();
        self.looks.open();
    }

    /// Waits while reads stand still.
    pub(super) fn before_read(&self) {
        self.reads.pass();
    }

    /// Waits while the system does not say who reads.
    pub(super) fn before_look(&self) {
        self.looks.pass();
    }

    fn order_cut(&self, appends: u64, before: bool) {
        self.cut.made.send_replace(false);
        self.cut.before.store(before, Ordering::SeqCst);
        self.cut.left.store(appends, Ordering::SeqCst);
    }

    /// The next `count` appends to a stream find that somebody else wrote first.
    pub fn contend(&self, stream: &str, count: u32) {
        stream.clone_into(&mut self.contended.lock());
        self.conflicts.store(count, Ordering::SeqCst);
    }

    pub(super) fn is_contended(&self, stream: &StreamName) -> bool {
        self.conflicts.load(Ordering::Relaxed) > 0 && *self.contended.lock() == stream.as_str() && take(&self.conflicts)
    }

    pub(super) fn cut_is_ordered(&self) -> bool {
        self.cut.left.load(Ordering::Relaxed) > 0
    }

    /// Whether the log ends before this append.
    pub(super) fn cuts_before(&self) -> bool {
        self.cut.before.load(Ordering::SeqCst) && self.cut.left.load(Ordering::SeqCst) == 1
    }

    /// An append is durable. Whether the log ends with it.
    pub(super) fn cuts_after(&self) -> bool {
        self.cut.left.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// The writer stands still from here on.
    pub(super) fn cut_made(&self) {
        self.cut.made.send_replace(true);
    }

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

    /// Whether the disk seems to be nearly full.
    pub fn little_room(&self, little: bool) {
        self.little_room.store(little, Ordering::SeqCst);
    }

    pub(super) fn has_little_room(&self) -> bool {
        self.little_room.load(Ordering::SeqCst)
    }

    pub(super) fn limit_pages(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self.pages.load(Ordering::SeqCst) {
            0 => Ok(()),
            pages => connection.pragma_update(None, "max_page_count", pages),
        }
    }

    pub(super) fn before_commit(&self) -> rusqlite::Result<()> {
        self.commits.pass();
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
