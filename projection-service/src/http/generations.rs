//! What operators ask of one read model: `POST /v1/projections/{name}/rebuild`, `…/rollback`, `…/retire`, `…/replay`;
//! and how it stands: `GET /v1/projections/{name}`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use event_store::{Direction, Filter, Position};
use projection_engine::generations::requests::{Done, Refused};
use projection_engine::generations::{Asked, Generation as Kept, Stage};
use projection_engine::{ProjectionEngine, ReadModel};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{GenerationState, LogPosition};
use service_kit::request::{Body, KeyHeaders, key_without_version, mark_replayed};
use utoipa::ToSchema;

use super::answer::{Answer, RefusalsOfOne, no_answer};
use super::comparison::Comparison;
use super::params::{Names, Params};
use super::projections::{Lags, Projection, look, stand};
use super::streams::unreadable;
use crate::Handle;
use crate::projections::{ALL, named};

/// The longest actor and reason, in characters.
const LONGEST: (usize, usize) = (64, 500);

/// A generation of a read model.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ProjectionGeneration)]
pub struct Generation {
    /// The generation's number, from 1.
    pub generation: i32,
    /// The state of the generation.
    #[schema(value_type = GenerationState)]
    pub state: Stage,
    /// The Postgres schema of its tables.
    pub schema: String,
    /// The position up to which the log is in its rows.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The position that it goes to: the end of the log, or where a replay ends.
    #[schema(value_type = LogPosition)]
    pub target: u64,
    /// It becomes live whatever the comparison says.
    pub accept_differences: bool,
    /// What the last comparison with the live one found.
    pub comparison: Option<Comparison>,
    /// How many rows each table of a replay has.
    pub row_counts: Option<BTreeMap<String, i64>>,
    /// The latest failure, until the work succeeds again.
    pub last_error: Option<String>,
}

/// A read model with its generations.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ProjectionInFull)]
pub struct OneProjection {
    /// The read model and its progress.
    #[serde(flatten)]
    pub projection: Projection,
    /// Its generations, oldest first.
    pub generations: Vec<Generation>,
}

