//! `GET /v1/sagas`: how all sagas stand. One saga is shown by the orchestrator, from the log.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::Params;
use crate::Handle;
use crate::projections::saga_view;

const STATES: &[&str] =
    &["running", "waiting", "compensating", "needs_attention", "completed", "compensated", "handed_over"];

// That a stuck saga has not ended is said in the words of the partial index.
const LIST: &str = "
select row_to_json(t) from (
  select g.saga_id as id, g.type, g.order_id, g.state, g.step, g.attempts, g.last_error, g.error_kind, g.deadline,
    g.next_attempt, g.compensations, g.waits_for, g.started_at, g.changed_at, g.ended_at, g.reason, g.handed_over_to,
    g.settled, g.definition_version, g.stream_version as version
  from saga_view g
  where (g.started_at, g.saga_id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, '~'))
    and ($3::text is null or g.state = $3) and ($4::text is null or g.type = $4)
    and ($5::uuid is null or g.order_id = $5)
    and ($6::timestamptz is null
      or (g.state in ('running', 'waiting', 'compensating', 'needs_attention') and g.changed_at <= $6))
  order by g.started_at desc, g.saga_id desc limit $7) t";

/// How a saga stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Saga {
    /// `/v1/sagas/{id}` tells its whole story.
    pub id: String,
    /// Such as `order_fulfilment`.
    pub r#type: String,
    /// The order.
    pub order_id: Uuid,
    /// `running, waiting, compensating, needs_attention, completed, compensated, handed_over`.
    pub state: String,
    /// The step that it is at.
    pub step: Option<String>,
    /// How often that step's commands were sent.
    pub attempts: i32,
    /// The last thing that did not work, also where a later try did.
    pub last_error: Option<String>,
    /// What kind of trouble that was.
    pub error_kind: Option<String>,
    /// When it next acts by itself or calls a person.
    pub deadline: Option<DateTime<Utc>>,
    /// When what failed is tried again.
    pub next_attempt: Option<DateTime<Utc>>,
    /// The way back: each step and how its undoing stands.
    pub compensations: Vec<Compensation>,
    /// What it waits for, in words.
    pub waits_for: Vec<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When something last happened to it.
    pub changed_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it goes back or was handed over.
    pub reason: Option<String>,
    /// The saga that drives the order now.
    pub handed_over_to: Option<String>,
    /// Whether nothing happens any more until somebody outside acts.
    pub settled: bool,
    /// Which version of the table of steps it follows.
    pub definition_version: i32,
    /// The version of its stream.
    pub version: u64,
}

/// A step of the way back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Compensation {
    /// The step that is undone.
    pub step: String,
    /// Its attempt group.
    pub group: u32,
    /// `to come, open, succeeded, failed, stuck`.
    pub status: String,
}

/// Sagas, newest first.
#[utoipa::path(get, path = "/v1/sagas", tag = "sagas", operation_id = "listSagas",
    params(ConsistencyHeaders, ("state" = Option<String>, Query, description = "One of the states"),
        ("type" = Option<String>, Query, description = "Such as `order_fulfilment`"),
        ("stuck_for" = Option<String>, Query, description = "Only those that go on and to which nothing has happened for this time span, such as `5m`"),
        ("order_id" = Option<Uuid>, Query), ("limit" = Option<u32>, Query, description = "1 to 200"),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<Saga>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Saga>>, Problem> {
    params.only(&["state", "type", "stuck_for", "order_id", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let (started_at, id) = cursor::decode::<DateTime<Utc>, String>(&params, "sagas")?.unzip();
    let stuck_since = params.duration("stuck_for")?.map(|span| handle.clock.now() - span);
    let query = json::<Saga>(LIST)
        .bind(started_at)
        .bind(id)
        .bind(params.one_of("state", STATES)?)
        .bind(params.text("type", 100)?)
        .bind(params.get::<Uuid>("order_id")?)
        .bind(stuck_since)
        .bind(look_up(limit));
    let reader = consistency.reader(&handle, &[saga_view::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |saga: &Saga| [saga.started_at.to_rfc3339(), saga.id.clone()];
    let page = Page::of(found, limit, |saga| cursor::encode("sagas", &key(saga)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}
