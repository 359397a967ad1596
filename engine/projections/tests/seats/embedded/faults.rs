//! What fails in the middle: a process that dies, a transaction, a row.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use event_store::{RecordedEvent, StreamName};
use eventsourcing::DecodeError;
use projection_engine::Projection;
use projection_engine::embedded::{EmbeddedModel, Sqlite, SqliteError};
use rusqlite::Connection;

use super::Hall;
use super::table::{SEATS, Seats};

/// The projection, with something that happens each time after its rows were written.
#[derive(Debug)]
struct Then(Seats<1>, fn() -> Result<(), SqliteError>);

#[async_trait]
impl Projection<Sqlite> for Then {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn takes(&self, stream: &StreamName) -> bool {
        self.0.takes(stream)
    }

    async fn load(&mut self, sql: &mut Connection, events: &[Arc<RecordedEvent>]) -> Result<(), SqliteError> {
        self.0.load(sql, events).await
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.0.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        self.0.fold(event)
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.0.skip(event);
    }

    async fn write(&mut self, sql: &mut Connection) -> Result<(), SqliteError> {
        self.0.write(sql).await?;
        (self.1)()
    }
}

/// Where the process that is to die finds the folder of its box office.
const DIES_IN: &str = "SEATS_DIES_IN";

/// The program dies when rows are written for the second time, before their checkpoint is.
const DYING: EmbeddedModel = EmbeddedModel {
    make: || {
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        let dies = || match WRITTEN.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => std::process::abort(),
        };
        Box::new(Then(Seats::default(), dies))
    },
    ..SEATS
};

#[tokio::test]
async fn a_process_that_dies_between_rows_and_checkpoint_loses_and_doubles_nothing() {
    if let Some(folder) = std::env::var_os(DIES_IN) {
        let hall = Hall::in_folder(folder.as_ref());
        hall.office.hold("a1", "ann").await;
        let running = hall.start(DYING).await;
        running.reached(hall.office.hold("a1", "ann").await).await;
        running.reached(hall.office.hold("a1", "ann").await).await;
        unreachable!("it dies with the second batch, or with the third event");
    }
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let name = "embedded::faults::a_process_that_dies_between_rows_and_checkpoint_loses_and_doubles_nothing";
    let died = Command::new(this).args(["--exact", name]).env(DIES_IN, folder.path()).output().unwrap();
    assert!(died.status.code().is_none(), "it was not killed: {died:?}");
    let hall = Hall::in_folder(folder.path());
    let stored = rusqlite::Connection::open(&hall.path).unwrap();
    let checkpoint = "select position from backstitch_checkpoints";
    let (rows, checkpoint): (u64, u64) = (
        stored.query_row("select sum(holds) from seats", [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned(),
        stored.query_row(checkpoint, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned(),
    );
    drop(stored);
    assert_eq!(rows, checkpoint, "each event is a hold, and both are of the first batch");
    let running = hall.start(SEATS).await;
    let sold = hall.office.sell("a1", "ann").await;
    running.reached(sold).await;
    let holds = sold.0 - 1;
    assert!(rows < holds, "nothing was left to do");
    assert_eq!(running.seats().await, [format!("a1 sold ann {holds} {holds}")]);
    running.stop().await;
}

/// Each third time the rows are written, the disk fails: what was written is undone.
const FAILING: EmbeddedModel = EmbeddedModel {
    make: || {
        static WRITTEN: AtomicU32 = AtomicU32::new(1);
        let fails = || match WRITTEN.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Err(std::io::Error::other("the disk is full").into()),
            _ => Ok(()),
        };
        Box::new(Then(Seats::default(), fails))
    },
    ..SEATS
};

#[tokio::test]
async fn a_failed_transaction_is_done_again_and_counts_nothing_twice() {
    let hall = Hall::open();
    let running = hall.start(FAILING).await;
    for _ in 0..5 {
        let held = hall.office.hold("a1", "ann").await;
        running.reached(held).await;
    }
    assert_eq!(running.seats().await, ["a1 held ann 5 4"]);
    // Of five batches at least two were written twice, and each session counts what it folds.
    assert_eq!(running.models.standing().models[0].folded, 5, "what did not commit is not counted");
    running.stop().await;
}

#[tokio::test]
async fn a_row_that_sqlite_refuses_parks_its_stream_and_no_other() {
    let hall = Hall::open();
    hall.office.hold("a1", "ann").await;
    hall.office.hold("a2", &"long ".repeat(10)).await;
    hall.office.sell("a1", "ann").await;
    let held = hall.office.hold("a3", "bob").await;
    let running = hall.start(SEATS).await;
    running.reached(held).await;
    assert_eq!(running.seats().await, ["a1 sold ann 1 1", "a3 held bob 1 0"]);
    let parked = running.models.parked();
    let [(_, stream, letter)] = parked.as_slice() else { panic!("{parked:?}") };
    assert_eq!((stream.as_str(), letter.cause.as_str()), ("seat-a2", "refused"));
    assert!(letter.error.contains("CHECK"), "{letter:?}");
    // A rebuild comes to the same.
    assert_eq!(running.models.rebuild("seats").await.unwrap().folded, 3);
    assert_eq!(running.seats().await, ["a1 sold ann 1 1", "a3 held bob 1 0"]);
    assert_eq!(running.models.parked().len(), 1);
    running.stop().await;
}

/// A release whose statements ask for a column that the table does not have.
const WRONG: EmbeddedModel = EmbeddedModel { ddl: &["create table seats (seat text primary key) strict"], ..SEATS };

#[tokio::test]
async fn a_read_model_whose_tables_do_not_fit_stops_and_parks_nothing() {
    let hall = Hall::open();
    let held = hall.office.hold("a1", "ann").await;
    let running = hall.start(WRONG).await;
    let stopped = async {
        loop {
            match running.models.standing().models.remove(0).stopped {
                Some(why) => return why,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let why = tokio::time::timeout(crate::box_office::BOUND, stopped).await.unwrap();
    assert!(why.contains("its tables are not as they should be"), "{why}");
    assert!(running.models.parked().is_empty());
    assert!(!running.models.reached(held, super::IN_VAIN).await);
    running.stop().await;
    // The release that puts it right folds everything.
    let running = hall.start(SEATS).await;
    running.reached(held).await;
    assert_eq!(running.seats().await, ["a1 held ann 1 0"]);
    running.stop().await;
}
