//! What bytes that changed on the disk do: an error that names the file, never another event than was written.

use std::fs;
use std::path::Path;

use event_store::sqlite::{self, check};
use event_store::{OpenError, Position, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::{fill, open, read_log, texts_of};

const COMMITS: u64 = 30;

/// The files of a log whose process was killed: everything is still in the write-ahead log. And its events.
async fn killed() -> (Vec<u8>, Vec<u8>, Vec<String>) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, COMMITS).await;
    let file = fs::read(dir.path().join("events.db")).unwrap();
    let wal = fs::read(dir.path().join("events.db-wal")).unwrap();
    let events = texts_of(&read_log(&store).await.unwrap());
    store.close().await;
    (file, wal, events)
}

fn folder(file: &[u8], wal: &[u8]) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("events.db"), file).unwrap();
    fs::write(dir.path().join("events.db-wal"), wal).unwrap();
    dir
}

fn try_open(dir: &Path, witness: Option<u64>) -> Result<std::sync::Arc<SqliteStore>, OpenError> {
    let witnesses = witness.into_iter().map(|seen| ("a test".to_owned(), Position(seen))).collect();
    SqliteStore::open(dir, SqliteOptions { witnesses, ..SqliteOptions::default() })
}

#[tokio::test]
async fn a_killed_process_leaves_a_log_that_is_whole() {
    let (file, wal, events) = killed().await;
    let dir = folder(&file, &wal);
    let store = try_open(dir.path(), Some(COMMITS)).unwrap();
    assert_eq!(texts_of(&read_log(&store).await.unwrap()), events);
    store.close().await;
    assert!(check(dir.path(), &mut |_, _| {}).unwrap().is_whole());
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_stops_the_start_or_costs_one_commit() {
    let (file, wal, events) = killed().await;
    let (mut refused, mut shortened) = (0, 0);
    // Every part of a frame is met: the step is no divisor of its 4 120 bytes.
    for at in (0..wal.len()).step_by((wal.len() / 150) | 1) {
        let mut wal = wal.clone();
        wal[at] ^= 0x10;
        let dir = folder(&file, &wal);
        match try_open(dir.path(), None) {
            Err(OpenError::Damaged { path, .. }) => {
                assert!(path.contains("events.db-wal"));
                refused += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
            Ok(store) => {
                let found = texts_of(&read_log(&store).await.unwrap());
                assert_eq!(found, events[..found.len()], "byte {at}: what is there is what was written");
                assert!(found.len() as u64 >= COMMITS - 2, "byte {at}: {} events", found.len());
                shortened += u32::from(found.len() < events.len());
                store.close().await;
            }
        }
    }
    assert!(refused > 100 && shortened > 0, "{refused} refused, {shortened} shortened");
}

#[tokio::test]
async fn a_lost_last_commit_is_noticed_by_a_witness() {
    let (file, mut wal, _) = killed().await;
    let last = wal.len() - 100;
    wal[last] ^= 1;
    let dir = folder(&file, &wal);
    match try_open(dir.path(), Some(COMMITS)) {
        Err(OpenError::TailMissing { log, seen, .. }) => assert_eq!((log.0, seen.0), (COMMITS - 1, COMMITS)),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_torn_last_commit_is_forgotten() {
    let (file, wal, events) = killed().await;
    for missing in [1, 24, 4_119, 4_121] {
        let dir = folder(&file, &wal[..wal.len() - missing]);
        let store = try_open(dir.path(), None).unwrap();
        assert_eq!(texts_of(&read_log(&store).await.unwrap()), events[..events.len() - 1]);
        store.close().await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_file_is_an_error_and_never_another_event() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 120).await;
    let events = texts_of(&read_log(&store).await.unwrap());
    store.close().await;
    let path = dir.path().join("events.db");
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    for at in (100..whole.len()).step_by((whole.len() / 150) | 1) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x04;
        fs::write(&path, &bytes).unwrap();
        let report = check(dir.path(), &mut |_, _| {});
        let wrong = report.as_ref().map_or(true, |report| !report.is_whole());
        noticed += u32::from(wrong);
        let Ok(store) = try_open(dir.path(), None) else {
            assert!(wrong, "byte {at}: what is not opened is not whole either");
            continue;
        };
        match read_log(&store).await {
            // Bytes that hold nothing may change without harm.
            Ok(found) => assert!(texts_of(&found) == events, "byte {at}: another event is read than was written"),
            Err(error) => assert!(wrong && error.to_string().contains("events.db"), "byte {at}: {error}"),
        }
        store.close().await;
        let _ = fs::remove_file(dir.path().join("events.damaged")); // The next round has another file.
    }
    assert!(noticed > 60, "{noticed} of 150");
}

#[tokio::test]
async fn whatever_opens_a_log_whose_write_ahead_log_is_damaged_says_so() {
    let (file, mut wal, events) = killed().await;
    let middle = wal.len() / 2;
    wal[middle] ^= 0x10;
    let dir = folder(&file, &wal);
    assert!(matches!(try_open(dir.path(), None), Err(OpenError::Damaged { .. })));
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.problems.iter().any(|problem| problem.what.contains("events.db-wal")), "{report:?}");
    assert!(report.events < events.len() as u64 && report.structure && !report.served, "{report:?}");
    let to = TempDir::new().unwrap();
    let made = sqlite::backup(dir.path(), &to.path().join("copy"), sqlite::Until::Now, &mut |_, _, _| {});
    assert!(matches!(made, Err(sqlite::BackupError::Source(OpenError::Damaged { .. }))), "{made:?}");
    let range = sqlite::Range::default();
    let made = sqlite::export(dir.path(), &to.path().join("export"), range, false, &mut |_, _| {});
    assert!(matches!(made, Err(sqlite::ExportFileError::Source(OpenError::Damaged { .. }))), "{made:?}");
    assert!(sqlite::stats(dir.path()).is_err());
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0, "nothing short was made");
    assert_eq!(fs::read(dir.path().join("events.db-wal")).unwrap(), wal, "it is left as it was");
}

#[tokio::test]
async fn a_log_that_is_shorter_than_its_mark_is_not_copied_in_silence() {
    let (file, wal, events) = killed().await;
    let dir = folder(&file, &wal[..wal.len() - 1]);
    fs::write(dir.path().join("events.mark"), format!("{}\n", events.len())).unwrap();
    let to = TempDir::new().unwrap();
    let made = sqlite::backup(dir.path(), &to.path().join("copy"), sqlite::Until::Now, &mut |_, _, _| {});
    assert!(matches!(made, Err(sqlite::BackupError::Source(OpenError::TailMissing { .. }))), "{made:?}");
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(!report.is_whole(), "{report:?}");
}

#[tokio::test]
async fn a_check_says_that_the_write_ahead_log_ends_with_what_is_no_whole_commit() {
    let (file, wal, events) = killed().await;
    let notes_of = |wal: &[u8]| {
        let report = check(folder(&file, wal).path(), &mut |_, _| {}).unwrap();
        assert!(report.is_whole(), "{report:?}");
        (report.events, report.notes)
    };
    assert_eq!(notes_of(&wal), (COMMITS, vec![]), "a kill between two commits leaves nothing");
    // Every part of the last frame: page number, size, salts, checksum, page.
    for at in (wal.len() - 4_120..wal.len()).step_by(5) {
        let mut wal = wal.clone();
        wal[at] ^= 0x10;
        let (found, notes) = notes_of(&wal);
        assert_eq!((found, notes.len()), (events.len() as u64 - 1, 1), "byte {at}");
        assert!(notes[0].contains("torn tail") && notes[0].contains("events.db-wal"), "{notes:?}");
    }
    for missing in [1, 24, 4_000] {
        assert_eq!(notes_of(&wal[..wal.len() - missing]).1.len(), 1, "{missing} bytes are missing");
    }
    // What an earlier round has left behind the end is no torn commit.
    let mut earlier = wal[wal.len() - 2 * 4_120..].to_vec();
    for frame in earlier.chunks_mut(4_120) {
        frame[8..16].iter_mut().for_each(|salt| *salt ^= 0x55);
    }
    assert_eq!(notes_of(&[&*wal, &*earlier].concat()), (COMMITS, vec![]));
}
