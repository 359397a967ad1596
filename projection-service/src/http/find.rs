//! `GET /v1/events/find`: looks through the log for events, a bounded part of it per request, so that it holds up nobody.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use event_store::find::{Condition, Find};
use event_store::{Direction, Filter, Position, RecordedEvent, StreamName};
use serde::Serialize;
use service_kit::Problem;
use service_kit::api::{ConditionText, LimitQuery, LogPosition, MomentText, StreamText, TimeZoneText};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, RefusalsOfOne};
use super::consistency::Consistency;
use super::log_end::{Gone, not_beyond};
use super::page::{MOST, USUAL};
use super::params::{Params, pairs, refuse};
use super::range::SEARCHED;
use super::streams::{EventDocument, category, unreadable};
use crate::Handle;

/// Events looked at per request: some tens of milliseconds.
const LOOKED_AT: usize = 8_192;
/// Events looked at between two pauses: a millisecond or two, so that other requests have their turn.
const AT_ONCE: usize = 512;
/// Conditions of one search: more than a person types.
const CONDITIONS: usize = 16;

/// What was found in a part of the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundEvents)]
pub struct Found {
    /// The events, oldest first.
    #[schema(value_type = Vec<EventDocument>)]
    pub items: Vec<RecordedEvent>,
    /// Whether a part of the log has not been looked at.
    pub has_more: bool,
    /// The `cursor` to look on; absent where all has been looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The position that has been looked at last, or the version where one stream is searched.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub looked_to: u64,
    /// The last position of the log, or the last version of the stream.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub head: u64,
}

/// The query, in which `where` may stand more than once.
#[derive(Debug)]
pub struct Search {
    params: Params,
    conditions: Vec<Condition>,
}

impl<S: Sync> FromRequestParts<S> for Search {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (conditions, others): (Vec<_>, Vec<_>) = pairs(parts)?.into_iter().partition(|(name, _)| name == "where");
        let refused = |message: String| refuse("where", message);
        if conditions.len() > CONDITIONS {
            return Err(refused(format!("there are at most {CONDITIONS}")));
        }
        let conditions =
            conditions.into_iter().map(|(_, text)| text.parse().map_err(|error| refused(format!("{error}"))));
        let conditions = conditions.collect::<Result<_, _>>()?;
        Ok(Self { params: Params::of(others)?, conditions })
    }
}

/// Looks for events by type, stream, time, origin and payload. A request looks at a part of the log only: go on with
/// `next` until `has_more` is false, also where nothing was found.
#[utoipa::path(get, path = "/v1/events/find", tag = "log", operation_id = "findEvents",
    params(("type" = Option<String>, Query, min_length = 1, max_length = 500, example = "OrderPlaced", description = "Only events of this type, or of one of several that are separated by commas"),
        ("stream" = inline(Option<StreamText>), Query, description = "Only this stream"),
        ("category" = Option<String>, Query, min_length = 1, max_length = 100, pattern = "^[!-,.-~]+$", example = "order", description = "Only streams of this category"),
        ("where" = inline(Option<Vec<ConditionText>>), Query, max_items = 16, description = "Conditions that all must hold, such as `data.sku=MUG` or \
            `data.amount.amount>1000`: a path into `data` or `metadata`, one of = != < <= > >= ~ (contains), a value"),
        ("since" = inline(Option<MomentText>), Query, description = "The first day or moment at which events occurred; it is included"),
        ("until" = inline(Option<MomentText>), Query, description = "The last day or moment; it is included"),
        ("tz" = inline(Option<TimeZoneText>), Query, description = "The time zone of days; UTC if not given"),
        ("correlation" = Option<Uuid>, Query, description = "Only events with this correlation id"),
        ("actor" = Option<String>, Query, min_length = 1, max_length = 200, description = "Only events that this actor asked for"),
        ("cursor" = Option<LogPosition>, Query, description = "The place to go on: `next` of the answer before"),
        LimitQuery),
    responses((status = 200, description = "The events that were found in a part of the log.", body = Found), Gone, RefusalsOfOne))]
pub async fn find(
    State(handle): State<Handle>,
    consistency: Consistency,
    search: Search,
) -> Result<Answer<Found>, Problem> {
    let Search { params, conditions } = search;
    params.only(&["type", "stream", "category", "since", "until", "tz", "correlation", "actor", "cursor", "limit"])?;
    let limit = params.limit(USUAL, MOST)?;
    let types = params.text("type", 500)?;
    let (since, before) = params.range(SEARCHED)?;
    let until = before.map(|before| before - chrono::TimeDelta::nanoseconds(1)); // A search includes its last moment.
    let find = Find {
        types: types.iter().flat_map(|types| types.split(',')).map(|name| name.trim().to_owned()).collect(),
        stream: params.get::<StreamName>("stream")?,
        category: category(&params)?,
        since,
        until,
        correlation: params.get::<Uuid>("correlation")?,
        actor: params.text("actor", 200)?,
        conditions,
    };
    let cursor = params.position("cursor")?;
    // Where one stream is searched, the cursor is a version of it.
    let after = cursor.filter(|_| find.stream.is_none()).map(Position);
    let position = not_beyond(&handle, &consistency, after).await?;
    let found = match &find.stream {
        Some(stream) => in_stream(&handle, stream, &find, cursor.unwrap_or(0), limit).await?,
        None => in_log(&handle, position, &find, cursor.unwrap_or(0), limit).await?,
    };
    Ok(Answer::at(position, found))
}

/// Looks on behind the position `after`.
async fn in_log(handle: &Handle, head: Position, find: &Find, after: u64, limit: usize) -> Result<Found, Problem> {
    let (mut items, mut looked_to, mut looked_at) = (Vec::new(), after, 0);
    while looked_to < head.0 && looked_at < LOOKED_AT && items.len() < limit {
        let page = handle.store.read_all(Position(looked_to), Direction::Forward, AT_ONCE, &Filter::default()).await;
        let page = page.map_err(|error| unreadable(&error))?;
        if page.is_empty() {
            break;
        }
        looked_at += page.len();
        for event in page {
            looked_to = event.position.0;
            if find.matches(&event) {
                items.push(event);
                if items.len() == limit {
                    break;
                }
            }
        }
    }
    let has_more = looked_to < head.0;
    Ok(Found { items, has_more, next: has_more.then(|| looked_to.to_string()), looked_to, head: head.0 })
}

/// Looks on from the version `from`.
async fn in_stream(
    handle: &Handle,
    stream: &StreamName,
    find: &Find,
    from: u64,
    limit: usize,
) -> Result<Found, Problem> {
    let last = handle.store.read_stream(stream, u64::MAX, Direction::Backward, 1).await;
    let last = last.map_err(|error| unreadable(&error))?;
    let Some(head) = last.first().map(|event| event.version) else {
        return Err(Problem::not_found(format_args!("there is no stream `{stream}`")));
    };
    let (mut items, mut next, mut looked_at) = (Vec::new(), from, 0);
    while next <= head && looked_at < LOOKED_AT && items.len() < limit {
        let page = handle.store.read_stream(stream, next, Direction::Forward, AT_ONCE).await;
        let page = page.map_err(|error| unreadable(&error))?;
        if page.is_empty() {
            break;
        }
        looked_at += page.len();
        for event in page {
            next = event.version + 1;
            if find.matches(&event) {
                items.push(event);
                if items.len() == limit {
                    break;
                }
            }
        }
    }
    let has_more = next <= head;
    let looked_to = next.saturating_sub(1);
    Ok(Found { items, has_more, next: has_more.then(|| next.to_string()), looked_to, head })
}
