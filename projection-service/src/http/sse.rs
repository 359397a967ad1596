//! Server-sent events over the log itself: never behind the read models, never in another order than it was written.
//!
//! *Invariant:* a slow client costs the writer nothing: the store's subscription falls back to reading the table.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use event_store::{Delivery, Filter, Position, RecordedEvent, Subscription};
use futures_util::stream;
use service_kit::Problem;
use tokio_util::sync::CancellationToken;

use super::streams::unreadable;
use crate::Handle;

/// Live connections at once: each holds a subscription's buffer of some hundred events.
const MOST: usize = 512;
/// How often something is said where nothing happens: below the minute after which proxies hang up.
const HEARTBEAT: Duration = Duration::from_secs(15);

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A live connection, counted until it ends.
struct Live {
    subscription: Subscription,
    ready: VecDeque<Event>,
    stopping: CancellationToken,
    _counted: Counted,
}

struct Counted;

impl Counted {
    fn new() -> Option<Self> {
        let counted = Self; // Dropped, and so taken back, where it is one too many.
        (OPEN.fetch_add(1, Ordering::Relaxed) < MOST).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Streams what comes after a position; from now on, where none is given. Ends when the service stops; a client then
/// comes back with `Last-Event-ID`.
pub async fn stream(handle: &Handle, after: Option<Position>, filter: Filter) -> Result<Response, Problem> {
    let counted = Counted::new().ok_or_else(|| Problem::unavailable("too many live connections; try again", 5))?;
    let head = handle.head().await.map_err(|error| unreadable(&error))?;
    let after = after.unwrap_or(head);
    let subscription = handle.store.subscribe(after, filter).await.map_err(|error| unreadable(&error))?;
    let live = Live { subscription, ready: VecDeque::new(), stopping: handle.tasks.stopping(), _counted: counted };
    let events = stream::unfold(live, |mut live| async move {
        let event = next(&mut live).await?;
        Some((Ok::<_, std::convert::Infallible>(event), live))
    });
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("still here");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies that gather output would hold events back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// The next event; `None` when the service stops, the store closes or the log cannot be read.
async fn next(live: &mut Live) -> Option<Event> {
    loop {
        if let Some(event) = live.ready.pop_front() {
            return Some(event);
        }
        let delivery = tokio::select! {
            delivery = live.subscription.next() => delivery?,
            () = live.stopping.cancelled() => return None,
        };
        match delivery {
            Ok(Delivery::Events { events, .. }) => {
                let event =
                    |event: &Arc<RecordedEvent>| Event::default().id(event.position.to_string()).json_data(&**event);
                match events.iter().map(event).collect::<Result<Vec<_>, _>>() {
                    Ok(events) => live.ready.extend(events),
                    Err(error) => {
                        tracing::error!(%error, "an event could not be written"); // Rather an end than a hole.
                        return None;
                    }
                }
            }
            // Says at once that the connection stands, before the first event.
            Ok(Delivery::CaughtUp) => return Some(Event::default().comment("caught up")),
            Err(error) => {
                unreadable(&error);
                return None;
            }
        }
    }
}
