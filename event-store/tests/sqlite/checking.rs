//! `check`, `backup`, `stats`: on a folder that is being served, too.

use std::fs;

use event_store::sqlite::{self, check};
use event_store::{Direction, EventStore, OpenError, Position, SqliteOptions, SqliteStore, StreamSnapshot};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fill, open, read_log, stream};

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
async fn what_has_seen_more_than_the_log_holds_is_told() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 6).await;
    let snapshot = |version| StreamSnapshot { version, schema: 1, state: "{}".to_owned() };
    store.save_snapshot(&stream("order-1"), snapshot(1)).await.unwrap();
    store.save_snapshot(&stream("saga_checkpoint-0"), snapshot(6)).await.unwrap();
    store.close().await;
    assert!(check(dir.path(), &mut |_, _| {}).unwrap().is_whole());
    let store = open(dir.path());
    store.save_snapshot(&stream("order-2"), snapshot(2)).await.unwrap();
    store.close().await;
    fs::write(dir.path().join("events.mark"), "7\n").unwrap();
    fs::write(dir.path().join("import.unfinished"), "").unwrap();
    let told = check(dir.path(), &mut |_, _| {}).unwrap();
    let told: Vec<&str> = told.problems.iter().map(|problem| &*problem.what).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("has seen position 7") && told[1].contains("has not ended"), "{told:?}");
    assert!(told[2].contains("`order-2` ends at version 1, but its snapshot has seen version 2"), "{told:?}");
}

#[tokio::test]
async fn an_index_that_does_not_fit_the_events_is_found_beside_a_server_too() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 60).await;
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.is_whole() && !report.structure, "SQLite's own check would hold up the server: {report:?}");
    store.close().await;
    assert!(check(dir.path(), &mut |_, _| {}).unwrap().structure);
    // An entry of the index is redirected to another event by swapping two bytes of its page.
    let path = dir.path().join("events.db");
    let file = Connection::open(&path).unwrap();
    let sql = "select rootpage from sqlite_schema where name = 'sqlite_autoindex_events_1'";
    let root = file.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    drop(file);
    let mut bytes = fs::read(&path).unwrap();
    let cell = (root - 1) * 4_096
        + usize::from(u16::from_be_bytes([bytes[(root - 1) * 4_096 + 8], bytes[(root - 1) * 4_096 + 9]]));
    // Length, length of header, three types, then stream, version and position; the first is (1, 0, 1).
    let last = cell + usize::from(bytes[cell]);
    bytes[last] ^= 0x1f;
    fs::write(&path, &bytes).unwrap();
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.problems.iter().any(|problem| problem.what.contains("index")), "{report:?}");
}

#[tokio::test]
async fn a_damaged_end_is_told_without_a_position_that_nobody_said() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 300).await;
    store.close().await;
    let path = dir.path().join("events.db");
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for page in 1..whole.len() / 4_096 {
        let mut bytes = whole.clone();
        bytes[page * 4_096..page * 4_096 + 12].fill(0xff);
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = SqliteStore::open(dir.path(), SqliteOptions::default()) {
            refused += 1;
            assert!(!error.to_string().contains("18446744073709551615"), "{error}");
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn a_folder_without_a_log_is_not_checked() {
    let dir = TempDir::new().unwrap();
    let refused = check(dir.path(), &mut |_, _| {});
    assert!(matches!(refused, Err(OpenError::Unusable { path, .. }) if path.contains("events.db")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
}
