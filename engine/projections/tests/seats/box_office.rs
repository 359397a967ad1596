//! The box office: an embedded log, a database, and the engine over both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::Tasks;
use event_store::{
    Append, Direction, EventStore, Expected, Metadata, NewEvent, Position, SqliteOptions, SqliteStore, StreamName,
};
use eventsourcing::Timestamp;
use projection_engine::generations::{Generation, Stage};
use projection_engine::{ProjectionEngine, ReadModels, Setup};
use serde::Serialize;
use service_kit::postgres::testing::fresh_database;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use crate::table::{IDS, SeatHeld, SeatSold};

/// What any wait may take at most; it ends a test that would hang.
pub const BOUND: Duration = Duration::from_secs(60);

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

/// A log in a folder of its own, and a database.
pub struct BoxOffice {
    pub store: Arc<SqliteStore>,
    pub url: String,
    _folder: Option<TempDir>,
}

impl BoxOffice {
    pub async fn open() -> Self {
        Self::over(fresh_database().await.unwrap())
    }

    /// With a new log, over a database that is there.
    pub fn over(url: String) -> Self {
        let folder = TempDir::new().unwrap();
        let mut office = Self::in_folder(folder.path());
        (office.url, office._folder) = (url, Some(folder));
        office
    }

    /// With a new log, for read models that are stored elsewhere.
    pub fn without_database() -> Self {
        Self::over(String::new())
    }

    /// With the log of a folder, for read models that are stored elsewhere.
    pub fn in_folder(folder: &Path) -> Self {
        let store = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
        Self { store, url: String::new(), _folder: None }
    }

    /// Three rounds over twenty seats: all are held, most twice, and some sold.
    pub async fn twenty_seats(&self) {
        for round in 0..3 {
            for number in 0..20 {
                let (seat, guest) = (format!("a{number}"), format!("guest-{}", (number * 7 + round) % 5));
                match (round, number % 3) {
                    (2, 0) => _ = self.sell(&seat, &guest).await,
                    (2, 1) => {}
                    _ => _ = self.hold(&seat, &guest).await,
                }
            }
        }
    }

    /// Holds a seat for a guest.
    pub async fn hold(&self, seat: &str, guest: &str) -> Position {
        self.hold_in(seat, guest, 1).await
    }

    /// Holds a seat for a guest, in an event of some schema version.
    pub async fn hold_in(&self, seat: &str, guest: &str, schema_version: u16) -> Position {
        self.append(seat, ("SeatHeld", schema_version), &SeatHeld { guest: guest.to_owned(), until: at(600) }).await
    }

    /// Sells a seat to a guest.
    pub async fn sell(&self, seat: &str, guest: &str) -> Position {
        self.append(seat, ("SeatSold", 1), &SeatSold { guest: guest.to_owned() }).await
    }

    /// Appends one event to a seat's stream.
    pub async fn append(&self, seat: &str, (name, schema_version): (&str, u16), data: &impl Serialize) -> Position {
        let stream: StreamName = format!("seat-{seat}").parse().unwrap();
        let last = self.store.read_stream(&stream, u64::MAX, Direction::Backward, 1).await.unwrap().pop();
        let version = last.map_or(0, |event| event.version + 1);
        let metadata = Metadata {
            partition_key: seat.to_owned(),
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            command_id: Uuid::nil(),
            command_hash: None,
            traceparent: None,
            actor: "guest".to_owned(),
            occurred_at: at(version.try_into().unwrap()),
        };
        let event = NewEvent {
            id: IDS.derive(&["test", stream.as_str(), &version.to_string()]),
            event_type: name.into(),
            schema_version,
            data: serde_json::value::to_raw_value(data).unwrap(),
            metadata: Arc::new(metadata),
        };
        let append = Append { stream, expected: Expected::at(version.checked_sub(1)), events: vec![event] };
        self.store.append(append).await.unwrap().durable().await.unwrap().position
    }

    /// Starts the engine with these read models.
    pub fn start(&self, models: &Arc<ReadModels>) -> Running {
        let (tasks, (_, url)) = (Tasks::new(), watch::channel(Some(self.url.clone())));
        let store: Arc<dyn EventStore> = self.store.clone();
        let setup = Setup { models: Arc::clone(models), only: Vec::new(), store, url, tasks: tasks.clone() };
        Running { engine: ProjectionEngine::start(setup), tasks }
    }

    /// Runs SQL and gives how many rows it changed.
    pub async fn execute(&self, sql: &'static str) -> u64 {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected()
    }

    /// The texts that a query gives.
    pub async fn ask(&self, sql: &'static str) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
    }

    /// Each seat as readers see it, with its state, its guest and the version that the row has reached.
    pub async fn seats(&self) -> Vec<String> {
        self.ask("select concat_ws(' ', seat, state, guest, stream_version) from live.seats order by seat").await
    }
}

/// The engine at work.
pub struct Running {
    pub engine: ProjectionEngine,
    tasks: Tasks,
}

impl Running {
    /// Waits until the rows have reached a position.
    pub async fn reached(&self, position: Position) {
        let progress = self.engine.progress();
        assert!(progress.all_reached(position, BOUND).await, "{:?}", progress.statuses());
    }

    /// Waits until a generation has come to a stage.
    pub async fn until(&self, number: i32, stage: Stage) -> Generation {
        let looked = async {
            loop {
                let all = self.engine.generations().await.unwrap();
                if let Some(found) = all.into_iter().find(|found| found.number == number && found.stage == stage) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(BOUND, looked).await.unwrap()
    }

    /// Stops as a service does at its end.
    pub async fn stop(self) {
        assert!(self.tasks.shut_down(BOUND).await, "the engine did not stop");
    }
}
