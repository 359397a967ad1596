//! `GET /v1/dead-letters`, `/v1/dead-letters/{projection}/{stream}`, and what operators do with one: `try`, `retry`,
//! `discard`. The runner does it, between two batches: it owns the rows.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::ClientKey;
use event_store::{Direction, RecordedEvent, StreamName};
use projection_engine::dead_letters::repair::Answered;
use projection_engine::dead_letters::{Discarding, Letter, Refusal, Repaired, Verb};
use projection_engine::feeding::checkpoint::Slice;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{
    DeadLetterCause, DeadLetterVerb, LogPosition, LongReasonText, PageQuery, PersonText, StreamText,
};
use service_kit::request::{Body, KeyHeaders, PRINCIPAL, TENANT, check_act, key_without_version, mark_replayed};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Elsewhere, Refusals, RefusalsOfOne};
use super::consistency::{Reader, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::streams::{EventDocument, unreadable};
use crate::Handle;
use crate::projections;

/// How long the runner may take: a stream of 100 000 events is read and applied again in less.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

const LIST: &str = "
select row_to_json(t) from (
  select d.projection, d.generation, d.stream, d.version, d.position, d.event_id, d.event_type as type,
    d.partition_key, d.cause, d.error, d.attempts, d.occurred_at
  from backstitch.dead_letters d
  where (d.projection collate \"C\", (d.stream || ' ' || d.generation) collate \"C\") > ($1, $2)
    and ($3::text is null or d.projection = $3)
  order by d.projection collate \"C\", (d.stream || ' ' || d.generation) collate \"C\" limit $4) t";

const SHOW: &str = "
select row_to_json(t) from (
  select d.projection, d.generation, d.stream, d.version, d.position, d.event_id, d.event_type as type,
    d.partition_key, d.cause, d.error, d.attempts, d.occurred_at
  from backstitch.dead_letters d where d.projection = $1 and d.generation = $2 and d.stream = $3) t";

const DISCARDED: &str = "
select row_to_json(t) from (
  select d.version, d.event_id, d.event_type as type, d.error, d.actor, d.reason, d.discarded_at, d.holds
  from backstitch.discarded d where d.projection = $1 and d.generation = $2 and d.stream = $3
  order by d.version limit $4) t";

/// A stream that a read model has parked, at the event that cannot be applied.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// The name of the read model that parked the stream.
    #[schema(example = "orders")]
    pub projection: String,
    /// The generation of the read model's tables.
    pub generation: i32,
    /// The name of the parked stream.
    pub stream: String,
    /// The version of the event that cannot be applied, the next that the rows need.
    pub version: u64,
    /// The event's position in the log.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The id of the event that cannot be applied.
    pub event_id: Uuid,
    /// The type of the event that cannot be applied.
    pub r#type: String,
    /// The id of the order, for streams that belong to one; else the stream's name.
    pub partition_key: String,
    /// The cause: the program cannot decode the event, or Postgres refuses its rows.
    #[schema(value_type = DeadLetterCause)]
    pub cause: String,
    /// The error, as the program or Postgres describes it.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When the event occurred.
    pub occurred_at: DateTime<Utc>,
}

/// A parked stream with the event at which it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterInFull)]
pub struct DeadLetterShown {
    /// The parked stream, without its events.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The event, as it is in the log.
    #[schema(value_type = Option<EventDocument>)]
    pub event: Option<RecordedEvent>,
    /// The number of later events of the stream that wait behind it.
    pub waiting: u64,
    /// The events of the stream that were discarded before.
    pub discarded: Vec<Discarded>,
}

/// An event that was discarded: by whom and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DiscardedEvent)]
pub struct Discarded {
    /// The event's version in its stream.
    pub version: u64,
    /// The id of the discarded event.
    pub event_id: Uuid,
    /// The type of the discarded event.
    pub r#type: String,
    /// The error because of which it could not be applied.
    pub error: String,
    /// The name of the person who discarded it.
    pub actor: String,
    /// The reason for which it was discarded.
    pub reason: String,
    /// The moment when it was discarded.
    pub discarded_at: DateTime<Utc>,
    /// Whether it is still left out: the tables from which it is missing exist.
    pub holds: bool,
}

/// The result of an operation on a parked stream.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeadLetterOutcome {
    /// The name of the read model.
    pub projection: String,
    /// The generation of the read model's tables.
    pub generation: i32,
    /// The name of the parked stream.
    pub stream: String,
    /// The operation that was asked for.
    #[schema(value_type = DeadLetterVerb)]
    pub verb: &'static str,
    /// The number of events that were applied (`try`: that would be).
    pub applied: u64,
    /// The version of the event that was discarded.
    pub discarded: Option<u64>,
    /// Whether the stream is (`try`: would be) up to date.
    pub up_to_date: bool,
    /// Where it stands (`try`: would stand), if it does.
    pub stands: Option<Standing>,
}

/// The event at which a parked stream stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ParkedEvent)]
pub struct Standing {
    /// The event's version in its stream.
    pub version: u64,
    /// The type of the event.
    pub r#type: String,
    /// The error that keeps it from being applied.
    pub error: String,
    /// The number of times that it was tried.
    pub attempts: u32,
}

/// The person who asks for it, and the reason.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DiscardEventBody)]
pub struct DiscardBody {
    /// The reason for which the read model is better off without this event: 1 to 500 characters.
    #[schema(value_type = LongReasonText, inline)]
    reason: String,
    /// The name of the person who decides: 1 to 64 characters; `operator` where it is not given.
    #[schema(value_type = PersonText, inline)]
    #[serde(default = "operator")]
    actor: String,
}

/// A body without fields.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmptyBody)]
pub struct NoBody {}

fn operator() -> String {
    "operator".to_owned()
}

/// Parked streams, by read model and name.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "operations", operation_id = "listDeadLetters",
    params(("projection" = Option<String>, Query, pattern = "^(orders|payments|shipments|stock|products|saga_view|order_timeline|sales_by_day)$", description = "Only those of this read model"),
        PageQuery),
    responses((status = 200, description = "A page of parked streams, by read model and name.", body = Page<DeadLetter>), Refusals))]
