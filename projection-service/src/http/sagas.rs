//! `GET /v1/sagas`: how all sagas stand; `/v1/sagas/incidents`: those that need a person, by what stands against them.
//! One saga is shown by the orchestrator, from the log.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{
    LimitQuery, OneOf, PageQuery, SagaDirection, SagaErrorKind, SagaState, SagaStepStatus, TimeSpanText, Words as _,
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::Params;
use super::stale;
use crate::Handle;
use crate::projections::saga_view;

// That a stuck saga and one at a step have not ended is said in the words of the partial index `saga_view_open`, which is
// walked in the list's order until the page is full.
const LIST: &str = "
with page as materialized (
  select g.saga_id, g.started_at from saga_view g
  where (g.started_at, g.saga_id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, '~'))
    and ($3::text is null or g.state = $3) and ($4::text is null or g.type = $4)
    and ($5::uuid is null or g.order_id = $5)
    and ($6::timestamptz is null
      or (g.state in ('running', 'waiting', 'compensating', 'needs_attention') and g.changed_at <= $6))
    and ($7::text is null or g.step = $7) and ($8::text is null or g.error_kind = $8)
    and ($9::text is null or g.error_code = $9) and ($10::integer is null or g.definition_version = $10)
    and ($11::text is null or g.direction = $11)
    and ($7::text is null or $3::text is not null or g.state in ('running', 'waiting', 'compensating', 'needs_attention'))
  order by g.started_at desc, g.saga_id desc limit $12)
select row_to_json(t) from (
  select g.saga_id as id, g.type, g.order_id, g.state, g.step, g.attempts, g.last_error, g.error_kind, g.deadline,
    g.next_attempt, g.compensations, g.waits_for, g.started_at, g.changed_at, g.ended_at, g.reason, g.handed_over_to,
    g.settled, g.direction, g.error_code, g.stuck, g.attention_since, g.definition_version, g.stream_version as version
  from page p cross join lateral (select * from saga_view g where g.saga_id = p.saga_id offset 0) g
  order by p.started_at desc, p.saga_id desc) t";

// A kind of incident is what a person would repair in one way. The most frequent first.
const INCIDENTS: &str = "
select row_to_json(t) from (
  select g.type, g.step, g.direction, g.error_kind, g.error_code, g.definition_version, g.stuck, count(*) as count,
    min(g.attention_since) as since, max(g.attention_since) as latest,
    (array_agg(g.saga_id order by g.attention_since, g.saga_id))[1] as example,
    (array_agg(g.last_error order by g.attention_since, g.saga_id))[1] as last_error
  from saga_view g where g.state = 'needs_attention' and ($1::text is null or g.type = $1)
  group by g.type, g.step, g.direction, g.error_kind, g.error_code, g.definition_version, g.stuck
  order by count(*) desc, min(g.attention_since), g.type, g.step limit $2) t";

/// What the list can be narrowed down by, and how it is paged.
const FILTERS: &[&str] = &[
    "state",
    "type",
    "stuck_for",
    "step",
    "direction",
    "error_kind",
    "error_code",
    "definition_version",
    "order_id",
    "limit",
    "cursor",
];

/// A saga with its current state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ListedSaga)]
pub struct Saga {
    /// The id of the saga: `/v1/sagas/{id}` shows it in full.
    #[schema(example = "order_fulfilment-7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11")]
    pub id: String,
    /// The type of the saga.
    #[schema(example = "order_fulfilment")]
    pub r#type: String,
    /// The id of its order.
    pub order_id: Uuid,
    /// The state of the saga.
    #[schema(value_type = SagaState)]
    pub state: String,
    /// The name of the current step.
    pub step: Option<String>,
    /// How often the commands of that step were sent.
    pub attempts: i32,
    /// The latest failure, also where a later try succeeded.
    pub last_error: Option<String>,
    /// The kind of that failure.
    #[schema(value_type = Option<SagaErrorKind>)]
    pub error_kind: Option<String>,
    /// The stable name of that failure.
    #[schema(example = "refund_failed")]
    pub error_code: Option<String>,
    /// The direction of the step that it is at.
    #[schema(value_type = Option<SagaDirection>)]
    pub direction: Option<String>,
    /// Whether a step stands still until a person acts.
    pub stuck: bool,
    /// Since when a person is needed.
    pub attention_since: Option<DateTime<Utc>>,
    /// The moment when the saga next acts by itself or needs attention.
    pub deadline: Option<DateTime<Utc>>,
    /// The moment when the next retry is made.
    pub next_attempt: Option<DateTime<Utc>>,
    /// The compensations in order: each step and the status of its compensation.
    pub compensations: Vec<Compensation>,
    /// What the saga waits for, in words.
    pub waits_for: Vec<String>,
    /// The moment when the saga began.
    pub started_at: DateTime<Utc>,
    /// The moment of the saga's latest event.
    pub changed_at: Option<DateTime<Utc>>,
    /// The moment when the saga ended; null while it is active.
    pub ended_at: Option<DateTime<Utc>>,
    /// The reason for which it is compensated or was handed over.
    pub reason: Option<String>,
    /// The saga that drives the order now.
    pub handed_over_to: Option<String>,
    /// Whether nothing changes any more until a party outside acts.
    pub settled: bool,
    /// The version of the table of steps that the saga follows.
    pub definition_version: i32,
    /// The version of its stream.
    pub version: u64,
}

