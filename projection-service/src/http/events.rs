//! `GET /v1/events`: the whole log, a page at a time, or live where the client accepts server-sent events.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use event_store::{Direction, Filter, Position, RecordedEvent};
use service_kit::Problem;
use service_kit::api::{LimitQuery, LogPosition, POSITION_MAX};

use super::answer::{Answer, Refusals};
use super::consistency::Consistency;
use super::log_end::{Gone, not_beyond};
use super::page::{MOST, Page, USUAL};
use super::params::Params;
use super::sse::{self, FromAddress};
use super::streams::{EventDocument, category, unreadable};
use crate::Handle;

/// Events in commit order: JSON, or server-sent events with `Accept: text/event-stream`.
#[utoipa::path(get, path = "/v1/events", tag = "log", operation_id = "readEvents",
    params(("after" = Option<LogPosition>, Query, description = "Only events after this position; server-sent events begin \
            with what comes next where it is not given"),
        ("category" = Option<String>, Query, min_length = 1, max_length = 100, pattern = "^[!-,.-~]+$", example = "order", description = "Only streams of this category"),
        LimitQuery,
        ("Last-Event-ID" = Option<LogPosition>, Header, description = "Where server-sent events go on; goes before `after`")),
    responses((status = 200, description = "A page of events, or a stream of server-sent events.", content(
        (Page<EventDocument> = "application/json"), (String = "text/event-stream"))), Gone, Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    address: FromAddress,
    params: Params,
    consistency: Consistency,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let live = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let live = live.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"));
    let filter = Filter { categories: category(&params)?.into_iter().collect() };
    let after = params.position("after")?.map(Position);
    let last = last_event_id(&headers)?;
    if live {
        params.only(&["after", "category"])?;
        let after = last.or(after);
        let head = not_beyond(&handle, &consistency, after).await?;
        return sse::stream(&handle, address, after.unwrap_or(head), filter).await;
    }
    params.only(&["after", "category", "limit"])?;
    let limit = params.limit(USUAL, MOST)?;
    let position = not_beyond(&handle, &consistency, after).await?;
    let after = after.unwrap_or(Position::START);
    let found = handle.store.read_all(after, Direction::Forward, limit + 1, &filter).await;
    let found = found.map_err(|error| unreadable(&error))?;
    let page = Page::of(found, limit, |event: &RecordedEvent| event.position.to_string());
    Ok(Answer::at(position, page).into_response())
}

/// The last event that the client saw before its connection ended (WHATWG HTML §9.2.4).
fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let position =
        value.to_str().ok().and_then(|text| text.parse().ok()).filter(|at| *at <= POSITION_MAX).map(Position);
    position.map(Some).ok_or_else(|| {
        Problem::invalid("`Last-Event-ID` is not a position")
            .field("header:Last-Event-ID", "give the last `id` as it was")
    })
}
