//! What a served log says of itself, and what its clients make of it: it has no room, it is damaged.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use event_store::conformance::{append, stream};
use event_store::{AppendError, Direction, EventStore, Expected, Filter, KurrentStore, Position};
use tempfile::TempDir;

use crate::served::Served;

/// What a wait in these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(waited: impl Fn() -> bool) {
    let waiting = async {
        while !waited() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_log_without_room_has_commands_refused_and_takes_begun_work() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let store = KurrentStore::connect(&served.url()).await.unwrap();
    assert_eq!(store.refuses_clients(), None);
    served.faults.little_room(true);
    until(|| store.refuses_clients().is_some()).await;
    assert_eq!(store.refuses_clients(), served.log.refuses_clients(), "in the words of the log");
    assert_eq!(store.damage(), None);
    store.append(append(&stream("order-1"), Expected::NoStream, 0, 1)).await.unwrap();
    served.faults.little_room(false);
    until(|| store.refuses_clients().is_none()).await;
    store.close();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_log_that_is_damaged_is_not_taken_for_one_that_is_away() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let store = KurrentStore::connect(&served.url()).await.unwrap();
    let of = stream("order-1");
    for version in 0..20_u64 {
        store.append(append(&of, Expected::at(version.checked_sub(1)), version, 1)).await.unwrap();
    }
    let wal = dir.path().join("events.db-wal");
    let (bytes, payload) = (fs::read(&wal).unwrap(), br#""number":3"#);
    let file = fs::OpenOptions::new().write(true).open(&wal).unwrap();
    for at in (0..bytes.len() - payload.len()).filter(|at| bytes[*at..].starts_with(payload)) {
        file.write_at(br#""number":7"#, at as u64).unwrap();
    }
    let all = Filter::default();
    served.log.read_all(Position::START, Direction::Forward, 100, &all).await.unwrap_err();
    until(|| store.damage().is_some()).await;
    assert!(store.damage().unwrap().contains("at position 4"), "{:?}", store.damage());
    let refused = store.append(append(&of, Expected::Exact(19), 20, 1)).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Damaged { what, .. } if what.contains("position 4")), "{refused:?}");
    store.close();
    served.stop().await;
}