/// Asks for a rebuild.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = RebuildProjectionBody)]
pub struct Rebuild {
    /// Let it take over also where it differs from the live one.
    pub accept_differences: bool,
    /// The name of the person who asks: 1 to 64 characters; `operator` where it is not given.
    #[schema(min_length = 1, max_length = 64, example = "alice")]
    pub actor: Option<String>,
    /// The reason: 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Asks to go back to the generation before.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = RollBackProjectionBody)]
pub struct RollBack {
    /// The name of the person who asks: 1 to 64 characters; `operator` where it is not given.
    #[schema(min_length = 1, max_length = 64, example = "alice")]
    pub actor: Option<String>,
    /// The reason: 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Asks to drop a generation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = RetireProjectionBody)]
pub struct Retire {
    /// The generation to drop; the previous one where it is not given.
    #[schema(minimum = 1)]
    pub generation: Option<i32>,
    /// The name of the person who asks: 1 to 64 characters; `operator` where it is not given.
    #[schema(min_length = 1, max_length = 64, example = "alice")]
    pub actor: Option<String>,
    /// The reason: 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Asks to fold it as it was. Give either.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ReplayProjectionBody)]
pub struct Replay {
    /// The position of the last event to fold.
    #[schema(value_type = Option<LogPosition>)]
    pub to_position: Option<u64>,
    /// The moment up to which the log's events are folded.
    pub at: Option<DateTime<Utc>>,
    /// The name of the person who asks: 1 to 64 characters; `operator` where it is not given.
    #[schema(min_length = 1, max_length = 64, example = "alice")]
    pub actor: Option<String>,
    /// The reason: 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// One read model: how far it is, and its generations.
#[utoipa::path(get, path = "/v1/projections/{name}", tag = "operations", operation_id = "getProjection",
    params(("name" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", example = "orders", description = "The read model's name")),
    responses((status = 200, description = "The read model and its generations.", body = OneProjection), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
) -> Result<Answer<OneProjection>, Problem> {
    params.only(&[])?;
    one(&handle, model(&names)?).await
}

/// Makes a new generation beside the live one, folded from the beginning; once it has caught up and is the same, answers
/// come from it. Where one waits because it differs, it is compared again.
#[utoipa::path(post, path = "/v1/projections/{name}/rebuild", tag = "operations", operation_id = "rebuildProjection",
    params(("name" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", example = "orders", description = "The read model's name"), KeyHeaders), request_body = Rebuild,
    responses((status = 202, body = OneProjection, description = "`Location` shows how far it is"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "`rebuild-in-progress`"), RefusalsOfOne))]
pub async fn rebuild(
    State(handle): State<Handle>,
    names: Names,
    headers: HeaderMap,
    body: Body<Rebuild>,
) -> Result<Response, Problem> {
    let (model, body) = (model(&names)?, body.value);
    let asked = asked(&handle, &headers, body.actor, body.reason)?;
    let done = ready(&handle)?.rebuild(model, body.accept_differences, asked).await;
    accepted(&handle, model, done.map_err(refused)?).await
}

/// Lets answers come from the previous generation again, at once: it was fed all the time.
#[utoipa::path(post, path = "/v1/projections/{name}/rollback", tag = "operations", operation_id = "rollBackProjection",
    params(("name" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", example = "orders", description = "The read model's name"), KeyHeaders), request_body = RollBack,
    responses((status = 200, description = "The read model and its generations.", body = OneProjection),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "`no-previous-generation`, `generation-behind`"), RefusalsOfOne))]
pub async fn roll_back(
    State(handle): State<Handle>,
    names: Names,
    headers: HeaderMap,
    body: Body<RollBack>,
) -> Result<Response, Problem> {
    let (model, body) = (model(&names)?, body.value);
    let asked = asked(&handle, &headers, body.actor, body.reason)?;
    let done = ready(&handle)?.roll_back(model, &asked).await.map_err(refused)?;
    Ok(replayed(one(&handle, model).await?.into_response(), done))
}

/// Drops a generation that answers do not come from: the previous one, one that differs, a replay.
#[utoipa::path(post, path = "/v1/projections/{name}/retire", tag = "operations", operation_id = "retireProjection",
    params(("name" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", example = "orders", description = "The read model's name"), KeyHeaders), request_body = Retire,
    responses((status = 202, body = OneProjection, description = "`Location` shows when it is gone"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "`generation-in-use`, `no-previous-generation`"), RefusalsOfOne))]
pub async fn retire(
    State(handle): State<Handle>,
    names: Names,
    headers: HeaderMap,
    body: Body<Retire>,
) -> Result<Response, Problem> {
    let (model, body) = (model(&names)?, body.value);
    let asked = asked(&handle, &headers, body.actor, body.reason)?;
    let done = ready(&handle)?.retire(model, body.generation, asked).await;
    accepted(&handle, model, done.map_err(refused)?).await
}

/// Folds the read model into tables of their own, up to a position and no further, to be looked at with SQL.
#[utoipa::path(post, path = "/v1/projections/{name}/replay", tag = "operations", operation_id = "replayProjection",
    params(("name" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", example = "orders", description = "The read model's name"), KeyHeaders), request_body = Replay,
    responses((status = 202, body = OneProjection, description = "`Location` shows how far it is"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "`too-many-replays`"), RefusalsOfOne))]
pub async fn replay(
    State(handle): State<Handle>,
    names: Names,
    headers: HeaderMap,
    body: Body<Replay>,
) -> Result<Response, Problem> {
    let (model, body) = (model(&names)?, body.value);
    let asked = asked(&handle, &headers, body.actor, body.reason)?;
    let head = handle.head().await.map_err(|error| unreadable(&error))?;
    let until = match (body.to_position, body.at) {
        (Some(position), None) if position <= head.0 => Position(position),
        (Some(_), None) => {
            let wrong = format_args!("the log ends at {head}");
            return Err(Problem::invalid("the position is beyond the end of the log").field("/to_position", wrong));
        }
        (None, Some(at)) => position_at(&handle, head, at).await?,
        (None, None) | (Some(_), Some(_)) => {
            return Err(
                Problem::invalid("the end of the replay is not given").field("", "give either `to_position` or `at`")
            );
        }
    };
    let done = ready(&handle)?.replay(model, until, asked).await;
    accepted(&handle, model, done.map_err(refused)?).await
}

/// The last position that the log had at a moment, found by halving: the log writes down when it wrote each event.
async fn position_at(handle: &Handle, head: Position, at: DateTime<Utc>) -> Result<Position, Problem> {
    let (mut low, mut high) = (0, head.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let next = handle.store.read_all(Position(middle), Direction::Forward, 1, &Filter::default()).await;
        let next = next.map_err(|error| Problem::unavailable(error, 1))?;
        match next.first() {
            Some(event) if event.recorded_at <= at => low = event.position.0.min(high),
            Some(_) | None => high = middle,
        }
    }
    Ok(Position(low))
}

fn model(names: &Names) -> Result<ReadModel, Problem> {
    let name = names.raw("name");
    let all: Vec<&str> = ALL.iter().map(|model| model.name).collect();
    named(name).ok_or_else(|| {
        Problem::not_found(format_args!("no projection is named `{name}`; there are: {}", all.join(", ")))
    })
}

fn asked(
    handle: &Handle,
    headers: &HeaderMap,
    actor: Option<String>,
    reason: Option<String>,
) -> Result<Asked, Problem> {
    let fits = |text: &Option<String>, most: usize| {
        text.as_ref().is_none_or(|text| (1..=most).contains(&text.chars().count()) && !text.contains('\0'))
    };
    for (field, text, most) in [("/actor", &actor, LONGEST.0), ("/reason", &reason, LONGEST.1)] {
        if !fits(text, most) {
            return Err(Problem::invalid("`actor` or `reason` is blank or too long")
                .field(field, format_args!("must have 1 to {most} characters, at least one of them visible")));
        }
    }
    let actor = actor.unwrap_or_else(|| "operator".to_owned());
    Ok(Asked { key: key_without_version(headers)?, actor, reason, at: handle.clock.now() })
}

/// The engine, once there are tables that it can be asked about.
fn ready(handle: &Handle) -> Result<&ProjectionEngine, Problem> {
    match handle.progress.is_ready() {
        true => Ok(&handle.engine),
        false => Err(Problem::unavailable("the read models are starting", 1)),
    }
}

fn refused(why: Refused) -> Problem {
    let conflict = StatusCode::CONFLICT;
    match &why {
        Refused::InProgress(_) => {
            Problem::new(conflict, "rebuild-in-progress", "A rebuild is in progress").detail(&why)
        }
        Refused::NoPrevious => {
            Problem::new(conflict, "no-previous-generation", "There is no previous generation").detail(&why)
        }
        Refused::Behind(_) => Problem::new(conflict, "generation-behind", "The generation is behind the live one")
            .detail(&why)
            .retry_after(1),
        Refused::InUse(_) => Problem::new(conflict, "generation-in-use", "The generation is in use").detail(&why),
        Refused::TooManyReplays(_) => {
            Problem::new(conflict, "too-many-replays", "There are too many replays").detail(&why)
        }
        Refused::NoSuch(_) => Problem::not_found(&why),
        Refused::Busy => Problem::unavailable(&why, 1),
        Refused::Postgres(error) => no_answer(error),
    }
}

/// How the read model stands now, with its generations.
async fn one(handle: &Handle, model: ReadModel) -> Result<Answer<OneProjection>, Problem> {
    look(handle).await;
    let head = handle.head().await.map_err(|error| unreadable(&error))?;
    let status = handle.progress.statuses();
    let status = status.into_iter().find(|status| status.name == model.name);
    let status = status.ok_or_else(|| Problem::not_found("this server does not follow this projection"))?;
    let found = ready(handle)?.generations().await.map_err(|error| no_answer(&error))?;
    let mut own: Vec<Kept> = found.into_iter().filter(|found| found.model.name == model.name).collect();
    own.sort_by_key(|generation| generation.number);
    let position = status.position;
    let lag = Lags::new(handle, head).at(position).await;
    let shown = |found: Kept| Generation {
        generation: found.number,
        state: found.stage,
        position: if found.stage == Stage::Live { position.0 } else { found.position().0 },
        schema: found.schema,
        target: found.until.unwrap_or(head).0,
        accept_differences: found.accept_differences,
        comparison: found.comparison.map(Comparison::from),
        row_counts: found.row_counts,
        last_error: found.last_error,
    };
    let generations = own.into_iter().map(shown).collect();
    Ok(Answer::at(position, OneProjection { projection: stand(head, status, lag), generations }))
}

/// 202, and where to look how far it is.
async fn accepted(handle: &Handle, model: ReadModel, done: Done) -> Result<Response, Problem> {
    let mut response = (StatusCode::ACCEPTED, one(handle, model).await?).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/projections/{}", model.name)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(replayed(response, done))
}

fn replayed(mut response: Response, done: Done) -> Response {
    mark_replayed(response.headers_mut(), matches!(done, Done::Before(_)));
    response
}
