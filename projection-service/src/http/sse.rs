//! Server-sent events over the log itself: never behind the read models, never in another order than it was written.
//!
//! *Invariant:* a slow client costs the writer nothing: the store's subscription falls back to reading the table. It costs
//! little memory either: while it does not read, some events wait for it, and the rest is read again later. A client that
//! does not read at all loses its place to others, and so does one that has had it for long: both come back with
//! `Last-Event-ID`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use event_store::{Delivery, EventStore, Filter, Position, ReadError, Subscription};
use futures_util::stream;
use service_kit::Problem;
use service_kit::serve::Peer;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;

use super::streams::unreadable;
use crate::Handle;

/// How often something is said where nothing happens: below the minute after which proxies hang up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that wait for a client to read them, besides what is in the connection's own buffers.
const AHEAD: usize = 4;
/// After this long with a client that does not read, what was read of the log for it is let go, and read again for it later.
const LETS_GO: Duration = Duration::from_secs(1);

/// Bounds of live connections.
#[derive(Debug, Clone, Copy)]
pub struct LiveBounds {
    /// Live connections at once: each holds a subscription's buffer of some hundred events.
    pub connections: usize,
    /// Live connections of one address at once, so that one client never takes all. A gateway is one address: behind it,
    /// this is the bound for all of its clients.
    pub per_address: usize,
    /// How long a connection lasts; its client begins another one where it was.
    pub lasts: Duration,
    /// How long a client may read nothing while there is something for it.
    pub stalls: Duration,
}

impl Default for LiveBounds {
    fn default() -> Self {
        Self {
            connections: 512,
            per_address: 128,
            lasts: Duration::from_secs(30 * 60),
            stalls: Duration::from_secs(30),
        }
    }
}

/// The places for live connections.
#[derive(Debug, Default)]
pub struct LivePlaces {
    bounds: LiveBounds,
    /// How many each address has. A std mutex: held for a map operation only.
    taken: Mutex<HashMap<Option<IpAddr>, usize>>,
}

impl LivePlaces {
    /// With other bounds than usual.
    pub fn within(bounds: LiveBounds) -> Self {
        Self { bounds, taken: Mutex::default() }
    }

    fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Problem> {
        let LiveBounds { connections, per_address, .. } = self.bounds;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= connections {
            let all =
                format_args!("all {connections} live connections are taken; try again, or read `/v1/events` in pages");
            return Err(Problem::overloaded(all, 5));
        }
        let own = taken.entry(address).or_default();
        if address.is_some() && *own >= per_address {
            let own =
                format_args!("your address has {per_address} live connections already; close one, then try again");
            return Err(Problem::overloaded(own, 5));
        }
        *own += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), address })
    }
}

/// A place for a live connection; free again when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<LivePlaces>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// Where a request comes from, where the listener says so.
#[derive(Debug, Clone, Copy)]
pub struct FromAddress(Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for FromAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Peer>().map(|Peer(address)| address.ip())))
    }
}

/// Streams what comes after a position. Ends when the service stops, after a while, or when nobody reads; a client then
/// comes back with `Last-Event-ID`.
pub async fn stream(
    handle: &Handle,
    FromAddress(address): FromAddress,
    after: Position,
    filter: Filter,
) -> Result<Response, Problem> {
    let place = handle.live.take(address)?;
    let log = Log { store: Arc::clone(&handle.store), filter };
    let subscription = log.follow(after).await.map_err(|error| unreadable(&error))?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (stopping, bounds) = (handle.tasks.stopping(), handle.live.bounds);
    handle.tasks.spawn("live-events", async move {
        let _place = place;
        tokio::select! {
            () = feed(&log, (subscription, after), &sender, bounds) => {}
            () = tokio::time::sleep(bounds.lasts) => {}
            () = stopping.cancelled() => {}
        }
    });
    let events = stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(event), receiver))
    });
    let mut response = Sse::new(events).into_response();
    // Proxies that gather output would hold events back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// What a connection follows.
struct Log {
    store: Arc<dyn EventStore>,
    filter: Filter,
}

impl Log {
    async fn follow(&self, after: Position) -> Result<Subscription, ReadError> {
        self.store.subscribe(after, self.filter.clone()).await
    }
}

/// Hands events to a connection until its client leaves, or reads nothing for too long. Safe to drop.
async fn feed(
    log: &Log,
    (mut subscription, mut sent): (Subscription, Position),
    sender: &mpsc::Sender<Event>,
    bounds: LiveBounds,
) {
    let at_once = LETS_GO.min(bounds.stalls);
    while let Some(stalled_at) = until_it_stalls(subscription, sent, sender, at_once).await {
        // Meanwhile nothing is kept of what was read for it.
        let reads = tokio::time::timeout(bounds.stalls - at_once, sender.reserve());
        if !matches!(reads.await, Ok(Ok(_))) {
            return;
        }
        sent = stalled_at;
        subscription = match log.follow(sent).await {
            Ok(subscription) => subscription,
            Err(error) => return drop(unreadable(&error)),
        };
    }
}