pub async fn list(State(handle): State<Handle>, params: Params) -> Result<Answer<Page<DeadLetter>>, Problem> {
    params.only(&["projection", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let (after, stream) = cursor::decode::<String, String>(&params, "dead-letters")?.unzip();
    let names: Vec<&str> = projections::ALL.iter().map(|model| model.name).collect();
    let query = json::<DeadLetter>(LIST)
        .bind(after.unwrap_or_default())
        .bind(stream.unwrap_or_default())
        .bind(params.one_of("projection", &names)?)
        .bind(look_up(limit));
    let reader = Reader::new(&handle, &names, None).await?.of_no_table();
    let found = reader.list(query).await?;
    let key = |letter: &DeadLetter| [letter.projection.clone(), format!("{} {}", letter.stream, letter.generation)];
    Ok(Answer::at(reader.position, Page::of(found, limit, |letter| cursor::encode("dead-letters", &key(letter)))))
}

/// A parked stream: the event at which it stands, why, and what waits behind it.
#[utoipa::path(get, path = "/v1/dead-letters/{projection}/{stream}", tag = "operations",
    operation_id = "showDeadLetter",
    params(("projection" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", description = "The read model's name"),
        ("stream" = inline(StreamText), Path, description = "The parked stream's name"),
        ("generation" = Option<i32>, Query, minimum = 1, description = "The generation of its tables; the live one where it is not given")),
    responses((status = 200, description = "The parked stream.", body = DeadLetterShown), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
) -> Result<Answer<DeadLetterShown>, Problem> {
    params.only(&["generation"])?;
    let (slice, stream) = key(&handle, &names, &params)?;
    let reader = Reader::new(&handle, &[slice.projection], None).await?.of_no_table();
    let query = json::<DeadLetter>(SHOW).bind(slice.projection).bind(slice.generation).bind(stream.as_str());
    let letter = reader.one(query).await?.ok_or_else(|| {
        let what = format_args!("`{}` has not parked `{stream}`: it follows it as it comes", slice.projection);
        Problem::not_found(what)
    })?;
    let read = async |from, direction| {
        let events = handle.store.read_stream(&stream, from, direction, 1).await;
        Ok::<_, Problem>(events.map_err(|error| unreadable(&error))?.pop())
    };
    let event = read(letter.version, Direction::Forward).await?;
    let last = read(u64::MAX, Direction::Backward).await?.map_or(letter.version, |event| event.version);
    let discarded = json::<Discarded>(DISCARDED).bind(slice.projection).bind(slice.generation);
    let discarded = reader.list(discarded.bind(stream.as_str()).bind(look_up(MOST))).await?;
    let waiting = last.saturating_sub(letter.version);
    Ok(Answer::at(reader.position, DeadLetterShown { letter, event, waiting, discarded }))
}

/// Whether a parked stream could be applied now. Changes nothing.
#[utoipa::path(post, path = "/v1/dead-letters/{projection}/{stream}/try", tag = "operations",
    operation_id = "tryDeadLetter",
    params(("projection" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", description = "The read model's name"),
        ("stream" = inline(StreamText), Path, description = "The parked stream's name"), KeyHeaders,
        ("generation" = Option<i32>, Query, minimum = 1, description = "The generation of its tables; the live one where it is not given")),
    request_body = NoBody, responses((status = 200, description = "The outcome.", body = DeadLetterOutcome), Elsewhere, RefusalsOfOne))]
pub async fn try_it(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    headers: HeaderMap,
    _: Body<NoBody>,
) -> Result<Response, Problem> {
    key_without_version(&headers)?;
    act(&handle, &names, &params, ("try", Verb::Try)).await
}

/// Applies a parked stream from the event at which it stands.
#[utoipa::path(post, path = "/v1/dead-letters/{projection}/{stream}/retry", tag = "operations",
    operation_id = "retryDeadLetter",
    params(("projection" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", description = "The read model's name"),
        ("stream" = inline(StreamText), Path, description = "The parked stream's name"), KeyHeaders,
        ("generation" = Option<i32>, Query, minimum = 1, description = "The generation of its tables; the live one where it is not given")),
    request_body = NoBody, responses((status = 200, description = "The outcome.", body = DeadLetterOutcome), Elsewhere, RefusalsOfOne))]
pub async fn retry(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    headers: HeaderMap,
    _: Body<NoBody>,
) -> Result<Response, Problem> {
    key_without_version(&headers)?; // A repeat finds it done, whatever the key.
    act(&handle, &names, &params, ("retry", Verb::Retry)).await
}

/// Moves past the event at which a parked stream stands, for ever, and applies what comes after it.
#[utoipa::path(post, path = "/v1/dead-letters/{projection}/{stream}/discard", tag = "operations",
    operation_id = "discardDeadLetter",
    params(("projection" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z_]+$", description = "The read model's name"),
        ("stream" = inline(StreamText), Path, description = "The parked stream's name"), KeyHeaders,
        ("generation" = Option<i32>, Query, minimum = 1, description = "The generation of its tables; the live one where it is not given")),
    request_body = DiscardBody,
    responses((status = 200, description = "The outcome.", body = DeadLetterOutcome), Elsewhere, RefusalsOfOne,
        (status = 409, description = "`dead-letter-refused`: it would do harm, and why",
            content_type = "application/problem+json", body = Problem)))]
