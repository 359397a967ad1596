//! `order_timeline`: what happened to an order, one row an event, over all streams that belong to it.
//!
//! Order, payment, shipment and saga streams belong to the order of their `partition_key`; of the stock streams those
//! events that name an order. Of a saga only what people ask for is kept here: its whole story is its own stream.

use std::sync::Arc;

use async_trait::async_trait;
use domain::DecodeError;
use event_store::{RecordedEvent, StreamName};
use projection_engine::projecting::applied::Marks;
use projection_engine::projecting::changes::{Head, signed, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Index, Projection};
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

/// The name of the read model.
pub const NAME: &str = "order_timeline";

/// The table. The summary is the few fields of the event that people look for. By any of its ids the order is found to
/// which an event, a command or a request belongs.
pub const DDL: &str = "
create table order_timeline (
    order_id uuid not null, position bigint not null, event_id uuid not null, stream text not null,
    event_type text not null, version bigint not null, actor text not null, correlation_id uuid not null,
    causation_id uuid not null, trace_id text, summary text not null, occurred_at timestamptz not null,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null,
    command_id uuid not null,
    primary key (order_id, position)
);
";

/// The indexes of the table.
pub const INDEXES: &[Index] = &[
    Index::new("order_timeline_by_event", "order_timeline", "(event_id)"),
    Index::new("order_timeline_by_command", "order_timeline", "(command_id)"),
    Index::new("order_timeline_by_cause", "order_timeline", "(causation_id)"),
    Index::new("order_timeline_by_story", "order_timeline", "(correlation_id)"),
];

/// A saga's events that belong into an order's timeline.
const OF_SAGAS: &[&str] = &[
    "SagaStarted",
    "StepFailed",
    "StepRetryScheduled",
    "CompensationStarted",
    "SagaCompleted",
    "SagaCompensated",
    "SagaHandedOver",
    "SagaNeedsAttention",
    "OperatorActed",
];

/// The fields that a summary is made of, where the event has them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Telling {
    order_id: Option<Uuid>,
    totals: Option<Totals>,
    amount: Option<domain::money::Money>,
    quantity: Option<i64>,
    step: Option<String>,
    reason: Option<String>,
    decline_code: Option<String>,
    failure_code: Option<String>,
    failure: Option<domain::saga::Failure>,
    to: Option<String>,
    action: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Totals {
    total: domain::money::Money,
}

#[derive(Debug)]
struct Entry {
    order_id: Uuid,
    event: Arc<RecordedEvent>,
    summary: String,
}

/// The projection that writes `order_timeline`.
#[derive(Debug, Default)]
pub struct OrderTimeline {
    marks: Marks,
    entries: Vec<Entry>,
}

#[async_trait]
impl Projection for OrderTimeline {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        matches!(stream.category(), "order" | "payment" | "shipment" | "stock")
            || stream.category().starts_with("saga_")
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        self.marks.load(sql, NAME, events).await
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.marks.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        self.marks.mark(event);
        let of_saga = event.stream.category().starts_with("saga_");
        if of_saga && !OF_SAGAS.contains(&&*event.event_type) {
            return Ok(());
        }
        // An event that says none of this has an empty summary; whether it can be read is for its own projection to say.
        let telling: Telling = serde_json::from_str(event.data.get()).unwrap_or_default();
        let of_stock = event.stream.category() == "stock";
        let key = if of_stock { telling.order_id } else { Uuid::try_parse(&event.metadata.partition_key).ok() };
        if let Some(order_id) = key {
            self.entries.push(Entry { order_id, event: Arc::new(event.clone()), summary: summary(&telling) });
        }
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.marks.mark(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.marks.write(sql, NAME).await? || self.entries.is_empty() {
            return Ok(());
        }
        write(&self.entries, sql).await?;
        self.entries.clear();
        Ok(())
    }
}

/// The few things of an event that people look for.
pub fn summary_of(event: &RecordedEvent) -> String {
    summary(&serde_json::from_str(event.data.get()).unwrap_or_default())
}

fn summary(telling: &Telling) -> String {
    let failure = telling.failure.as_ref().map(ToString::to_string);
    let parts = [
        telling.action.clone(),
        telling.step.clone(),
        telling.to.as_ref().map(|to| format!("to {to}")),
        telling.totals.as_ref().map(|totals| totals.total).or(telling.amount).map(|amount| amount.to_string()),
        telling.quantity.map(|quantity| format!("{quantity} pieces")),
        telling.reason.clone(),
        telling.decline_code.clone(),
        telling.failure_code.clone(),
        failure,
    ];
    text(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The trace id is the second part of a W3C `traceparent`.
fn trace_id(event: &RecordedEvent) -> Option<String> {
    event.metadata.traceparent.as_deref()?.split('-').nth(1).map(text)
}

async fn write(entries: &[Entry], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    Upsert::new("order_timeline", entries)
        .key("order_id", |entry| entry.order_id)
        .key("position", |entry| signed(entry.event.position.0))
        .once("event_id", |entry| entry.event.id)
        .once("stream", |entry| entry.event.stream.to_string())
        .once("event_type", |entry| text(&entry.event.event_type))
        .once("version", |entry| signed(entry.event.version))
        .once("actor", |entry| text(&entry.event.metadata.actor))
        .once("correlation_id", |entry| entry.event.metadata.correlation_id)
        .once("causation_id", |entry| entry.event.metadata.causation_id)
        .once("trace_id", |entry| trace_id(&entry.event))
        .once("summary", |entry| entry.summary.clone())
        .once("occurred_at", |entry| entry.event.metadata.occurred_at)
        .once("command_id", |entry| entry.event.metadata.command_id)
        .head_once(|entry| Head::of(&entry.event))
        .execute(sql)
        .await
}
