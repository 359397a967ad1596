//! Server-sent events over the log itself: never behind the read models, never in another order than it was written.
//!
//! *Invariant:* a slow client costs the writer nothing: the store's subscription falls back to reading the table. A client
//! that does not read at all loses its place to others, and so does one that has had it for long: both come back with
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
use event_store::{Delivery, Filter, Position, RecordedEvent, Subscription};
use futures_util::stream;
use service_kit::Problem;
use service_kit::serve::Peer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::streams::unreadable;
use crate::Handle;

/// How often something is said where nothing happens: below the minute after which proxies hang up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that wait for a client to read them, besides what is in the connection's own buffers.
const AHEAD: usize = 16;

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
            return Err(Problem::unavailable(all, 5));
        }
        let own = taken.entry(address).or_default();
        if address.is_some() && *own >= per_address {
            let own =
                format_args!("your address has {per_address} live connections already; close one, then try again");
            return Err(Problem::unavailable(own, 5));
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
    let subscription = handle.store.subscribe(after, filter).await.map_err(|error| unreadable(&error))?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (stopping, bounds) = (handle.tasks.stopping(), handle.live.bounds);
    handle.tasks.spawn("live-events", async move {
        let _place = place;
        feed(subscription, &sender, &stopping, bounds).await;
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

/// Hands events to a connection until it ends. It does not wait for a client that reads nothing.
async fn feed(
    mut subscription: Subscription,
    sender: &mpsc::Sender<Event>,
    stopping: &CancellationToken,
    bounds: LiveBounds,
) {
    let ends = Instant::now() + bounds.lasts;
    loop {
        let said = tokio::select! {
            delivery = subscription.next() => match delivery {
                Some(delivery) => events(delivery),
                None => return,
            },
            () = tokio::time::sleep(HEARTBEAT) => Some(vec![Event::default().comment("still here")]),
            () = tokio::time::sleep_until(ends) => return,
            () = sender.closed() => return,
            () = stopping.cancelled() => return,
        };
        let Some(said) = said else { return };
        for event in said {
            tokio::select! {
                sent = sender.send_timeout(event, bounds.stalls) => if sent.is_err() { return },
                () = stopping.cancelled() => return,
            }
        }
    }
}

/// What a client is told; `None`: the log cannot be read, and the connection rather ends than has a hole.
fn events(delivery: Result<Delivery, event_store::ReadError>) -> Option<Vec<Event>> {
    match delivery {
        Ok(Delivery::Events { events, .. }) => {
            let event =
                |event: &Arc<RecordedEvent>| Event::default().id(event.position.to_string()).json_data(&**event);
            let events = events.iter().map(event).collect::<Result<Vec<_>, _>>();
            events.inspect_err(|error| tracing::error!(%error, "an event could not be written")).ok()
        }
        // Says at once that the connection stands, before the first event.
        Ok(Delivery::CaughtUp) => Some(vec![Event::default().comment("caught up")]),
        Err(error) => {
            unreadable(&error);
            None
        }
    }
}