pub async fn discard(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    headers: HeaderMap,
    body: Body<DiscardBody>,
) -> Result<Response, Problem> {
    let DiscardBody { reason, actor } = body.value;
    check_act(&actor, &reason)?;
    let operation = format!("POST /v1/dead-letters/{}/{}/discard", names.raw("projection"), names.raw("stream"));
    let key = key_without_version(&headers)?;
    let key = ClientKey { tenant: TENANT, principal: PRINCIPAL, operation: &operation, idempotency_key: &key };
    let by = Discarding { actor, reason, at: handle.clock.now(), request_id: key.command_id() };
    act(&handle, &names, &params, ("discard", Verb::Discard(by))).await
}

/// Asks the runner, and tells what came of it.
async fn act(
    handle: &Handle,
    names: &Names,
    params: &Params,
    (word, verb): (&'static str, Verb),
) -> Result<Response, Problem> {
    params.only(&["generation"])?;
    let (slice, stream) = key(handle, names, params)?;
    let partition = partition_of(handle, &stream).await?;
    let asked = handle.engine.repair(partition, slice, stream.clone(), verb);
    let reply = match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Answered::Reply(reply)) => reply,
        Ok(Answered::Elsewhere) => {
            let what = format_args!(
                "another replica feeds partition {partition}, to which `{stream}` belongs; `GET /v1/projections` says which"
            );
            return Err(Problem::misdirected(what));
        }
        Ok(Answered::Busy) | Err(_) => {
            let what = "the read models stand still at the moment; ask again, it is done once";
            return Err(Problem::unavailable(what, 1));
        }
    };
    let Repaired { applied, discarded, replayed, parked, .. } = reply.map_err(|refusal| refused(&refusal))?;
    let standing = |letter: Letter| Standing {
        version: letter.version,
        r#type: letter.event_type,
        error: letter.error,
        attempts: letter.attempts,
    };
    let outcome = DeadLetterOutcome {
        projection: slice.projection.to_owned(),
        generation: slice.generation,
        stream: stream.to_string(),
        verb: word,
        applied,
        discarded,
        up_to_date: parked.is_none(),
        stands: parked.map(standing),
    };
    let mut response = Answer::at(handle.progress.position(&[slice.projection]), outcome).into_response();
    mark_replayed(response.headers_mut(), replayed);
    Ok(response)
}

