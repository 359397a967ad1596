//! What the embedded log does when the disk refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use event_store::sqlite::{Faults, check};
use event_store::{AppendError, EventStore, Position, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::{read_log, stream, write};

fn open_with(dir: &TempDir, faults: &Faults) -> Arc<SqliteStore> {
    let options = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
    SqliteStore::open(dir.path(), options).unwrap()
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged_and_passes() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store = open_with(&dir, &faults);
    let of = stream("order-1");
    faults.limit_to_pages(60);
    let mut acknowledged = Vec::new();
    let failed = loop {
        match write(&store, &of, acknowledged.len() as u64, 1_000).await {
            Ok(appended) => acknowledged.push(appended.position),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, AppendError::EpochEnded { .. }), "{failed}");
    assert!(acknowledged.len() > 50, "60 pages hold more than 50 events");
    let positions = |log: Vec<event_store::RecordedEvent>| log.iter().map(|event| event.position).collect::<Vec<_>>();
    assert_eq!(positions(read_log(&store).await.unwrap()), acknowledged);
    let still = write(&store, &of, acknowledged.len() as u64, 1_000).await;
    assert!(still.is_err(), "the disk is still full");
    faults.limit_to_pages(1_000_000);
    // The first append after a failure may still find the log being opened anew.
    for _ in 0..20 {
        acknowledged.push(write(&store, &of, acknowledged.len() as u64, 1_000).await.unwrap().position);
    }
    assert_eq!(positions(read_log(&store).await.unwrap()), acknowledged);
    store.close().await;
    let report = check(dir.path(), &mut |_, _| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.events, acknowledged.len() as u64);
}

#[tokio::test]
async fn an_append_that_is_found_after_a_lost_answer_is_acknowledged() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store = open_with(&dir, &faults);
    let of = stream("order-1");
    write(&store, &of, 0, 10).await.unwrap();
    let mut epoch = store.epoch();
    let mut subscription = store.subscribe(Position(1), event_store::Filter::default()).await.unwrap();
    epoch.borrow_and_update();
    faults.lose_answers(1);
    let appended = write(&store, &of, 1, 10).await.unwrap();
    assert_eq!((appended.version, appended.position), (1, Position(2)));
    assert!(epoch.has_changed().unwrap(), "what was queued behind it may be lost");
    assert_eq!(write(&store, &of, 2, 10).await.unwrap().position, Position(3));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let event_store::Delivery::Events { events, .. } = subscription.next().await.unwrap().unwrap() {
            seen.extend(events.iter().map(|event| event.position.0));
        }
    }
    assert_eq!(seen, [2, 3]);
    store.close().await;
    assert!(check(dir.path(), &mut |_, _| {}).unwrap().is_whole());
}

