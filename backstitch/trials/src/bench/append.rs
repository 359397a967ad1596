//! `bench append`: durable events a second through the port, each client with one append on its way at a time, beside
//! SQLite's own batched insert of the same bytes.

use std::sync::Arc;

use anyhow::Context;
use domain::ids;
use event_store::envelope::Timestamp;
use event_store::{Append, EventStore, Expected, Metadata, NewEvent, SqliteOptions, SqliteStore, StreamName};
use serde_json::value::RawValue;
use service_kit::Clock;
use uuid::Uuid;

use super::machine::Used;
use super::report::{Floor, Row, per_second};
use super::{Found, Options, clients, clock, limit};

/// Bytes of an event's data. Source: the issue, "≥ 600-byte events"; what stands around it comes on top.
const DATA_BYTES: usize = 600;
/// Durable events a second on two cores. Source: the issue's first floors.
const FLOOR: f64 = 30_000.0;

/// Measures.
///
/// # Errors
/// If the log cannot be opened or written.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let bare = {
        let progress = clock("SQLite's own batched insert", options.duration);
        let (folder, bytes) = (options.folder("append-limit")?, vec![b'x'; row_bytes()?]);
        let (batch, duration) = (options.clients, options.duration);
        let bare = tokio::task::spawn_blocking(move || limit::sqlite_insert(&folder, &bytes, batch, duration));
        let bare = bare.await.context("the limit panicked")??;
        progress.finish_and_clear();
        bare
    };
    for (case, fresh) in [("a stream a client", false), ("a new stream an append", true)] {
        let progress = clock(&format!("append, {case}"), options.duration);
        let row = case_row(options, case, fresh).await?;
        progress.finish_and_clear();
        found.rows.push(row.limit(bare.per_second).floor(Floor::AtLeast(FLOOR)));
    }
    found.notes.push(format!(
        "append: {} clients, one append of one event each on its way; {DATA_BYTES} bytes of data and {} of what stands \
         around it; limit: batches of {} rows of as many bytes, table with an integer key and no index",
        options.clients,
        row_bytes()? - DATA_BYTES,
        options.clients,
    ));
    Ok(found)
}

async fn case_row(options: &Options, case: &str, fresh: bool) -> anyhow::Result<Row> {
    let folder = options.folder(if fresh { "append-fresh" } else { "append" })?;
    let store = SqliteStore::open(&folder, SqliteOptions::default())?;
    let template = Arc::new(Template::new()?);
    let before = Used::by("self");
    let (appender, shared) = (store.clone(), template.clone());
    let act = move |client: usize, n: u64| {
        let (store, template) = (appender.clone(), shared.clone());
        async move {
            let append = if fresh { template.append(client, n, 0)? } else { template.append(client, 0, n)? };
            store.append(append).await?.durable().await?;
            Ok(())
        }
    };
    let (latencies, wall) = clients::run(options.clients, options.duration, act).await?;
    let used = Used::since(before, Used::by("self"));
    let events = store.stats().await?.events;
    anyhow::ensure!(events == latencies.len(), "{} appends were answered, the log has {events}", latencies.len());
    store.close().await;
    let case = format!("{} clients, {case}", options.clients);
    Ok(Row::new("append", case, "events/s", per_second(latencies.len(), wall)).latencies(&latencies).used(used))
}

/// The bytes of a row of the log: data, metadata, ids and names.
fn row_bytes() -> anyhow::Result<usize> {
    let append = Template::new()?.append(0, 0, 0)?;
    let event = append.events.first().context("one event")?;
    let metadata = serde_json::to_string(&*event.metadata)?;
    Ok(event.data.get().len() + metadata.len() + event.event_type.len() + append.stream.as_str().len() + 16)
}

/// What all appends of the bench have in common.
pub(super) struct Template {
    data: Box<RawValue>,
    clock: Clock,
}

impl Template {
    /// A template.
    pub fn new() -> anyhow::Result<Self> {
        let padding = "x".repeat(DATA_BYTES - r#"{"padding":""}"#.len());
        let data = RawValue::from_string(format!(r#"{{"padding":"{padding}"}}"#))?;
        Ok(Self { data, clock: Clock::system() })
    }

    /// The append of client `client` to its `stream`-th stream at `version`.
    pub fn append(&self, client: usize, stream: u64, version: u64) -> anyhow::Result<Append> {
        let stream: StreamName = format!("bench-{client:04}-{stream:012}").parse()?;
        let command_id = Uuid::from_u128((client as u128) << 64 | u128::from(version));
        let metadata = metadata(stream.as_str().to_owned(), command_id, self.clock.now());
        let event = NewEvent {
            id: ids::derive(&["bench", stream.as_str(), &version.to_string()]),
            event_type: "BenchHappened".into(),
            schema_version: 1,
            data: self.data.clone(),
            metadata: Arc::new(metadata),
        };
        let expected = version.checked_sub(1).map_or(Expected::NoStream, Expected::Exact);
        Ok(Append { stream, expected, events: vec![event] })
    }
}

/// The metadata of an event that a bench appends by a command of its own.
pub(super) fn metadata(partition_key: String, command_id: Uuid, occurred_at: Timestamp) -> Metadata {
    Metadata {
        partition_key,
        correlation_id: command_id,
        causation_id: command_id,
        command_id,
        command_hash: None,
        traceparent: None,
        actor: "bench".to_owned(),
        occurred_at,
    }
}