/// Hands events to a connection. The position behind which it has not been sent anything, as soon as its client does not
/// read any more; `None`: it has left, or the log cannot be read: the connection rather ends than has a hole.
async fn until_it_stalls(
    mut subscription: Subscription,
    mut sent: Position,
    sender: &mpsc::Sender<Event>,
    at_once: Duration,
) -> Option<Position> {
    loop {
        let delivery = tokio::select! {
            delivery = subscription.next() => delivery?,
            () = tokio::time::sleep(HEARTBEAT) => {
                match sender.send_timeout(Event::default().comment("still here"), at_once).await {
                    Ok(()) => continue,
                    Err(SendTimeoutError::Timeout(_)) => return Some(sent),
                    Err(SendTimeoutError::Closed(_)) => return None,
                }
            }
            () = sender.closed() => return None,
        };
        let (events, up_to) = match delivery {
            Ok(Delivery::Events { events, up_to }) => (events, up_to),
            Ok(Delivery::CaughtUp) => {
                // Says at once that the connection stands, before the first event. Where there is no room, it shows.
                _ = sender.try_send(Event::default().comment("caught up"));
                continue;
            }
            Err(error) => {
                unreadable(&error);
                return None;
            }
        };
        for event in events {
            let Ok(room) = tokio::time::timeout(at_once, sender.reserve()).await else { return Some(sent) };
            // Made when there is room for it: a delivery can be large, and its events as text are even larger.
            let said = Event::default().id(event.position.to_string()).json_data(&*event);
            room.ok()?.send(said.inspect_err(|error| tracing::error!(%error, "an event could not be written")).ok()?);
            sent = event.position;
        }
        sent = up_to;
    }
}

#[cfg(test)]
mod tests {
    use event_store::{Metadata, RecordedEvent};
    use futures_util::StreamExt as _;
    use http_body_util::BodyExt as _;
    use service_kit::clock::Timestamp;

    use super::*;

    /// So many events, one stream.
    fn log(events: u64) -> Vec<Arc<RecordedEvent>> {
        let at = Timestamp::from_timestamp(1_790_000_000, 0).unwrap();
        let metadata = Arc::new(Metadata {
            partition_key: "a".to_owned(),
            correlation_id: uuid::Uuid::nil(),
            causation_id: uuid::Uuid::nil(),
            command_id: uuid::Uuid::nil(),
            command_hash: None,
            traceparent: None,
            actor: "test".to_owned(),
            occurred_at: at,
        });
        let event = |position| RecordedEvent {
            id: uuid::Uuid::nil(),
            stream: "order-a".parse().unwrap(),
            version: position - 1,
            position: Position(position),
            event_type: "OrderConfirmed".into(),
            schema_version: 1,
            data: serde_json::value::to_raw_value(&()).unwrap(),
            metadata: Arc::clone(&metadata),
            recorded_at: at,
        };
        (1..=events).map(|position| Arc::new(event(position))).collect()
    }

    /// The positions of events, as a client reads them.
    async fn ids(events: Vec<Event>) -> Vec<u64> {
        let body = Sse::new(stream::iter(events).map(Ok::<_, std::convert::Infallible>)).into_response().into_body();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_a_client_that_does_not_read_and_it_misses_nothing() {
        let kept = log(100);
        // The log goes on without an end, so that a subscription lasts.
        let mut lasting = Vec::new();
        let mut follow = |after: Position| {
            let (pages, page) = mpsc::channel(2);
            let events = kept[usize::try_from(after.0).unwrap()..].to_vec();
            pages.try_send(Ok(Delivery::Events { events, up_to: Position(100) })).unwrap();
            lasting.push(pages);
            Subscription::new(page)
        };
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        let first = until_it_stalls(follow(Position::START), Position::START, &sender, LETS_GO).await;
        assert_eq!(first, Some(Position(AHEAD as u64)), "what there is room for");
        assert!(kept.iter().all(|event| Arc::strong_count(event) == 1), "nothing waits for it in memory");
        // It reads again.
        let mut read = Vec::new();
        let reads = async {
            while read.len() < 100 {
                read.push(receiver.recv().await.unwrap());
            }
        };
        tokio::select! {
            over = until_it_stalls(follow(first.unwrap()), first.unwrap(), &sender, LETS_GO) => panic!("{over:?}"),
            () = reads => {}
        }
        assert_eq!(ids(read).await, (1..=100).collect::<Vec<u64>>());
    }
}
