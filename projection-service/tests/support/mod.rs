//! A shop's log, with real Postgres and the read side on top; and stories to put into it.
#![allow(dead_code, missing_docs, reason = "each test binary uses a part of it")]

pub mod applying;
pub mod books;
pub mod lives;
pub mod shopkeeper;
pub mod split;
pub mod stories;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use domain::EncodedEvent;
use event_store::sqlite::{Faults, SqliteOptions, SqliteStore};
use event_store::{Append, EventStore, Expected, Metadata, NewEvent, Position, StreamName, Ticket};
use http_body_util::BodyExt as _;
use projection_service::{Config, Handle, start};
use service_kit::clock::Timestamp;
use service_kit::postgres::testing::fresh_database;
use service_kit::{Clock, Tasks};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;
use uuid::Uuid;

/// What any wait in a test may take at most; it ends a test that would hang.
pub const BOUND: Duration = Duration::from_secs(60);

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_790_000_000 + seconds, 0).expect("a moment of 2026")
}

/// A log in a folder of its own.
#[derive(Clone)]
pub struct Log {
    pub store: Arc<SqliteStore>,
    pub faults: Faults,
    _folder: Arc<TempDir>,
}

impl Log {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let options = SqliteOptions::default();
        let faults = options.faults.clone();
        let store = SqliteStore::open(folder.path(), options).expect("a new log");
        Self { store, faults, _folder: Arc::new(folder) }
    }

    pub async fn append(&self, stream: &str, events: Vec<EncodedEvent>, seconds: i64) -> Position {
        let name: StreamName = stream.parse().expect("a stream's name");
        let key = if stream.starts_with("stock") || stream.starts_with("product") { stream } else { name.id() };
        self.append_for(stream, key, events, seconds).await
    }

    /// Appends events whose partition key is not their stream's id, as those of payments and shipments.
    pub async fn append_for(&self, stream: &str, key: &str, events: Vec<EncodedEvent>, seconds: i64) -> Position {
        let stream: StreamName = stream.parse().expect("a stream's name");
        let head = self.store.read_stream(&stream, u64::MAX, event_store::Direction::Backward, 1).await;
        let first = head.expect("readable").first().map_or(0, |event| event.version + 1);
        self.queue(&stream, (key, "dev"), first, events, seconds).await.durable().await.expect("durable").position
    }

    /// Queues events from version `first` on, of this partition key and actor; they are not durable yet.
    pub async fn queue(
        &self,
        stream: &StreamName,
        (key, actor): (&str, &str),
        first: u64,
        events: Vec<EncodedEvent>,
        seconds: i64,
    ) -> Ticket {
        let metadata = Arc::new(Metadata {
            partition_key: key.to_owned(),
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            command_id: Uuid::nil(),
            command_hash: None,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            actor: actor.to_owned(),
            occurred_at: at(seconds),
        });
        let event = |(version, event): (u64, EncodedEvent)| NewEvent {
            id: domain::ids::derive(&["test", stream.as_str(), &version.to_string()]),
            event_type: event.event_type.into(),
            schema_version: event.schema_version,
            data: event.data,
            metadata: Arc::clone(&metadata),
        };
        let events = (first..).zip(events).map(event).collect();
        let append = Append { stream: stream.clone(), expected: Expected::at(first.checked_sub(1)), events };
        self.store.append(append).await.expect("accepted")
    }
}

/// The read side over a log and a database of its own.
pub struct Shop {
    pub log: Log,
    pub handle: Handle,
    pub url: String,
    pub clock: Clock,
    pub tasks: Tasks,
    pub router: Router,
}

impl Shop {
    pub async fn start() -> Self {
        let url = fresh_database().await.expect("a database");
        Self::over(Log::new(), url)
    }

    pub fn over(log: Log, url: String) -> Self {
        let (clock, tasks) = (Clock::manual(at(0)), Tasks::new());
        let store: Arc<dyn EventStore> = log.store.clone();
        let (_, ready) = watch::channel(Some(url.clone()));
        let handle = start(store, ready, clock.clone(), tasks.clone(), &Config::default());
        let (router, _) = projection_service::http::router(handle.clone()).split_for_parts();
        Self { log, handle, url, clock, tasks, router }
    }

    /// Bounds live connections from now on.
    pub fn live_within(&mut self, bounds: projection_service::LiveBounds) {
        self.handle.live = Arc::new(projection_service::LivePlaces::within(bounds));
        (self.router, _) = projection_service::http::router(self.handle.clone()).split_for_parts();
    }

    /// Stops the read side and starts it again over the same log and database.
    pub async fn restart(self) -> Self {
        assert!(self.tasks.shut_down(BOUND).await, "the read side did not stop");
        Self::over(self.log, self.url)
    }

    /// Waits until all that is in the log is in the rows.
    pub async fn caught_up(&self) {
        let head = *self.log.store.head().borrow();
        assert!(self.handle.progress.all_reached(head, BOUND).await, "{:?}", self.handle.progress.statuses());
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        Answer::of(self.response(path, headers).await).await
    }

    pub async fn response(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).expect("a request");
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    /// Asks for something under a key.
    pub async fn post(&self, path: &str, key: &str, body: &serde_json::Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json").header("idempotency-key", key);
        let request = request.body(Body::from(body.to_string())).expect("a request");
        Answer::of(self.router.clone().oneshot(request).await.expect("infallible")).await
    }

    /// All rows of a table as readers see it, as JSON, in an order of their own.
    pub async fn rows(&self, table: &str) -> Vec<serde_json::Value> {
        rows(&self.url, table).await
    }
}

/// Runs SQL of a test's own.
pub async fn execute(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("it can be executed");
}

/// All rows of a table as readers see it, as JSON, in an order of their own.
pub async fn rows(url: &str, table: &str) -> Vec<serde_json::Value> {
    rows_in(url, "live", table).await
}

/// All rows of a table in a schema, as JSON, in an order of their own.
pub async fn rows_in(url: &str, schema: &str, table: &str) -> Vec<serde_json::Value> {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    let sql = format!("select to_jsonb(t) from {schema}.{table} t order by to_jsonb(t)::text");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("rows")
}

pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: serde_json::Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"));
        Answer { status, headers, body }
    }

    pub fn ok(self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The field that a refusal names.
    pub fn refused_field(self) -> String {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self.body["errors"][0]["field"].as_str().expect("a field").to_owned()
    }
}
