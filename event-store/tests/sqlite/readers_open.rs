//! A reader of another process that stays open, and a disk without room.

use std::path::Path;
use std::time::Duration;

use event_store::sqlite::{Faults, LogTrouble, check};
use event_store::{EventStore, OpenError, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fill, open, read_log, stream, write};

/// The write-ahead log restarts beyond it.
const WAL_BYTES: u64 = 256 << 10;
/// How long a read may take: these are some events in memory.
const BOUND: Duration = Duration::from_secs(60);

/// A reader that has begun and does not end, as `sqlite3` in another terminal.
fn reader_of(dir: &Path) -> Connection {
    let reader = Connection::open(dir.join("events.db")).unwrap();
    reader.execute_batch("begin").unwrap();
    let _: i64 = reader.query_row("select count(*) from events", [], |row| row.get(0)).unwrap();
    reader
}

async fn fill_up(store: &SqliteStore, from: u64, commits: u64) {
    for version in from..from + commits {
        write(store, &stream("order-1"), version, 16_000).await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_stays_open_holds_up_no_commit_and_refuses_clients_at_the_bound() {
    let dir = TempDir::new().unwrap();
    let options = SqliteOptions {
        wal_bytes: WAL_BYTES,
        wal_limit_bytes: 2 << 20,
        min_free_percent: 0,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    fill_up(&store, 0, 1).await;
    let reader = reader_of(dir.path());
    // With a wait of seconds in each commit beyond the bound this would take a quarter of an hour.
    let filled = tokio::time::timeout(Duration::from_secs(120), fill_up(&store, 1, 300)).await;
    assert!(filled.is_ok(), "commits wait for a reader");
    assert!(store.numbers().wal_bytes > 2 << 20, "{:?}", store.numbers());
    let refused = tokio::time::timeout(BOUND, async {
        loop {
            match store.examine(BOUND).await {
                Err(LogTrouble::Short(why)) => return why,
                Err(trouble) => panic!("{trouble}"),
                Ok(()) => tokio::task::yield_now().await, // The files are looked at once a second.
            }
        }
    });
    let why = refused.await.unwrap();
    assert!(why.contains("wal_limit_mb"), "{why}");
    assert_eq!(store.refuses_clients().as_deref(), Some(&*why));
    // While the reader stays and nobody else writes, what the writer tries by itself does not make it larger.
    let (before, overdue) = (store.numbers().wal_bytes, store.numbers().checkpoint_overdue);
    while store.numbers().checkpoint_overdue < overdue + Duration::from_secs(3) {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.numbers().wal_bytes, before);
    drop(reader);
    // Clients are refused and nobody else writes: it must be found out without a commit of theirs.
    let taken = tokio::time::timeout(BOUND, async {
        while store.refuses_clients().is_some() {
            tokio::task::yield_now().await;
        }
    });
    taken.await.expect("clients are taken again once the reader is gone");
    assert!(store.numbers().wal_bytes < 2 << 20, "{:?}", store.numbers());
    assert_eq!(store.numbers().checkpoint_overdue, Duration::ZERO);
    assert_eq!(read_log(&store).await.unwrap().len(), 301);
    store.close().await;
}

/// Leaves a log behind whose write-ahead log has pages that the file is too short for, because a reader was open. The folder,
/// how many events it has, and the reader.
async fn left_behind_a_reader(killed: bool) -> (TempDir, usize, Connection) {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store =
        SqliteStore::open(dir.path(), SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() }).unwrap();
    fill_up(&store, 0, 1).await;
    let reader = reader_of(dir.path());
    fill_up(&store, 1, 50).await;
    if killed {
        faults.cut_after(1);
        let (mut cut, of) = (faults.cut(), stream("order-1"));
        tokio::select! {
            told = write(&store, &of, 51, 16_000) => panic!("nobody is told of it: {told:?}"),
            cut = cut.wait_for(|cut| *cut) => assert!(*cut.unwrap()),
        }
    }
    store.close().await;
    (dir, 51 + usize::from(killed), reader)
}

#[tokio::test]
async fn what_stands_in_the_write_ahead_log_because_of_a_reader_is_not_taken_for_cut_off() {
    for killed in [false, true] {
        let (dir, events, reader) = left_behind_a_reader(killed).await;
        let file = std::fs::metadata(dir.path().join("events.db")).unwrap().len();
        assert!(file < 400_000, "the reader kept the events from the file, which has {file} bytes");
        for _ in 0..2 {
            let store = SqliteStore::open(dir.path(), SqliteOptions::default());
            let store = store.unwrap_or_else(|error| panic!("killed: {killed}: {error}"));
            assert_eq!(read_log(&store).await.unwrap().len(), events, "killed: {killed}");
            store.close().await;
        }
        drop(reader);
        let store = open(dir.path());
        assert_eq!(read_log(&store).await.unwrap().len(), events, "killed: {killed}");
        store.close().await;
        assert!(check(dir.path(), &mut |_, _| {}).unwrap().is_whole());
        // With all of it in the file the length says again whether something is missing.
        let path = dir.path().join("events.db");
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 4_096).unwrap();
        let refused = SqliteStore::open(dir.path(), SqliteOptions::default()).err().unwrap();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    }
}

#[tokio::test]
async fn commits_and_commands_do_not_wait_while_the_system_is_asked_who_reads() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let options = SqliteOptions {
        wal_bytes: WAL_BYTES,
        wal_limit_bytes: 2 << 20,
        faults: faults.clone(),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    fill_up(&store, 0, 1).await;
    let reader = reader_of(dir.path());
    faults.stall_looks();
    let begun = tokio::time::timeout(Duration::from_secs(120), async {
        let mut version = 1;
        while !faults.look_stands_still() {
            fill_up(&store, version, 10).await;
            version += 10;
        }
        version
    });
    let version = begun.await.expect("commits wait for an answer of the system, or it is not asked");
    let gone_on = tokio::time::timeout(BOUND, fill_up(&store, version, 10)).await;
    assert!(gone_on.is_ok(), "commits wait for an answer of the system");
    let asked = tokio::task::spawn_blocking({
        let store = store.clone();
        move || store.refuses_clients()
    });
    tokio::time::timeout(BOUND, asked).await.expect("commands wait for an answer of the system").unwrap();
    faults.resume_reads();
    drop(reader);
    store.close().await;
}

#[tokio::test]
async fn a_start_and_a_new_opening_after_a_failure_do_not_fail_because_of_a_reader() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 3).await;
    let reader = reader_of(dir.path());
    fill_more(&store, 3).await;
    store.close().await;
    let faults = Faults::default();
    let store = SqliteStore::open(dir.path(), SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() });
    let store = store.expect("a reader keeps nobody from starting");
    fill_more(&store, 4).await;
    faults.fail_commits(1);
    assert!(write(&store, &stream("payment-1"), 2, 10).await.is_err());
    fill_more(&store, 5).await;
    assert_eq!(read_log(&store).await.unwrap().len(), 6);
    store.close().await;
    drop(reader);
    let store = open(dir.path());
    assert_eq!(read_log(&store).await.unwrap().len(), 6);
    store.close().await;
}

