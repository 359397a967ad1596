//! What is opened, and what is refused with the file's name and the way out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use event_store::{EventStore, OpenError, Position, SqliteOptions, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{fill, open};

fn refusal(dir: &Path) -> OpenError {
    match SqliteStore::open(dir, SqliteOptions::default()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

async fn log_of(commits: u64) -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, commits).await;
    store.close().await;
    dir
}

#[tokio::test]
async fn a_second_store_on_the_folder_is_refused_until_the_first_is_closed() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
    store.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_log() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_missing_folder_is_made() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("a/b");
    let store = open(&deep);
    assert_eq!(*store.head().borrow(), Position::START);
    store.close().await;
}

#[test]
fn a_file_that_is_no_log_is_refused_by_name() {
    for content in [&b""[..], b"too short", &[b'x'; 4_096]] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("events.db"), content).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains("events.db") && error.to_string().contains("move it away"), "{error}");
        assert_eq!(fs::read(dir.path().join("events.db")).unwrap(), content, "it is left as it was");
    }
}

#[test]
fn an_sqlite_file_of_another_program_is_refused() {
    let dir = TempDir::new().unwrap();
    let other = Connection::open(dir.path().join("events.db")).unwrap();
    other.execute_batch("create table mine (a)").unwrap();
    drop(other);
    let error = refusal(dir.path());
    assert!(error.to_string().contains("of another program"), "{error}");
}

#[tokio::test]
async fn a_log_of_a_newer_format_is_refused() {
    let dir = log_of(1).await;
    let file = Connection::open(dir.path().join("events.db")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let error = refusal(dir.path());
    assert!(error.to_string().contains("format 99") && error.to_string().contains("newer Backstitch"), "{error}");
}

#[tokio::test]
async fn a_log_in_the_format_of_a_newer_release_is_refused_before_any_write() {
    let dir = log_of(3).await;
    let path = dir.path().join("events.db");
    // The raise stands in the write-ahead log only, as after a kill of the newer release.
    let file = Connection::open(&path).unwrap();
    file.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    let killed = TempDir::new().unwrap();
    for name in ["events.db", "events.db-wal", "events.mark", "lock"] {
        fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
    }
    drop(file);
    for dir in [&killed, &dir] {
        let files = ["events.db", "events.db-wal", "events.mark"].map(|name| dir.path().join(name));
        let before = files.each_ref().map(|path| fs::read(path).ok());
        let error = refusal(dir.path()).to_string();
        assert!(
            error.contains("events.db") && error.contains("format 99") && error.contains("newer Backstitch"),
            "{error}"
        );
        let after = files.each_ref().map(|path| fs::read(path).ok().filter(|bytes| !bytes.is_empty()));
        assert_eq!(before.map(|bytes| bytes.filter(|bytes| !bytes.is_empty())), after, "it is left as it was");
    }
}

#[tokio::test]
async fn files_that_other_users_could_open_are_tightened() {
    let dir = log_of(3).await;
    let names = ["events.db", "events.mark", "lock"];
    for name in names {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let store = open(dir.path());
    for name in names.into_iter().chain(["events.db-wal", "events.db-shm"]) {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has {mode:o}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_truncated_log_is_refused() {
    let dir = log_of(200).await;
    let path = dir.path().join("events.db");
    let whole = fs::read(&path).unwrap();
    for length in [whole.len() / 2, whole.len() - 4_096, whole.len() - 1, 4_096, 50] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Foreign { .. }), "{length}: {error}");
        assert!(error.to_string().contains("events.db"), "{error}");
    }
    fs::write(&path, &whole).unwrap();
    open(dir.path()).close().await;
}

#[tokio::test]
async fn a_log_shorter_than_a_witness_has_seen_is_refused_with_both_positions() {
    let dir = log_of(5).await;
    let witness = |seen| SqliteOptions {
        witnesses: vec![("projection `orders`".to_owned(), Position(seen))],
        ..SqliteOptions::default()
    };
    SqliteStore::open(dir.path(), witness(5)).unwrap().close().await;
    match SqliteStore::open(dir.path(), witness(6)) {
        Err(OpenError::TailMissing { log: Position(5), seen: Position(6), witness, .. }) => {
            assert_eq!(witness, "projection `orders`");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_witness_may_be_asked_once_the_log_is_open() {
    let dir = log_of(5).await;
    let store = open(dir.path());
    store.ask_witness("projection `orders`", Position(5)).unwrap();
    let error = store.ask_witness("projection `orders`", Position(6)).unwrap_err().to_string();
    assert!(error.contains("ends at position 5") && error.contains("`orders` has seen position 6"), "{error}");
    store.close().await;
}

#[tokio::test]
async fn the_mark_of_a_clean_stop_is_a_witness() {
    let dir = log_of(5).await;
    let older = fs::read(dir.path().join("events.db")).unwrap();
    let store = open(dir.path());
    fill_more(&store).await;
    store.close().await;
    fs::write(dir.path().join("events.db"), older).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::TailMissing { log: Position(5), seen: Position(6), .. }), "{error}");
    assert!(error.to_string().contains("events.mark"), "{error}");
    fs::remove_file(dir.path().join("events.mark")).unwrap();
    let store = open(dir.path());
    assert_eq!(*store.head().borrow(), Position(5), "with the witness removed the loss is accepted");
    store.close().await;
}

async fn fill_more(store: &SqliteStore) {
    crate::write(store, &crate::stream("order-9"), 0, 10).await.unwrap();
}

#[tokio::test]
async fn a_read_only_folder_is_refused_with_the_way_out() {
    let empty = TempDir::new().unwrap();
    let full = log_of(2).await;
    for dir in [&empty, &full] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let path = dir.path().to_owned();
        // Root may write everywhere, so the thread gives up that right for the files it touches, and only this thread.
        let error = std::thread::spawn(move || {
            // SAFETY: `setfsuid` takes a number and changes this thread alone, which ends right after.
            unsafe { libc::setfsuid(65_534) };
            refusal(&path)
        });
        let error = error.join().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(dir.path().to_str().unwrap()) && text.contains("make it writable"), "{text}");
    }
}
