//! `GET /v1/streams`, `/v1/streams/{name}`, `/v1/store/stats`: the log as it is, without Postgres.

use axum::extract::State;
use event_store::{Direction, ReadError, RecordedEvent, StoreStats, StreamInfo, StreamName};
use service_kit::Problem;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals, RefusalsOfOne};
use super::page::{MOST, Page, USUAL};
use super::params::{Names, Params};
use crate::Handle;

/// An event of the log.
#[derive(Debug, ToSchema)]
#[schema(as = RecordedEvent)]
#[allow(dead_code, missing_docs, reason = "describes `event_store::RecordedEvent` in the OpenAPI document")]
pub struct EventDocument {
    pub id: Uuid,
    pub stream: String,
    /// From 0 without holes within the stream.
    pub version: u64,
    /// Strictly increasing in commit order.
    pub position: u64,
    pub r#type: String,
    pub schema_version: u16,
    /// As its schema says.
    #[schema(value_type = Object)]
    pub data: (),
    /// Where it came from: correlation, causation, command, actor, moment.
    #[schema(value_type = Object)]
    pub metadata: (),
    pub recorded_at: chrono::DateTime<chrono::Utc>,
}

/// A stream and its last version.
#[derive(Debug, ToSchema)]
#[schema(as = StreamInfo)]
#[allow(dead_code, missing_docs, reason = "describes `event_store::StreamInfo` in the OpenAPI document")]
pub struct StreamDocument {
    pub stream: String,
    pub version: u64,
}

/// Numbers about the log.
#[derive(Debug, ToSchema)]
#[schema(as = StoreStats)]
#[allow(dead_code, missing_docs, reason = "describes `event_store::StoreStats` in the OpenAPI document")]
pub struct StatsDocument {
    pub events: u64,
    pub streams: u64,
    /// On disk, write-ahead log included.
    pub bytes: u64,
    pub position: u64,
    pub last_recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Events per category.
    pub categories: Vec<(String, u64)>,
}

/// What a log that cannot be read means to a client.
pub fn unreadable(error: &ReadError) -> Problem {
    tracing::error!(%error, "the log could not be read");
    Problem::unavailable("the log cannot be read at the moment", 1)
}

/// A category to look at: what a stream's name can begin with.
pub fn category(params: &Params) -> Result<Option<String>, Problem> {
    let category = params.text("category", 100)?;
    match category {
        Some(category) if !category.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'-') => {
            Err(Problem::invalid("the query parameter `category` is not valid")
                .field("query:category", "it is the text before a stream name's first `-`, such as `order`"))
        }
        category => Ok(category),
    }
}

/// Streams, by name.
#[utoipa::path(get, path = "/v1/streams", tag = "log", operation_id = "listStreams",
    params(("category" = Option<String>, Query, description = "Such as `order`"),
        ("after" = Option<String>, Query, description = "Only those behind this name"),
        ("limit" = Option<u32>, Query, description = "1 to 200")),
    responses((status = 200, body = Page<StreamDocument>), Refusals))]
pub async fn list(State(handle): State<Handle>, params: Params) -> Result<Answer<Page<StreamInfo>>, Problem> {
    params.only(&["category", "after", "limit"])?;
    let limit = params.limit(USUAL, MOST)?;
    let (category, after) = (category(&params)?, params.get::<StreamName>("after")?);
    let position = handle.head().await.map_err(|error| unreadable(&error))?;
    let found = handle.store.list_streams(category.as_deref(), after.as_ref(), limit + 1).await;
    let found = found.map_err(|error| unreadable(&error))?;
    Ok(Answer::at(position, Page::of(found, limit, |info| info.stream.to_string())))
}

/// The events of a stream.
#[utoipa::path(get, path = "/v1/streams/{name}", tag = "log", operation_id = "readStream",
    params(("name" = String, Path, description = "Such as `order-<id>`"),
        ("from" = Option<u64>, Query, description = "The first version; the last one going backward"),
        ("direction" = Option<String>, Query, description = "`forward` (oldest first) or `backward`"),
        ("limit" = Option<u32>, Query, description = "1 to 200")),
    responses((status = 200, body = Page<EventDocument>), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
) -> Result<Answer<Page<RecordedEvent>>, Problem> {
    params.only(&["from", "direction", "limit"])?;
    let limit = params.limit(USUAL, MOST)?;
    let stream: StreamName = names.get("name")?;
    let backward = params.one_of("direction", &["forward", "backward"])?.as_deref() == Some("backward");
    let (direction, start) = if backward { (Direction::Backward, u64::MAX) } else { (Direction::Forward, 0) };
    let from = params.get::<u64>("from")?;
    let position = handle.head().await.map_err(|error| unreadable(&error))?;
    let found = handle.store.read_stream(&stream, from.unwrap_or(start), direction, limit + 1).await;
    let found = found.map_err(|error| unreadable(&error))?;
    if found.is_empty() && from.is_none() {
        return Err(Problem::not_found(format_args!("there is no stream `{stream}`")));
    }
    // The one behind the page is where the next begins, either way.
    let next = found.get(limit).map(|event| event.version.to_string());
    let page = Page::of(found, limit, |_| next.clone().unwrap_or_default());
    Ok(Answer::at(position, page))
}

/// Numbers about the log.
#[utoipa::path(get, path = "/v1/store/stats", tag = "log", operation_id = "storeStats",
    responses((status = 200, body = StatsDocument), Refusals))]
pub async fn stats(State(handle): State<Handle>, params: Params) -> Result<Answer<StoreStats>, Problem> {
    params.only(&[])?;
    let stats = handle.store.stats().await.map_err(|error| unreadable(&error))?;
    Ok(Answer::at(stats.position, stats))
}
