//! `check`, `backup`, `stats`: on a folder that is being served, too.

use std::fs;

use event_store::sqlite::{self, BackupError, BackupStep, check};
use event_store::{Direction, EventStore, OpenError, Position};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fill, open, read_log, stream, texts_of, write};

#[tokio::test]
async fn a_whole_log_is_found_whole_also_while_it_is_served() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 60).await;
    let mut seen = Vec::new();
    let report = check(dir.path(), &mut |done, all| seen.push((done, all))).unwrap();
    assert_eq!((report.events, report.streams, report.position), (60, 3, Position(60)));
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((seen[0], *seen.last().unwrap()), ((0, 60), (60, 60)));
    assert_eq!(sqlite::stats(dir.path()).unwrap().categories, store.stats().await.unwrap().categories);
    store.close().await;
    assert!(check(dir.path(), &mut |_, _| {}).unwrap().is_whole());
}

#[tokio::test]
async fn a_changed_log_is_found_out() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 60).await;
    store.close().await;
    for (sql, at, what) in [
        ("update events set data = '{\"number\":7}' where position = 20", 20, "checksum"),
        ("update events set actor = 'somebody' where position = 21", 21, "checksum"),
        ("update events set checksum = checksum + (1 << 40) where position = 22", 22, "chain"),
        ("delete from events where position = 23", 23, "missing"),
        ("delete from events where position between 30 and 39", 30, "missing up to 39"),
        ("update streams set name = 'order-x' where name = 'order-0'", 1, "checksum"),
        ("delete from streams where name = 'order-0'", 1, "missing"),
        ("update categories set events = 61", 0, "totals"),
        ("delete from events where position = 60", 0, "totals"),
    ] {
        let changed = TempDir::new().unwrap();
        let path = changed.path().join("events.db");
        fs::copy(dir.path().join("events.db"), &path).unwrap();
        let file = Connection::open(&path).unwrap();
        file.execute_batch(sql).unwrap();
        drop(file);
        let report = check(changed.path(), &mut |_, _| {}).unwrap();
        assert!(report.problem_count > 0, "{sql}");
        let first = &report.problems[0];
        assert!(first.position == Position(at) && first.what.contains(what), "{sql}: {first:?}");
    }
}

#[tokio::test]
async fn a_reader_of_a_changed_event_gets_an_error_that_names_it() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 600).await;
    store.close().await;
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    file.execute_batch("update events set data = '{}' where position = 20").unwrap();
    drop(file);
    let store = open(dir.path());
    let error = read_log(&store).await.unwrap_err().to_string();
    assert!(error.contains("events.db") && error.contains("position 20"), "{error}");
    let error = store.read_stream(&stream("order-1"), 0, Direction::Forward, 100).await.unwrap_err().to_string();
    assert!(error.contains("position 20"), "{error}");
    assert_eq!(store.read_stream(&stream("order-2"), 0, Direction::Forward, 100).await.unwrap().len(), 100);
    store.close().await;
}

#[tokio::test]
async fn a_backup_taken_while_the_log_is_written_is_whole_and_can_be_served() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    fill(&store, 300).await;
    let writer = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for version in 0..200 {
                    write(&store, &stream("payment-1"), version, 500).await.unwrap();
                }
            });
        })
    };
    let (from, to) = (dir.path().to_owned(), safe.path().join("monday.db"));
    let its_to = to.clone();
    let backup = move || {
        let mut verified = 0;
        let report = sqlite::backup(&from, &its_to, &mut |step, done, _| {
            if step == BackupStep::Verifying {
                verified = done;
            }
        });
        (report, verified)
    };
    let (report, verified) = tokio::task::spawn_blocking(backup).await.unwrap();
    let report = report.unwrap();
    writer.await.unwrap();
    assert!(report.is_whole() && report.events >= 300, "{report:?}");
    assert_eq!(verified, report.events);
    let log = texts_of(&read_log(&store).await.unwrap());
    store.close().await;
    assert_eq!(fs::read_dir(safe.path()).unwrap().count(), 1, "nothing but the backup is left");
    let restored = TempDir::new().unwrap();
    fs::copy(&to, restored.path().join("events.db")).unwrap();
    let store = open(restored.path());
    let copy = texts_of(&read_log(&store).await.unwrap());
    assert_eq!(copy.len() as u64, report.events);
    assert_eq!(copy, log[..copy.len()]);
    write(&store, &stream("order-7"), 0, 10).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_copies_no_damage() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 30).await;
    store.close().await;
    let to = dir.path().join("copy.db");
    fs::write(&to, "mine").unwrap();
    assert!(matches!(sqlite::backup(dir.path(), &to, &mut |_, _, _| {}), Err(BackupError::Exists(path)) if path == to));
    assert_eq!(fs::read_to_string(&to).unwrap(), "mine");
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    file.execute_batch("update events set data = '{}' where position = 20").unwrap();
    drop(file);
    let to = dir.path().join("other.db");
    let refused = sqlite::backup(dir.path(), &to, &mut |_, _, _| {});
    assert!(matches!(refused, Err(BackupError::Damaged(report)) if report.problem_count == 1));
    assert!(!to.exists());
}

#[test]
fn a_folder_without_a_log_is_not_checked() {
    let dir = TempDir::new().unwrap();
    let refused = check(dir.path(), &mut |_, _| {});
    assert!(matches!(refused, Err(OpenError::Unusable { path, .. }) if path.contains("events.db")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}
