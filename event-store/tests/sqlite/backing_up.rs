//! `backup`: a folder to serve, of one moment, while the log is written.

use std::fs;
use std::path::Path;

use event_store::conformance::event;
use event_store::envelope::Timestamp;
use event_store::sqlite::{self, BackedUp, BackupError, BackupStep, Until, check};
use event_store::{Append, EventStore, Expected, Position, ReadError, SqliteStore, StreamSnapshot};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fill, open, read_log, stream, texts_of, write};

fn backup(from: &Path, to: &Path, until: Until) -> Result<BackedUp, BackupError> {
    sqlite::backup(from, to, until, &mut |_, _, _| {})
}

/// What a folder holds, read as a server would.
async fn events_in(dir: &Path) -> Vec<String> {
    let store = open(dir);
    let texts = texts_of(&read_log(&store).await.unwrap());
    store.close().await;
    texts
}

async fn append(store: &SqliteStore, name: &str, first: u64, count: u64) -> Position {
    let of = stream(name);
    let events = (first..first + count).map(|number| event(&of, number, 20)).collect();
    let append = Append { stream: of, expected: Expected::at(first.checked_sub(1)), events };
    store.append(append).await.unwrap().durable().await.unwrap().position
}

#[tokio::test]
async fn a_backup_taken_while_the_log_is_written_is_whole_and_can_be_served() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    fill(&store, 300).await;
    let writer = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                for version in 0..200 {
                    write(&store, &stream("payment-1"), version, 500).await.unwrap();
                }
            });
        })
    };
    let (from, to) = (dir.path().to_owned(), safe.path().join("monday"));
    let its_to = to.clone();
    let made = tokio::task::spawn_blocking(move || {
        let mut verified = 0;
        let made = sqlite::backup(&from, &its_to, Until::Now, &mut |step, done, _| {
            if step == BackupStep::Verifying {
                verified = done;
            }
        });
        (made.unwrap(), verified)
    });
    let (made, verified) = made.await.unwrap();
    writer.await.unwrap();
    assert!(made.report.is_whole() && made.report.structure && made.report.events >= 300, "{made:?}");
    assert_eq!((verified, made.log_position), (made.report.events, made.report.position));
    let log = texts_of(&read_log(&store).await.unwrap());
    store.close().await;
    assert_eq!(fs::read_dir(safe.path()).unwrap().count(), 1, "nothing but the backup is left");
    assert_eq!(events_in(&to).await, log[..usize::try_from(made.report.events).unwrap()]);
    let store = open(&to);
    write(&store, &stream("order-7"), 0, 10).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_backup_of_a_position_is_a_prefix_and_cuts_no_append_in_two() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    let mut ends = vec![Position::START];
    for number in 0..6 {
        ends.push(append(&store, &format!("order-{}", number % 2), number / 2 * 4, 4).await);
    }
    let log = texts_of(&read_log(&store).await.unwrap());
    for wanted in 1..=24 {
        let to = safe.path().join(format!("at-{wanted}"));
        // Each commit here has one append, and two neighbors are of different streams: every append's end is known.
        let end = ends.iter().rfind(|end| end.0 <= wanted).unwrap().0;
        match backup(dir.path(), &to, Until::Position(Position(wanted))) {
            Err(BackupError::Nothing(head)) => assert!(end == 0 && head == Position(24), "{wanted}"),
            Err(error) => panic!("{wanted}: {error}"),
            Ok(made) => {
                assert_eq!(
                    (made.report.position.0, made.report.events, made.log_position.0),
                    (end, end, 24),
                    "{wanted}"
                );
                assert!(check(&to, &mut |_, _| {}).unwrap().is_whole());
                assert_eq!(events_in(&to).await, log[..usize::try_from(end).unwrap()]);
            }
        }
    }
    store.close().await;
    let to = safe.path().join("beyond");
    assert_eq!(backup(dir.path(), &to, Until::Position(Position(99))).unwrap().report.position, Position(24));
}

