//! Server-sent events over the log itself: never behind the read models, never in another order than it was written.
//!
//! *Invariant:* a slow client costs the writer nothing: the store's subscription falls back to reading the table. It costs
//! little memory either: while it does not read, some events wait for it, and the rest is read again later. A client that
//! does not read at all loses its place to others, and so does one that has had it for long: both come back with
//! `Last-Event-ID`.
//!
//! A busy log must not cost a wake-up and a write for each event and connection: events that follow each other closely are
//! sent together, and each is made into text once for all connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use event_store::{Delivery, EventStore, Filter, Position, ReadError, RecordedEvent, Subscription};
use futures_util::stream;
use parking_lot::Mutex;
use service_kit::Problem;
use service_kit::serve::Peer;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::time::Instant;

use super::streams::unreadable;
use crate::Handle;

/// How often something is said where nothing happens: below the minute after which proxies hang up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces of text that wait for a client to read them, besides what is in the connection's own buffers.
const AHEAD: usize = 2;
/// A piece of text has so many bytes, or one event more.
const PIECE: usize = 8 << 10;
/// After something was sent, what follows is sent this much later, together: a person does not see the difference, and a busy
/// log wakes a connection 20 times a second.
const GATHERS: Duration = Duration::from_millis(50);
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
    /// How many each address has. Held for a map operation only.
    taken: Mutex<HashMap<Option<IpAddr>, usize>>,
    texts: Texts,
}

