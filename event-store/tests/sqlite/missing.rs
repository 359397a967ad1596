//! A log that is not where it was, or not all of it: nothing is put in its place, and nothing that is left is removed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use event_store::sqlite::{self, BackupError, LogTrouble, Until, check};
use event_store::{AppendError, EventStore, OpenError, Position, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::{fill, open, read_log, stream, write};

/// A copy of a folder that is being served, as a kill would leave it.
fn copy_of(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// A folder whose server was killed after `commits` commits, all of them in the write-ahead log.
async fn killed(commits: u64) -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, commits).await;
    let copy = copy_of(dir.path());
    store.close().await;
    copy
}

fn try_open(dir: &Path, options: SqliteOptions) -> Result<Arc<SqliteStore>, OpenError> {
    SqliteStore::open(dir, options)
}

async fn length(store: &SqliteStore) -> usize {
    read_log(store).await.unwrap().len()
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_not_replaced_and_its_write_ahead_log_stays() {
    let dir = killed(30).await;
    let (log, wal, away) = (dir.path().join("events.db"), dir.path().join("events.db-wal"), dir.path().join("away"));
    fs::rename(&log, &away).unwrap();
    let before = fs::read(&wal).unwrap();
    let refused = try_open(dir.path(), SqliteOptions::default()).map(drop).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, OpenError::Missing { .. }), "{text}");
    assert!(text.contains("events.db-wal") && text.contains("--new-log") && text.contains("put `events.db`"), "{text}");
    assert_eq!(fs::read(&wal).unwrap(), before, "what is committed there is untouched");
    assert!(!log.exists(), "no empty log stands in its place");
    fs::rename(&away, &log).unwrap();
    let store = open(dir.path());
    assert_eq!(length(&store).await, 30);
    store.close().await;
}

#[tokio::test]
async fn each_trace_of_a_log_keeps_a_new_one_from_its_place_until_a_new_one_is_asked_for() {
    for trace in ["events.db-wal", "events.db-shm", "events.mark", "lock", "postgres"] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(trace), "12\n").unwrap();
        let options = || SqliteOptions { traces: vec![dir.path().join("postgres")], ..SqliteOptions::default() };
        let refused = try_open(dir.path(), options()).map(drop).unwrap_err().to_string();
        assert!(refused.contains(trace) && refused.contains("is missing"), "{trace}: {refused}");
        assert!(!dir.path().join("events.db").exists());
        let store = try_open(dir.path(), SqliteOptions { new_log: true, ..options() }).unwrap();
        assert_eq!(*store.head().borrow(), Position::START);
        store.close().await;
        let kept = fs::read_dir(dir.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(&format!("{trace}.before-")));
        assert_eq!(kept, trace.starts_with("events."), "{trace}: what may hold data is kept");
    }
}

#[tokio::test]
async fn a_creation_that_was_cut_short_is_done_again() {
    let dir = TempDir::new().unwrap();
    for left in ["lock", "events.db.new", "events.db.new-wal"] {
        fs::write(dir.path().join(left), "").unwrap();
    }
    open(dir.path()).close().await;
    assert!(!dir.path().join("events.db.new-wal").exists());
}

#[tokio::test]
async fn a_folder_in_which_no_log_could_be_made_shows_no_trace_of_one() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("events.db.new")).unwrap(); // Nothing can be made under this name.
    try_open(dir.path(), SqliteOptions::default()).map(drop).unwrap_err();
    assert!(!dir.path().join("lock").exists());
    fs::remove_dir(dir.path().join("events.db.new")).unwrap();
    open(dir.path()).close().await;
}