#[tokio::test]
async fn after_a_failed_sync_the_process_is_told_to_leave_and_nothing_is_acknowledged() {
    let (dir, faults, left) = (TempDir::new().unwrap(), Faults::default(), Arc::new(AtomicU32::new(0)));
    let its_left = left.clone();
    let on_failed_sync = Arc::new(move || _ = its_left.fetch_add(1, Ordering::SeqCst));
    let options = SqliteOptions { faults: faults.clone(), on_failed_sync, ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    faults.fail_sync();
    assert!(write(&store, &stream("order-1"), 0, 10).await.is_err());
    assert_eq!(left.load(Ordering::SeqCst), 1);
    store.close().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_anew_says_so_and_comes_back_by_itself() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store = open_with(&dir, &faults);
    let of = stream("order-1");
    write(&store, &of, 0, 10).await.unwrap();
    let mut epoch = store.epoch();
    faults.fail_commits(1);
    faults.fail_reopens(1);
    assert!(matches!(write(&store, &of, 1, 10).await, Err(AppendError::EpochEnded { .. })));
    let broken = write(&store, &of, 1, 10).await;
    assert!(matches!(&broken, Err(AppendError::Unwritable { path, .. }) if path.contains("events.db")), "{broken:?}");
    assert_eq!(read_log(&store).await.unwrap().len(), 1, "reading goes on");
    let first = *epoch.borrow_and_update();
    epoch.wait_for(|epoch| epoch.0 > first.0).await.unwrap();
    assert_eq!(write(&store, &of, 1, 10).await.unwrap().position, Position(2));
    store.close().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_anew_closes_all_the_same() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store = open_with(&dir, &faults);
    write(&store, &stream("order-1"), 0, 10).await.unwrap();
    faults.fail_commits(1);
    faults.fail_reopens(u32::MAX);
    write(&store, &stream("order-1"), 1, 10).await.unwrap_err();
    store.close().await;
    faults.fail_reopens(0);
    let store = open_with(&dir, &faults);
    assert_eq!(read_log(&store).await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_writer_that_stops_on_a_broken_invariant_answers_all_and_ends_the_process() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let left = Arc::new(AtomicU32::new(0));
    let leave = left.clone();
    let on_writer_panic = Arc::new(move || _ = leave.fetch_add(1, Ordering::SeqCst));
    let options = SqliteOptions { faults: faults.clone(), on_writer_panic, ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let (of, other, mut epoch) = (stream("order-1"), stream("order-2"), store.epoch());
    write(&store, &of, 0, 10).await.unwrap();
    faults.break_invariant();
    let (one, two) = tokio::join!(write(&store, &of, 1, 10), write(&store, &other, 0, 10));
    assert!(one.is_err() && two.is_err(), "{one:?} {two:?}");
    epoch.wait_for(|epoch| epoch.0 > 0).await.unwrap();
    let refused = write(&store, &of, 1, 10).await;
    assert!(
        matches!(&refused, Err(AppendError::Unwritable { reason, .. }) if reason.contains("restart")),
        "{refused:?}"
    );
    assert_eq!(read_log(&store).await.unwrap().len(), 1, "reading goes on");
    store.close().await;
    assert_eq!(left.load(Ordering::SeqCst), 1, "a product ends here, and is started again");
    let store = open_with(&dir, &faults);
    assert_eq!(write(&store, &of, 1, 10).await.unwrap().position, Position(2));
    store.close().await;
}

#[tokio::test]
async fn a_writer_that_has_nothing_to_write_goes_on_and_one_that_hangs_does_not() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store = open_with(&dir, &faults);
    let bound = Duration::from_secs(60);
    // Nobody writes: it is seen again and again all the same.
    let seen = async {
        for _ in 0..3 {
            let mut before = store.writer_silent_for();
            loop {
                let now = store.writer_silent_for();
                if now < before {
                    break;
                }
                before = now;
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(bound, seen).await.expect("it goes on by itself");
    faults.stall_commits();
    let of = stream("order-1");
    let waiting = write(&store, &of, 0, 10);
    tokio::pin!(waiting);
    let hangs = async {
        while store.writer_silent_for() < Duration::from_secs(3) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = &mut waiting => panic!("it hangs: {done:?}"),
        hangs = tokio::time::timeout(bound, hangs) => hangs.expect("its silence shows"),
    }
    faults.resume_commits();
    assert_eq!(waiting.await.unwrap().position, Position(1));
    store.close().await;
    assert_eq!(store.writer_silent_for(), Duration::ZERO, "what has ended is not waited for");
}

#[tokio::test]
async fn the_write_ahead_log_stays_within_its_bound() {
    let dir = TempDir::new().unwrap();
    let options = SqliteOptions { wal_bytes: 1 << 20, ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let of = stream("order-1");
    let mut largest = 0;
    for version in 0..1_000 {
        write(&store, &of, version, 16_000).await.unwrap();
        largest = largest.max(std::fs::metadata(dir.path().join("events.db-wal")).unwrap().len());
    }
    let file = std::fs::metadata(dir.path().join("events.db")).unwrap().len();
    assert!(file > 8 << 20, "most of 16 MB has been copied into the file: {file}");
    assert!(largest < 5 << 20, "four times its size is the bound, and one commit more: {largest}");
    store.close().await;
}
