//! Damage that is found while the log is served: from then on the files stay as they are, also over a stop and a start.

use std::fs;
use std::path::Path;

use event_store::sqlite::{self, Faults, check};
use event_store::{AppendError, OpenError, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fill, open, read_log, stream, write};

/// The note that damage was found.
const NOTE: &str = "events.damaged";

fn try_open(dir: &Path) -> Result<std::sync::Arc<SqliteStore>, OpenError> {
    SqliteStore::open(dir, SqliteOptions::default())
}

/// The payload of event 4 of [`fill`] changes wherever it stands in a file. Whether it stood there.
fn rot(path: &Path) -> bool {
    let (mut bytes, payload) = (fs::read(path).unwrap(), br#""number":1"#);
    let places: Vec<usize> = (0..bytes.len() - payload.len()).filter(|at| bytes[*at..].starts_with(payload)).collect();
    places.iter().for_each(|at| bytes[at + 9] ^= 0x04);
    // In place: a file that was replaced would be another fault.
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    places.iter().for_each(|at| _ = file.write_at(&bytes[*at..at + payload.len()], *at as u64).unwrap());
    !places.is_empty()
}

fn bytes_of(dir: &Path) -> [Vec<u8>; 2] {
    ["events.db", "events.db-wal"].map(|name| fs::read(dir.join(name)).unwrap_or_default())
}

#[tokio::test]
async fn a_log_that_was_found_damaged_is_left_as_it_is_by_the_stop_and_by_every_start() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 30).await;
    // All of it stands in the write-ahead log, whose checksums SQLite does not look at when it reads a page.
    assert!(rot(&dir.path().join("events.db-wal")));
    let met = read_log(&store).await.unwrap_err().to_string();
    assert!(met.contains("at position 4"), "{met}");
    assert!(fs::read_to_string(dir.path().join(NOTE)).unwrap().contains("position 4"), "it is noted at once");
    let before = bytes_of(dir.path());
    store.close().await;
    assert!(bytes_of(dir.path()) == before, "the stop writes nothing");
    for _ in 0..2 {
        let refused = try_open(dir.path()).err().expect("it is not served again").to_string();
        for word in ["position 4", "while it was served", NOTE, "store check"] {
            assert!(refused.contains(word), "{word}: {refused}");
        }
        assert!(bytes_of(dir.path()) == before, "a start writes nothing");
    }
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.problems.iter().any(|problem| problem.what.contains("events.db-wal")), "{report:?}");
    // Without the note, too, it is the write-ahead log that tells.
    fs::remove_file(dir.path().join(NOTE)).unwrap();
    assert!(matches!(try_open(dir.path()), Err(OpenError::Damaged { path, .. }) if path.contains("events.db-wal")));
}

#[tokio::test]
async fn damage_that_no_start_looks_at_prevents_the_start_once_it_was_found() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 600).await;
    store.close().await;
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    let whole: String = file.query_row("select data from events where position = 20", [], |row| row.get(0)).unwrap();
    file.execute_batch("update events set data = '{}' where position = 20").unwrap();
    drop(file);
    let store = open(dir.path()); // Nobody knows yet.
    assert!(read_log(&store).await.is_err());
    store.close().await;
    let refused = try_open(dir.path()).err().expect("it is not served again").to_string();
    assert!(refused.contains("position 20") && refused.contains(NOTE), "{refused}");
    // A copy has no note; what it copies it looks at.
    let to = TempDir::new().unwrap();
    let copied = sqlite::backup(dir.path(), &to.path().join("copy"), sqlite::Until::Now, &mut |_, _, _| {});
    assert!(copied.is_err(), "{copied:?}");
    // Mended and checked, it is the operator's word that counts.
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    file.execute("update events set data = ?1 where position = 20", [&whole]).unwrap();
    drop(file);
    // The tool was the only one that had the file open, and has merged the write-ahead log into it.
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert_eq!(report.problem_count, 1, "{report:?}");
    assert!(report.problems[0].what.contains("--accept-missing-wal"), "{report:?}");
    fs::remove_file(dir.path().join(NOTE)).unwrap();
    let merged = SqliteOptions { accept_missing_wal: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), merged).unwrap();
    assert_eq!(read_log(&store).await.unwrap().len(), 600);
    store.close().await;
    assert!(check(dir.path(), &mut |_, _| {}).unwrap().is_whole());
}

#[tokio::test]
async fn what_waits_when_damage_is_found_is_not_written() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store =
        SqliteStore::open(dir.path(), SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() }).unwrap();
    fill(&store, 30).await;
    let of = stream("order-9");
    write(&store, &of, 0, 1).await.unwrap(); // So that the next append is in the queue at once, without a look into the file.
    assert!(rot(&dir.path().join("events.db-wal")));
    // Somebody else holds the lock of writing, so that the commit waits.
    let other = Connection::open(dir.path().join("events.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let waiting = write(&store, &of, 1, 10);
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        done = &mut waiting => panic!("it cannot be written yet: {done:?}"),
        met = read_log(&store) => assert!(met.is_err()),
    }
    let before = bytes_of(dir.path());
    other.execute_batch("rollback").unwrap();
    drop(other);
    let refused = waiting.await.unwrap_err();
    assert!(matches!(refused, AppendError::EpochEnded { .. } | AppendError::Damaged { .. }), "{refused:?}");
    let again = write(&store, &of, 1, 10).await.unwrap_err();
    assert!(matches!(again, AppendError::Damaged { .. }), "{again:?}");
    store.close().await;
    assert!(bytes_of(dir.path()) == before, "nothing more is written to a damaged log");
}

#[tokio::test]
async fn the_note_without_a_log_shows_that_there_was_one_and_a_new_log_puts_it_aside() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(NOTE), "at position 4: a test\n").unwrap();
    assert!(matches!(try_open(dir.path()), Err(OpenError::Missing { .. })));
    let options = SqliteOptions { new_log: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    fill(&store, 3).await;
    store.close().await;
    assert!(!dir.path().join(NOTE).exists());
    let store = open(dir.path());
    assert_eq!(read_log(&store).await.unwrap().len(), 3);
    store.close().await;
}