#[tokio::test]
async fn a_backup_of_a_moment_has_what_was_written_by_then() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    fill(&store, 40).await;
    let events = read_log(&store).await.unwrap();
    store.close().await;
    for moment in events.iter().step_by(7).map(|event| event.recorded_at) {
        let to = safe.path().join(moment.timestamp_micros().to_string());
        let by_then = events.iter().filter(|event| event.recorded_at <= moment).count() as u64;
        let made = backup(dir.path(), &to, Until::Moment(moment)).unwrap();
        assert_eq!((made.report.events, made.last_recorded_at), (by_then, Some(moment)));
    }
    let before = Until::Moment(Timestamp::UNIX_EPOCH);
    assert!(matches!(backup(dir.path(), &safe.path().join("no"), before), Err(BackupError::Nothing(Position(40)))));
    assert!(!safe.path().join("no").exists());
}

#[tokio::test]
async fn snapshots_are_copied_where_the_copy_has_what_they_stand_on() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    fill(&store, 30).await;
    for (name, version) in [("order-0", 2), ("order-1", 9), ("saga_checkpoint-0", 1)] {
        let snapshot = StreamSnapshot { version, schema: 1, state: format!("{{\"at\":{version}}}") };
        store.save_snapshot(&stream(name), snapshot).await.unwrap();
    }
    let to = safe.path().join("copy");
    assert_eq!(backup(dir.path(), &to, Until::Position(Position(15))).unwrap().snapshots, 1);
    store.close().await;
    let store = open(&to);
    assert_eq!(store.load_snapshot(&stream("order-0")).await.unwrap().unwrap().state, "{\"at\":2}");
    assert!(store.load_snapshot(&stream("order-1")).await.unwrap().is_none());
    store.close().await;
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_copies_no_damage() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 30).await;
    store.close().await;
    let to = dir.path().join("copy");
    fs::write(&to, "mine").unwrap();
    assert!(matches!(backup(dir.path(), &to, Until::Now), Err(BackupError::Exists(path)) if path == to));
    assert_eq!(fs::read_to_string(&to).unwrap(), "mine");
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    file.execute_batch("update events set data = '{}' where position = 20").unwrap();
    drop(file);
    let to = dir.path().join("other");
    let refused = backup(dir.path(), &to, Until::Now);
    let at = Position(20);
    assert!(matches!(refused, Err(BackupError::Log(ReadError::Damaged { position, .. })) if position == at));
    assert!(!to.exists() && !dir.path().join("other.partial").exists());
    assert_eq!(
        backup(dir.path(), &to, Until::Position(Position(19))).unwrap().report.events,
        19,
        "what is whole can be saved"
    );
}

#[tokio::test]
async fn the_write_ahead_log_restarts_during_a_check_a_backup_and_an_export() {
    let (dir, safe) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = event_store::SqliteOptions { wal_bytes: 64 << 10, ..event_store::SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    crate::exporting::fill_many(&store, 20_000, 500).await;
    // From within the callbacks of the readers the log is written on, many times the size at which it restarts.
    let mut version = 0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let wal = dir.path().join("events.db-wal");
    let (from, to) = (dir.path().to_owned(), safe.path().to_owned());
    let largest = tokio::task::spawn_blocking(move || {
        let mut largest = 0;
        let mut steps = 0_u32;
        let mut write_on = || {
            steps += 1;
            if steps % 4 == 1 && version < 100 {
                runtime.block_on(async {
                    for _ in 0..10 {
                        write(&store, &stream("payment-1"), version, 20_000).await.unwrap();
                        version += 1;
                    }
                });
            }
            largest = largest.max(fs::metadata(&wal).unwrap().len());
        };
        check(&from, &mut |_, _| write_on()).unwrap();
        sqlite::backup(&from, &to.join("copy"), Until::Now, &mut |_, _, _| write_on()).unwrap();
        let range = sqlite::Range::default();
        sqlite::export(&from, &to.join("export"), range, false, &mut |_, _| write_on()).unwrap();
        runtime.block_on(store.close());
        assert!(version >= 40, "the log was written meanwhile: {version}");
        largest
    });
    let largest = largest.await.unwrap();
    assert!(largest < 1 << 20, "the write-ahead log grew to {largest} bytes");
}
