//! `saga_view`: how each saga stands, from the saga's own stream.
//!
//! A row holds what people ask for, not the whole fold: that would be some kB of JSON written a dozen times a second
//! per saga. When a saga that is not in memory goes on, its stream (some tens of events) is read again from the log:
//! to the runner that is an ordinary gap. The upsert's guard keeps an older version from ever replacing a newer one.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::DecodeError;
use domain::saga::{Event, Failure, LegStatus, SagaState, View};
use event_store::{RecordedEvent, StreamName};
use projection_engine::projecting::changes::{Changes, Row, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Index, Projection};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// The name of the read model.
pub const NAME: &str = "saga_view";

/// The table. `awaits` are the facts from outside that open steps wait for. `direction`, `error_kind` and `error_code` are
/// of the step it is at; `stuck` says that the step stands still until a person acts.
pub const DDL: &str = "
create table saga_view (
    saga_id text collate \"C\" primary key, type text not null, definition_version integer not null,
    order_id uuid not null, state text not null, step text, attempts integer not null, last_error text,
    error_kind text, deadline timestamptz, next_attempt timestamptz, compensations jsonb not null,
    waits_for jsonb not null, awaits jsonb not null, started_at timestamptz, changed_at timestamptz,
    ended_at timestamptz, reason text, handed_over_to text, settled boolean not null,
    direction text, error_code text, stuck boolean not null, attention_since timestamptz,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
) with (fillfactor = 70);
";

/// The indexes of the table.
///
/// Those of what needs a person and of what has not ended have only columns that stay as they are: others would make
/// every update of a row write to all of its indexes. So the sagas at a step are found among those that have not ended,
/// in the list's order: at most those are read for a page, however many have ended.
pub const INDEXES: &[Index] = &[
    Index::new("saga_view_by_order", "saga_view", "(order_id)"),
    Index::new("saga_view_by_start", "saga_view", "(started_at, saga_id)"),
    Index::new("saga_view_by_type", "saga_view", "(type, started_at, saga_id)"),
    Index::new("saga_view_by_definition", "saga_view", "(definition_version, started_at, saga_id)"),
    Index::new("saga_view_by_state", "saga_view", "(state, started_at, saga_id)"),
    Index::new(
        "saga_view_open",
        "saga_view",
        "(started_at, saga_id) where state in ('running', 'waiting', 'compensating', 'needs_attention')",
    ),
    Index::new("saga_view_by_error", "saga_view", "(error_kind, started_at, saga_id) where error_kind is not null"),
    Index::new(
        "saga_view_by_error_code",
        "saga_view",
        "(error_code, started_at, saga_id) where error_code is not null",
    ),
    Index::new("saga_view_turned_back", "saga_view", "(direction, started_at, saga_id) where direction <> 'do'"),
    Index::new(
        "saga_view_attention",
        "saga_view",
        "(type, definition_version, started_at, saga_id) where state = 'needs_attention'",
    ),
];

/// Sagas kept in memory, twice over: at some 6 kB each 25 MB, and more than move at the same moment. Those that wait for
/// the warehouse for days are read again when they go on.
const KEPT: usize = 2_048;

/// How a saga stands, and since when a person is needed.
#[derive(Debug, Default)]
struct Standing {
    view: View,
    attention_since: Option<DateTime<Utc>>,
}

impl Standing {
    fn fold(&mut self, event: &Event, at: DateTime<Utc>) {
        self.view.fold(event, at);
        match self.view.state() {
            SagaState::NeedsAttention => _ = self.attention_since.get_or_insert(at),
            SagaState::Running
            | SagaState::Waiting
            | SagaState::Compensating
            | SagaState::Completed
            | SagaState::Compensated
            | SagaState::HandedOver => self.attention_since = None,
        }
    }

    /// What stands against it: where a person is needed what the person is needed for, else the last thing that did not
    /// work.
    fn trouble(&self) -> Option<&Failure> {
        let called_for = self.view.open_legs().find(|leg| leg.attention).and_then(|leg| leg.last_error.as_ref());
        self.view.unsupported.as_ref().or(called_for).or_else(|| self.view.last_error())
    }

    fn stuck(&self) -> bool {
        self.view.unsupported.is_some() || self.view.open_legs().any(|leg| leg.status == LegStatus::Stuck)
    }
}

/// The projection that writes `saga_view`.
#[derive(Debug)]
pub struct SagaView {
    sagas: Changes<Standing>,
    settled: Vec<Uuid>,
}