/// A compensation of the saga: a step attempt to undo.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaCompensation)]
pub struct Compensation {
    /// The name of the step that is undone.
    pub step: String,
    /// The number of the step attempt, from 0.
    pub group: u32,
    /// The state of its compensation.
    #[schema(value_type = SagaStepStatus)]
    #[serde(deserialize_with = "one_word")]
    pub status: String,
}

/// A status as the API writes it: rows of older programs have a space in `to come`.
fn one_word<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|word| word.replace(' ', "_"))
}

/// The sagas that need attention for the same reason.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaIncident)]
pub struct Incident {
    /// The type of the sagas.
    pub r#type: String,
    /// The name of the step at which they are.
    pub step: Option<String>,
    /// The direction of that step.
    #[schema(value_type = Option<SagaDirection>)]
    pub direction: Option<String>,
    /// The kind of the failure.
    #[schema(value_type = Option<SagaErrorKind>)]
    pub error_kind: Option<String>,
    /// The stable code of the failure.
    pub error_code: Option<String>,
    /// The version of the table of steps that they follow.
    pub definition_version: i32,
    /// Whether they stand still until an operator acts. Otherwise they keep retrying or waiting.
    pub stuck: bool,
    /// The number of the sagas.
    pub count: i64,
    /// The moment since which the first of them needs attention.
    pub since: Option<DateTime<Utc>>,
    /// The moment since which the last of them needs attention.
    pub latest: Option<DateTime<Utc>>,
    /// The id of the first of them.
    pub example: String,
    /// The failure of that saga, in words.
    pub last_error: Option<String>,
}

/// Sagas that need a person, by what stands against them; the most frequent first.
#[utoipa::path(get, path = "/v1/sagas/incidents", tag = "sagas", operation_id = "listIncidents",
    params(ConsistencyHeaders, ("type" = Option<String>, Query, min_length = 1, max_length = 100, example = "order_refund", description = "Only those of this type"),
        LimitQuery),
    responses((status = 200, description = "The kinds of incidents, the most frequent first.", body = Page<Incident>), Refusals))]
pub async fn incidents(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Incident>>, Problem> {
    params.only(&["type", "limit"])?;
    let limit = params.limit(USUAL, MOST)?;
    let query = json::<Incident>(INCIDENTS).bind(params.text("type", 100)?).bind(look_up(limit));
    let reader = consistency.reader(&handle, &[saga_view::NAME]).await?;
    let mut page = Page::of(reader.list(query).await?, limit, |_| String::new());
    page.next = None; // What comes after the first two hundred kinds is found once these are fewer.
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}

/// Sagas, newest first.
#[utoipa::path(get, path = "/v1/sagas", tag = "sagas", operation_id = "listSagas",
    params(ConsistencyHeaders, ("state" = inline(Option<OneOf<SagaState>>), Query, description = "Only those in this state"),
        ("type" = Option<String>, Query, min_length = 1, max_length = 100, example = "order_fulfilment", description = "Only those of this type"),
        ("stuck_for" = inline(Option<TimeSpanText>), Query, description = "Only those that go on and to which nothing has happened for this time span, such as `5m`"),
        ("step" = Option<String>, Query, min_length = 1, max_length = 100, description = "Only those at this step; sagas that have ended only if `state` is given too"),
        ("direction" = inline(Option<OneOf<SagaDirection>>), Query, description = "Only those whose step goes in this direction"),
        ("error_kind" = inline(Option<OneOf<SagaErrorKind>>), Query, description = "Only those whose last failure was of this kind"),
        ("error_code" = Option<String>, Query, min_length = 1, max_length = 100, description = "Such as `refund_failed`"),
        ("definition_version" = Option<u32>, Query, minimum = 1, maximum = 2_147_483_647, description = "Only those that follow this version of their table of steps"),
        ("order_id" = Option<Uuid>, Query, description = "Only those of this order"), PageQuery),
    responses((status = 200, description = "A page of sagas, the newest first.", body = Page<Saga>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Saga>>, Problem> {
    params.only(FILTERS)?;
    let limit = params.limit(USUAL, MOST)?;
    let (started_at, id) = cursor::decode::<DateTime<Utc>, String>(&params, "sagas")?.unzip();
    let stuck_since = params.duration("stuck_for")?.map(|span| handle.clock.now() - span);
    let order_id = params.get::<Uuid>("order_id")?;
    let query = json::<Saga>(LIST)
        .bind(started_at)
        .bind(id)
        .bind(params.one_of("state", SagaState::WORDS)?)
        .bind(params.text("type", 100)?)
        .bind(order_id)
        .bind(stuck_since)
        .bind(params.text("step", 100)?)
        .bind(params.one_of("error_kind", SagaErrorKind::WORDS)?)
        .bind(params.text("error_code", 100)?)
        .bind(
            params
                .within("definition_version", 1..=i32::MAX.unsigned_abs().into())?
                .and_then(|version| i32::try_from(version).ok()),
        )
        .bind(params.one_of("direction", SagaDirection::WORDS)?)
        .bind(look_up(limit));
    let reader = consistency.reader(&handle, &[saga_view::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |saga: &Saga| [saga.started_at.to_rfc3339(), saga.id.clone()];
    let page = Page::of(found, limit, |saga| cursor::encode("sagas", &key(saga)));
    let page = page.stale(reader.stale(stale::of_order_or_any(order_id)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}
