//! `GET /v1/streams`, `/v1/streams/{name}`, `/v1/store/stats`: the log as it is, without Postgres.

use std::collections::BTreeMap;

use axum::extract::State;
use event_store::{Direction, ReadError, RecordedEvent, StoreStats, StreamInfo, StreamName};
use serde::Serialize;
use service_kit::Problem;
use service_kit::api::{LimitQuery, LogPosition, OneOf, ReadDirection, StreamText};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals, RefusalsOfOne};
use super::page::{MOST, Page, USUAL};
use super::params::{Names, Params};
use crate::Handle;

/// An event of the log.
#[derive(Debug, ToSchema)]
#[schema(as = RecordedEvent)]
#[allow(dead_code, reason = "describes `event_store::RecordedEvent` in the OpenAPI document")]
pub struct EventDocument {
    /// The id of the event, unique in the log.
    pub id: Uuid,
    /// The name of the event's stream.
    #[schema(example = "order-7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11")]
    pub stream: String,
    /// The number of the event in its stream, from 0 without gaps.
    pub version: u64,
    /// The number of the event in the whole log, strictly increasing in commit order.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The type of the event.
    #[schema(example = "OrderPlaced")]
    pub r#type: String,
    /// The version of the schema of `data`, from 1.
    #[schema(example = 1)]
    pub schema_version: u16,
    /// The event's payload, as its schema says.
    #[schema(value_type = Object)]
    pub data: (),
    /// The event's origin: correlation, causation, command, actor, moment.
    #[schema(value_type = Object)]
    pub metadata: (),
    /// The moment when the log wrote it.
    pub recorded_at: chrono::DateTime<chrono::Utc>,
}

/// A stream and its last version.
#[derive(Debug, ToSchema)]
#[schema(as = StreamInfo)]
#[allow(dead_code, reason = "describes `event_store::StreamInfo` in the OpenAPI document")]
pub struct StreamDocument {
    /// The name of the stream.
    #[schema(example = "order-7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11")]
    pub stream: String,
    /// The version of the stream's last event.
    pub version: u64,
}

/// Numbers about the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoreStats)]
pub struct StatsDocument {
    /// The number of events.
    pub events: u64,
    /// The number of streams.
    pub streams: u64,
    /// The bytes on disk, write-ahead log included.
    pub bytes: u64,
    /// The position of the last event.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The moment when the last event was written.
    pub last_recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    /// The number of events by category of their streams.
    pub categories: BTreeMap<String, u64>,
}

/// What a log that cannot be read means to a client.
pub fn unreadable(error: &ReadError) -> Problem {
    tracing::error!(%error, "the log could not be read");
    match error {
        ReadError::Damaged { position, what, .. } => Problem::log_damaged(format_args!(
            "the event log is damaged at position {position}: {what}; an operator has to restore it"
        )),
        ReadError::Unavailable { .. } => Problem::unavailable("the log cannot be read at the moment", 1),
    }
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
    params(("category" = Option<String>, Query, min_length = 1, max_length = 100, pattern = "^[!-,.-~]+$", example = "order", description = "Only streams of this category"),
        ("after" = inline(Option<StreamText>), Query, description = "Only streams behind this name"),
        LimitQuery),
    responses((status = 200, description = "A page of streams, by name.", body = Page<StreamDocument>), Refusals))]
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
    params(("name" = inline(StreamText), Path, description = "The stream's name, such as `order-<id>`"),
        ("from" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "The first version; the last one going backward"),
        ("direction" = inline(Option<OneOf<ReadDirection>>), Query, description = "The order of the events: `forward` is the oldest first, as where it is not given"),
        LimitQuery),
    responses((status = 200, description = "A page of the stream's events.", body = Page<EventDocument>), RefusalsOfOne))]
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
    let from = params.position("from")?;
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
    responses((status = 200, description = "Numbers about the log.", body = StatsDocument), Refusals))]
pub async fn stats(State(handle): State<Handle>, params: Params) -> Result<Answer<StatsDocument>, Problem> {
    params.only(&[])?;
    let stats = handle.store.stats().await.map_err(|error| unreadable(&error))?;
    let StoreStats { events, streams, bytes, position, last_recorded_at, categories } = stats;
    let categories = categories.into_iter().collect();
    Ok(Answer::at(
        position,
        StatsDocument { events, streams, bytes, position: position.0, last_recorded_at, categories },
    ))
}