#[tokio::test]
async fn a_log_that_is_moved_away_while_it_is_served_takes_nothing_more_until_it_is_back() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 3).await;
    let (log, away) = (dir.path().join("events.db"), dir.path().join("away"));
    assert_eq!(store.examine(BOUND).await, Ok(()));
    fs::rename(&log, &away).unwrap();
    let trouble = store.examine(BOUND).await.unwrap_err();
    assert!(matches!(&trouble, LogTrouble::Unwritable(what) if what.contains("moved away")), "{trouble}");
    let refused = write(&store, &stream("order-9"), 0, 10).await;
    assert!(refused.is_err(), "a commit would go where nobody looks for it: {refused:?}");
    // Another log in its place is not taken for it.
    fs::copy(&away, &log).unwrap();
    let refused = write(&store, &stream("order-9"), 0, 10).await;
    assert!(
        matches!(&refused, Err(AppendError::Unwritable { reason, .. }) if reason.contains("another file")
        || reason.contains("moved away")),
        "{refused:?}"
    );
    assert_eq!(length(&store).await, 3, "reading goes on");
    fs::rename(&away, &log).unwrap();
    let mut epoch = store.epoch();
    while write(&store, &stream("order-9"), 0, 10).await.is_err() {
        epoch.changed().await.unwrap(); // It is opened again by itself.
    }
    assert_eq!(store.examine(BOUND).await, Ok(()));
    store.close().await;
    let store = open(dir.path());
    assert_eq!(length(&store).await, 4);
    store.close().await;
}

#[tokio::test]
async fn what_was_committed_survives_the_removal_of_the_write_ahead_log_under_the_server() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 30).await;
    fs::remove_file(dir.path().join("events.db-wal")).unwrap();
    assert!(matches!(store.examine(BOUND).await, Err(LogTrouble::Unwritable(_))));
    assert!(write(&store, &stream("order-9"), 0, 10).await.is_err());
    store.close().await;
    let store = open(dir.path());
    assert_eq!(length(&store).await, 30);
    store.close().await;
}

#[tokio::test]
async fn a_copy_of_a_served_log_without_its_write_ahead_log_is_always_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 5).await;
    store.close().await;
    let store = open(dir.path());
    for version in 0..20 {
        write(&store, &stream("payment-1"), version, 100).await.unwrap();
    }
    for with_mark in [false, true] {
        let copy = TempDir::new().unwrap();
        let names: &[&str] = if with_mark { &["events.db", "events.mark"] } else { &["events.db"] };
        for name in names {
            fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let at = copy.path();
        let report = check(at, &mut |_, _| {}).unwrap();
        assert!(report.problems.iter().any(|problem| problem.what.contains("write-ahead log")), "{report:?}");
        let to = TempDir::new().unwrap();
        let made = sqlite::backup(at, &to.path().join("copy"), Until::Now, &mut |_, _, _| {});
        assert!(matches!(made, Err(BackupError::Source(OpenError::WalMissing { .. }))), "{made:?}");
        for _ in 0..2 {
            let refused = try_open(at, SqliteOptions::default()).map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::WalMissing { .. }), "{refused}");
        }
        let store = try_open(at, SqliteOptions { accept_missing_wal: true, ..SqliteOptions::default() }).unwrap();
        assert_eq!(length(&store).await, 5, "the operator has said so");
        store.close().await;
        open(at).close().await;
    }
    store.close().await;
    let copy = TempDir::new().unwrap();
    fs::copy(dir.path().join("events.db"), copy.path().join("events.db")).unwrap();
    let store = open(copy.path());
    assert_eq!(length(&store).await, 25, "after a clean stop the file has all of it");
    store.close().await;
}

#[tokio::test]
async fn a_server_that_is_killed_before_its_first_commit_starts_again() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).close().await;
    let store = open(dir.path());
    let killed = copy_of(dir.path());
    store.close().await;
    for _ in 0..2 {
        let store = open(killed.path());
        let again = copy_of(killed.path());
        store.close().await;
        open(again.path()).close().await;
    }
}

#[tokio::test]
async fn the_clean_stop_of_an_earlier_release_is_believed() {
    // An earlier release leaves the row of a server that was killed before, writes its mark, and takes the empty write-ahead
    // log away.
    let dir = killed(5).await;
    let file = rusqlite::Connection::open(dir.path().join("events.db")).unwrap();
    file.execute_batch("pragma wal_checkpoint(truncate)").unwrap();
    drop(file);
    fs::write(dir.path().join("events.mark"), "5\n").unwrap();
    let store = open(dir.path());
    assert_eq!(length(&store).await, 5);
    store.close().await;
}

/// How long a read may take: these are some events in memory.
const BOUND: std::time::Duration = std::time::Duration::from_secs(60);