impl Default for SagaView {
    fn default() -> Self {
        Self { sagas: Changes::keeping(KEPT), settled: Vec::new() }
    }
}

#[async_trait]
impl Projection for SagaView {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category().starts_with("saga_")
    }

    async fn load(&mut self, _: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        // What is not in memory is folded from version 0: see the module.
        self.sagas.missing(events.iter().map(AsRef::as_ref));
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.sagas.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get())?;
        self.sagas.row(event).fold(&decoded, event.metadata.occurred_at);
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.sagas.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.sagas.changed();
        if changed.is_empty() {
            return Ok(());
        }
        write(&changed, sql).await?;
        let settled = changed.iter().filter(|(_, row)| row.value.view.settled());
        self.settled = settled.map(|(_, row)| row.value.view.subject.order_id.0).collect();
        let ended = changed.iter().filter(|(_, row)| row.value.view.state().is_end());
        let ended: Vec<StreamName> = ended.map(|(stream, _)| (*stream).clone()).collect();
        self.sagas.written();
        ended.iter().for_each(|stream| self.sagas.forget(stream)); // Nothing more happens to them.
        Ok(())
    }

    fn at_rest(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.settled)
    }
}

fn compensations(view: &View) -> Json<Vec<serde_json::Value>> {
    let status = |status: LegStatus| match status {
        LegStatus::Open => "open",
        LegStatus::Succeeded => "succeeded",
        LegStatus::Failed => "failed",
        LegStatus::Stuck => "stuck",
    };
    let step = |(step, undone): &(domain::saga::StepRef, Option<LegStatus>)| serde_json::json!({ "step": step.step, "group": step.group, "status": undone.map_or("to come", status) });
    Json(view.compensations().iter().map(step).collect())
}

fn awaits(view: &View) -> Json<Vec<String>> {
    Json(view.open_legs().filter_map(|leg| leg.awaits.as_ref().map(|awaits| awaits.fact.clone())).collect())
}

fn number(from: u32) -> i32 {
    i32::try_from(from).unwrap_or(i32::MAX)
}

async fn write(changed: &[(&StreamName, &Row<Standing>)], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    let state = |view: &View| SagaState::as_str(view.state());
    let saga_id = |stream: &StreamName| stream.as_str().trim_start_matches("saga_").to_owned();
    Upsert::new("saga_view", changed)
        .key("saga_id", |(stream, _)| saga_id(stream))
        .set("type", |(_, row)| text(&row.value.view.saga))
        .set("definition_version", |(_, row)| number(row.value.view.definition_version))
        .set("order_id", |(_, row)| row.value.view.subject.order_id.0)
        .set("state", |(_, row)| state(&row.value.view))
        .set("step", |(_, row)| row.value.view.step().map(text))
        .set("attempts", |(_, row)| number(row.value.view.attempts()))
        .set("last_error", |(_, row)| row.value.trouble().map(|failure| text(&failure.to_string())))
        .set("error_kind", |(_, row)| row.value.trouble().map(|failure| failure.kind.as_str()))
        .set("deadline", |(_, row)| row.value.view.deadline())
        .set("next_attempt", |(_, row)| row.value.view.next_attempt())
        .set("compensations", |(_, row)| compensations(&row.value.view))
        .set("waits_for", |(_, row)| Json(row.value.view.waits_for().iter().map(|w| text(w)).collect::<Vec<_>>()))
        .set("awaits", |(_, row)| awaits(&row.value.view))
        .set("started_at", |(_, row)| row.value.view.started_at)
        .set("changed_at", |(_, row)| row.value.view.changed_at)
        .set("ended_at", |(_, row)| row.value.view.ended_at)
        .set("reason", |(_, row)| row.value.view.reason.as_deref().map(text))
        .set("handed_over_to", |(_, row)| row.value.view.handed_over_to.as_deref().map(text))
        .set("settled", |(_, row)| row.value.view.settled())
        .set("direction", |(_, row)| row.value.view.current().map(|leg| leg.direction.as_str()))
        .set("error_code", |(_, row)| row.value.trouble().map(|failure| text(&failure.code)))
        .set("stuck", |(_, row)| row.value.stuck())
        .set("attention_since", |(_, row)| row.value.attention_since)
        .head(|(_, row)| row.head)
        .execute(sql)
        .await
}