/// The partition whose runner can act on a stream: that of all of its events.
async fn partition_of(handle: &Handle, stream: &StreamName) -> Result<u32, Problem> {
    if handle.engine.replica().partitions == 1 {
        return Ok(0);
    }
    let first = handle.store.read_stream(stream, 0, Direction::Forward, 1).await.map_err(|error| unreadable(&error))?;
    let first = first.first().ok_or_else(|| Problem::not_found(format_args!("there is no stream `{stream}`")))?;
    Ok(handle.engine.replica().partition_of(&first.metadata.partition_key))
}

/// The key that a path names, in the generation that is asked for or answers come from.
fn key(handle: &Handle, names: &Names, params: &Params) -> Result<(Slice, StreamName), Problem> {
    let stream: StreamName = names.get("stream")?;
    let named = names.raw("projection");
    let model = projections::named(named);
    let model = model.ok_or_else(|| Problem::not_found(format_args!("there is no read model `{named}`")))?;
    if !(model.make)().takes(&stream) {
        return Err(Problem::not_found(format_args!("`{named}` does not follow streams such as `{stream}`")));
    }
    let generation = generation(params)?.or_else(|| handle.progress.generation(model.name));
    let generation = generation.ok_or_else(|| Problem::unavailable("the read models are starting", 1))?;
    Ok((Slice { projection: model.name, generation }, stream))
}

/// The generation that a query names, from 1.
fn generation(params: &Params) -> Result<Option<i32>, Problem> {
    let number = params.within("generation", 1..=i32::MAX.unsigned_abs().into())?;
    Ok(number.and_then(|number| i32::try_from(number).ok()))
}

fn refused(refusal: &Refusal) -> Problem {
    Problem::new(StatusCode::CONFLICT, "dead-letter-refused", "It would do harm to the read model").detail(refusal)
}
