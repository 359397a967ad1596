//! Reads and tickets that nobody polls: a caller that stands still keeps nobody else from reading, nor the store from closing.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use event_store::conformance::append;
use event_store::sqlite::Faults;
use event_store::{
    AppendError, Direction, EventStore, Expected, Filter, Position, ReadError, SqliteOptions, SqliteStore,
};
use futures_util::future::join_all;
use futures_util::poll;
use tempfile::TempDir;

use crate::{fill, open, stream, write};

/// Several times as many as the queue of reads has room for.
const PARKED: usize = 5_000;
/// Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

type Parked<T> = Vec<Pin<Box<dyn Future<Output = T> + Send>>>;

async fn within<T>(what: &str, waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Reads that were begun, by one poll each, and that nobody polls any more.
async fn parked_reads(store: &std::sync::Arc<SqliteStore>) -> Parked<Result<usize, ReadError>> {
    let mut parked: Parked<Result<usize, ReadError>> = Vec::new();
    for number in 0..PARKED {
        let store = store.clone();
        let read = async move {
            match number % 3 {
                0 => store.read_stream(&stream("order-0"), 0, Direction::Forward, 10).await.map(|events| events.len()),
                1 => store
                    .read_all(Position::START, Direction::Forward, 10, &Filter::default())
                    .await
                    .map(|events| events.len()),
                _ => store.load_snapshot(&stream("order-0")).await.map(|_| 1),
            }
        };
        let mut read: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(read);
        if poll!(&mut read).is_pending() {
            parked.push(read);
        }
    }
    assert!(parked.len() > PARKED / 2, "most were not answered at once");
    parked
}

#[tokio::test]
async fn reads_that_nobody_polls_keep_no_other_read_waiting() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 30).await;
    let parked = parked_reads(&store).await;
    for _ in 0..100 {
        let found = within("a read", store.read_stream(&stream("order-1"), 0, Direction::Forward, 10)).await.unwrap();
        assert_eq!(found.len(), 10);
    }
    within("the probe", store.probe(PATIENCE)).await.unwrap();
    within("an append", write(&store, &stream("order-0"), 10, 10)).await.unwrap();
    let count = parked.len();
    let answers = within("the answers", join_all(parked)).await;
    assert_eq!(
        answers.into_iter().map(Result::unwrap).filter(|found| *found > 0).count(),
        count,
        "each has its answer"
    );
    store.close().await;
}

#[tokio::test]
async fn answers_to_repeated_appends_that_nobody_polls_keep_no_other_read_waiting() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let names: Vec<_> = (0..PARKED).map(|number| stream(&format!("order-{number}"))).collect();
    let first: Vec<_> = join_all(names.iter().map(|of| store.append(append(of, Expected::NoStream, 0, 1)))).await;
    for ticket in first {
        within("a commit", ticket.unwrap().durable()).await.unwrap();
    }
    store.close().await;
    // As a start after a kill appends what it began before: each append repeats one that is in the log.
    let store = open(dir.path());
    let mut tickets: Parked<Result<_, AppendError>> = Vec::new();
    for of in &names {
        let ticket = within("a ticket", store.append(append(of, Expected::NoStream, 0, 1))).await.unwrap();
        let mut durable: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(ticket.durable());
        if poll!(&mut durable).is_pending() {
            tickets.push(durable);
        }
        let read = store.read_stream(of, 0, Direction::Forward, 10);
        assert_eq!(within("a read between two tickets", read).await.unwrap().len(), 1);
    }
    assert!(within("the first answers", join_all(tickets)).await.into_iter().all(|answer| answer.is_ok()));
    for of in names.iter().take(100) {
        let ticket = store.append(append(of, Expected::NoStream, 0, 1)).await.unwrap();
        assert_eq!(within("a first answer", ticket.durable()).await.unwrap().version, 0);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_closes_while_reads_wait_that_nobody_polls() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    fill(&store, 30).await;
    let parked = parked_reads(&store).await;
    let subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    within("the close", store.close()).await;
    let answers = within("the answers", join_all(parked)).await;
    for answer in answers {
        if let Err(error) = answer {
            assert!(error.to_string().contains("the store is closed"), "{error}");
        }
    }
    drop(subscription);
    assert!(SqliteStore::open(dir.path(), SqliteOptions::default()).is_ok(), "the folder is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_says_within_its_deadline_that_reads_stand_still_and_then_that_they_go_on() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let store =
        SqliteStore::open(dir.path(), SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() }).unwrap();
    fill(&store, 3).await;
    store.probe(PATIENCE).await.unwrap();
    faults.stall_reads();
    let refused = within("the probe", store.probe(Duration::from_millis(50))).await.unwrap_err();
    assert!(
        matches!(&refused, ReadError::Unavailable { reason, .. } if reason.contains("no answer within 50 ms")),
        "{refused}"
    );
    faults.resume_reads();
    store.probe(PATIENCE).await.unwrap();
    store.close().await;
}

#[tokio::test] // One thread: whatever blocked it would stop everything.
async fn while_a_head_is_looked_up_on_a_slow_disk_timers_and_other_streams_go_on() {
    let (dir, faults) = (TempDir::new().unwrap(), Faults::default());
    let options = || SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
    let store = SqliteStore::open(dir.path(), options()).unwrap();
    write(&store, &stream("order-0"), 0, 1).await.unwrap();
    faults.stall_reads();
    let mut unknown: Parked<Result<_, AppendError>> = Vec::new();
    for number in 1..=8 {
        let (store, of) = (store.clone(), stream(&format!("order-{number}")));
        unknown.push(Box::pin(async move { store.append(append(&of, Expected::NoStream, 0, 1)).await }));
    }
    for append in &mut unknown {
        assert!(poll!(append).is_pending(), "its head is not in memory");
    }
    let a_while = Duration::from_millis(20);
    tokio::time::timeout(a_while, &mut unknown[0]).await.expect_err("the timer runs, the append waits");
    let known = store.append(append(&stream("order-0"), Expected::Exact(0), 1, 1)).await.unwrap();
    within("an append to a stream in memory", known.durable()).await.unwrap();
    faults.resume_reads();
    for ticket in within("the other appends", join_all(unknown)).await {
        within("a commit", ticket.unwrap().durable()).await.unwrap();
    }
    // One that waits when the store closes is refused.
    faults.stall_reads();
    let mut refused: Pin<Box<dyn Future<Output = _>>> =
        Box::pin(store.append(append(&stream("order-9"), Expected::NoStream, 0, 1)));
    assert!(poll!(&mut refused).is_pending());
    within("the close", store.close()).await;
    assert!(within("the answer", refused).await.is_err());
}