impl LivePlaces {
    /// With other bounds than usual.
    pub fn within(bounds: LiveBounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Problem> {
        let LiveBounds { connections, per_address, .. } = self.bounds;
        let mut taken = self.taken.lock();
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
        let mut taken = self.places.taken.lock();
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

/// Events as they are sent, each made into text once while connections are at about the same position.
#[derive(Debug, Default)]
struct Texts {
    /// By position, modulo their number. Held for a look only.
    recent: Mutex<HashMap<u64, (Position, Bytes)>>,
}

impl Texts {
    /// Events that are kept at most: more than a busy log appends while connections gather.
    const KEPT: u64 = 1_024;
    /// A longer text is made anew for each connection, so that those that are kept have 8 MiB at most.
    const LONGEST: usize = 8 << 10;

    /// An event as a frame of server-sent events (WHATWG HTML §9.2.6). JSON has no line breaks.
    fn of(&self, event: &RecordedEvent) -> Result<Bytes, serde_json::Error> {
        let slot = event.position.0 % Self::KEPT;
        let kept = self.recent.lock().get(&slot).filter(|(position, _)| *position == event.position).cloned();
        if let Some((_, text)) = kept {
            return Ok(text);
        }
        let text = Bytes::from(format!("id: {}\ndata: {}\n\n", event.position, serde_json::to_string(event)?));
        if text.len() <= Self::LONGEST {
            self.recent.lock().insert(slot, (event.position, text.clone()));
        }
        Ok(text)
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
    handle.tasks.spawn_aside("live-events", async move {
        let connection = Connection { sender, texts: &place.places.texts, bounds };
        tokio::select! {
            () = connection.feed(&log, (subscription, after)) => {}
            () = tokio::time::sleep(bounds.lasts) => {}
            () = stopping.cancelled() => {}
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that gather output would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
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

/// A live connection, as its task has it.
struct Connection<'p> {
    sender: mpsc::Sender<Bytes>,
    texts: &'p Texts,
    bounds: LiveBounds,
}

/// Why a connection is handed nothing more for now.
#[derive(Debug, PartialEq, Eq)]
enum Pause {
    /// Its client does not read; nothing behind this position was sent.
    Stalled(Position),
    /// Its client has left, or the log cannot be read: the connection rather ends than has a hole.
    Ended,
}

impl Connection<'_> {
    /// Hands events to the connection until its client leaves, or reads nothing for too long. Safe to drop.
    async fn feed(&self, log: &Log, (mut subscription, mut sent): (Subscription, Position)) {
        let at_once = LETS_GO.min(self.bounds.stalls);
        while let Pause::Stalled(at) = self.until_it_stalls(subscription, sent, at_once).await {
            // Meanwhile nothing is kept of what was read for it.
            let reads = tokio::time::timeout(self.bounds.stalls - at_once, self.sender.reserve());
            if !matches!(reads.await, Ok(Ok(_))) {
                return;
            }
            sent = at;
            subscription = match log.follow(sent).await {
                Ok(subscription) => subscription,
                Err(error) => return drop(unreadable(&error)),
            };
        }
    }

    /// Hands events to the connection for as long as its client reads them.
    async fn until_it_stalls(&self, mut subscription: Subscription, mut sent: Position, at_once: Duration) -> Pause {
        let mut gathers = Instant::now();
        loop {
            let next = async {
                tokio::time::sleep_until(gathers).await;
                subscription.next().await
            };
            let delivery = tokio::select! {
                delivery = next => delivery,
                () = tokio::time::sleep(HEARTBEAT) => {
                    match self.sender.send_timeout(comment("still here"), at_once).await {
                        Ok(()) => continue,
                        Err(SendTimeoutError::Timeout(_)) => return Pause::Stalled(sent),
                        Err(SendTimeoutError::Closed(_)) => return Pause::Ended,
                    }
                }
                () = self.sender.closed() => return Pause::Ended,
            };
            let (events, up_to) = match delivery {
                Some(Ok(Delivery::Events { events, up_to })) => (events, up_to),
                Some(Ok(Delivery::CaughtUp)) => {
                    // Says at once that the connection stands, before the first event. Where there is no room, it shows.
                    _ = self.sender.try_send(comment("caught up"));
                    continue;
                }
                Some(Err(error)) => {
                    unreadable(&error);
                    return Pause::Ended;
                }
                None => return Pause::Ended,
            };
            if let Err(pause) = self.send(&events, &mut sent, at_once).await {
                return pause;
            }
            sent = up_to;
            gathers = Instant::now() + GATHERS;
        }
    }

    /// Sends events in pieces. `sent` moves with each piece.
    async fn send(&self, events: &[Arc<RecordedEvent>], sent: &mut Position, at_once: Duration) -> Result<(), Pause> {
        let mut rest = events.iter().peekable();
        while rest.peek().is_some() {
            // A piece is made when there is room for it: a delivery can be large, and its events as text are even larger.
            let room = tokio::time::timeout(at_once, self.sender.reserve()).await;
            let room = room.map_err(|_| Pause::Stalled(*sent))?.map_err(|_| Pause::Ended)?;
            let (mut piece, mut up_to) = (BytesMut::new(), *sent);
            while piece.len() < PIECE
                && let Some(event) = rest.next()
            {
                let text = self.texts.of(event).map_err(|error| {
                    tracing::error!(%error, position = %event.position, "an event could not be written as JSON");
                    Pause::Ended
                })?;
                piece.extend_from_slice(&text);
                up_to = event.position;
            }
            room.send(piece.freeze());
            *sent = up_to;
        }
        Ok(())
    }
}

/// A comment: clients pass it over, and see that the connection lives.
fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

#[cfg(test)]
mod tests {
    use event_store::Metadata;
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
    fn ids(pieces: &[Bytes]) -> Vec<u64> {
        let text = String::from_utf8(pieces.concat()).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
    }

    /// Subscriptions to a log that goes on without an end, so that they last.
    #[derive(Default)]
    struct Lasting(Vec<mpsc::Sender<Result<Delivery, ReadError>>>);

    impl Lasting {
        fn follow(&mut self, log: &[Arc<RecordedEvent>], after: Position) -> Subscription {
            let (pages, page) = mpsc::channel(2);
            let events = log[usize::try_from(after.0).unwrap()..].to_vec();
            pages.try_send(Ok(Delivery::Events { events, up_to: Position(log.len() as u64) })).unwrap();
            self.0.push(pages);
            Subscription::new(page)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_a_client_that_does_not_read_and_it_misses_nothing() {
        let (kept, mut lasting, texts) = (log(100), Lasting::default(), Texts::default());
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        let connection = Connection { sender, texts: &texts, bounds: LiveBounds::default() };
        let first = lasting.follow(&kept, Position::START);
        let Pause::Stalled(stalled) = connection.until_it_stalls(first, Position::START, LETS_GO).await else {
            panic!("a client that reads nothing stalls")
        };
        assert!(stalled < Position(100), "what there is room for");
        assert!(kept.iter().all(|event| Arc::strong_count(event) == 1), "nothing waits for it in memory");
        // It reads again.
        let mut read = Vec::new();
        let reads = async {
            while ids(&read).len() < 100 {
                read.push(receiver.recv().await.unwrap());
            }
        };
        let again = lasting.follow(&kept, stalled);
        tokio::select! {
            over = connection.until_it_stalls(again, stalled, LETS_GO) => panic!("{over:?}"),
            () = reads => {}
        }
        assert_eq!(ids(&read), (1..=100).collect::<Vec<u64>>());
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_follow_closely_come_together_and_the_first_at_once() {
        let (kept, texts) = (log(3), Texts::default());
        let (sender, mut receiver) = mpsc::channel(AHEAD);
        let connection = Connection { sender, texts: &texts, bounds: LiveBounds::default() };
        let (pages, page) = mpsc::channel(8);
        let begun = Instant::now();
        let deliver = |at: usize| {
            let event = Arc::clone(&kept[at]);
            pages.try_send(Ok(Delivery::Events { up_to: event.position, events: vec![event] })).unwrap();
        };
        deliver(0);
        let reads = async {
            let first = receiver.recv().await.unwrap();
            assert_eq!((ids(&[first]), begun.elapsed()), (vec![1], Duration::ZERO));
            deliver(1);
            let second = receiver.recv().await.unwrap();
            assert_eq!((ids(&[second]), begun.elapsed()), (vec![2], GATHERS));
        };
        tokio::select! {
            over = connection.until_it_stalls(Subscription::new(page), Position::START, LETS_GO) => panic!("{over:?}"),
            () = reads => {}
        }
    }

    #[test]
    fn an_event_is_made_into_text_once_and_is_never_taken_for_another() {
        let (texts, events) = (Texts::default(), log(Texts::KEPT + 1));
        let first = texts.of(&events[0]).unwrap();
        assert_eq!(first.as_ptr(), texts.of(&events[0]).unwrap().as_ptr(), "the same bytes");
        let later = texts.of(events.last().unwrap()).unwrap(); // At the same place among those that are kept.
        assert_eq!(ids(&[later]), [Texts::KEPT + 1]);
        assert_eq!(texts.of(&events[0]).unwrap(), first);
    }
}