/// One event more, the one at `position` less 3 of its stream.
async fn fill_more(store: &SqliteStore, position: u64) {
    write(store, &stream("payment-1"), position - 3, 10).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_refuses_clients_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    // No disk has all of itself free, and this machine's has more than the room at which nothing is refused: see `Faults`.
    let faults = Faults::default();
    faults.little_room(true);
    let store =
        SqliteStore::open(dir.path(), SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() }).unwrap();
    let short = tokio::time::timeout(BOUND, async {
        while store.refuses_clients().is_none() {
            tokio::task::yield_now().await;
        }
    });
    short.await.unwrap();
    assert!(matches!(store.examine(BOUND).await, Err(LogTrouble::Short(why)) if why.contains("free space")));
    fill(&store, 3).await; // What was begun goes on.
    faults.little_room(false);
    let room = tokio::time::timeout(BOUND, async {
        while store.refuses_clients().is_some() {
            tokio::task::yield_now().await;
        }
    });
    room.await.unwrap();
    assert_eq!(store.examine(BOUND).await, Ok(()));
    store.close().await;
}

#[tokio::test]
async fn a_commit_that_fails_is_trouble_until_one_succeeds_also_if_nobody_writes() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store =
        SqliteStore::open(dir.path(), SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() }).unwrap();
    fill(&store, 3).await;
    faults.fail_commits(2);
    assert!(write(&store, &stream("order-9"), 0, 10).await.is_err());
    let trouble = store.examine(BOUND).await.unwrap_err();
    assert!(matches!(&trouble, LogTrouble::Unwritable(why) if why.contains("ordered by a test")), "{trouble}");
    let passed = tokio::time::timeout(BOUND, async {
        while store.examine(BOUND).await.is_err() {
            tokio::task::yield_now().await; // The writer tries by itself, once a second.
        }
    });
    passed.await.unwrap();
    assert_eq!(read_log(&store).await.unwrap().len(), 3, "a try leaves no event");
    store.close().await;
}

#[tokio::test]
async fn damage_that_is_met_is_a_state_of_its_own_and_nothing_more_is_written() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 600).await;
    store.close().await;
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    file.execute_batch("update events set data = '{}' where position = 20").unwrap();
    drop(file);
    let store = open(dir.path());
    // Nobody has read it: the look at the log comes by, some hundred events at a time.
    let trouble = loop {
        match store.examine(BOUND).await {
            Ok(()) => {}
            Err(trouble) => break trouble,
        }
    };
    assert!(matches!(&trouble, LogTrouble::Damaged(what) if what.contains("position 20")), "{trouble}");
    let refused = write(&store, &stream("order-9"), 0, 10).await.unwrap_err().to_string();
    assert!(refused.contains("damaged") && refused.contains("position 20"), "{refused}");
    store.close().await;
}
