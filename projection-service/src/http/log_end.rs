//! Where a reader of the log goes on must be a place that the log has. A position beyond its end is one of a log that is no
//! more: it was restored from a backup that is older than what the reader has seen. To go on from there in silence would
//! pass by everything that is appended until the log is as long again.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use event_store::Position;
use projection_engine::feeding::end_of;
use service_kit::Problem;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use super::consistency::Consistency;
use super::streams::unreadable;
use crate::Handle;

/// Between two looks at the end of a log that other processes append to.
const LOOK: Duration = Duration::from_millis(100);

/// Makes sure that the log has come to a position, and says where it ends. A position beyond the end that this process knows is
/// no proof: an event can be read as soon as it is committed, a moment before the head moves, so the log itself is asked. Of
/// another process's log the end is asked for as long as the request waits (`Prefer: wait`).
///
/// # Errors
/// 410: the log is shorter. 503: it cannot be asked.
pub async fn not_beyond(
    handle: &Handle,
    consistency: &Consistency,
    after: Option<Position>,
) -> Result<Position, Problem> {
    let deadline = consistency.position_deadline();
    loop {
        let mut head = handle.head().await.map_err(|error| unreadable(&error))?;
        if after.is_some_and(|after| after > head) {
            head = head.max(end_of(&*handle.store).await.map_err(|error| unreadable(&error))?);
        }
        match after.filter(|after| *after > head) {
            None => return Ok(head),
            Some(after) if !handle.store.is_shared() || tokio::time::Instant::now() >= deadline => {
                return Err(gone(after, head));
            }
            Some(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn gone(after: Position, head: Position) -> Problem {
    Problem::new(StatusCode::GONE, "beyond-the-log", "The log does not go so far").detail(format_args!(
        "the log ends at position {head}, before {after}: it was restored from an older backup, or is another log; \
         what was read after position {head} is no more. Read again from a position up to {head}"
    ))
}

/// The refusal of a position beyond the end of the log, for the OpenAPI document.
pub struct Gone;

impl utoipa::IntoResponses for Gone {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let gone = ResponseBuilder::new()
            .description(
                "`beyond-the-log`: the position is beyond the end of the log, which was restored from a backup",
            )
            .content("application/problem+json", content)
            .build();
        [("410".to_owned(), RefOr::T(gone))].into()
    }
}
