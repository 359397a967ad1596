//! `Events`: the log for clients that follow it, in messages of a bounded size, each with how far it has come.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use event_store::{Delivery, Direction, EventStore, Filter, Position, RecordedEvent, Subscription};
use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::proto::events_server::Events;
use super::proto::{Event, FollowReply, FollowRequest};
use super::status;

/// Followers at once: each holds a subscription, at most one of its deliveries, and at most one message. The events of a
/// delivery are shared with the log's memory, or are one page of a table.
const FOLLOWERS_MAX: usize = 256;

/// Categories that may be asked for: a few times what there are.
const CATEGORIES_MAX: usize = 32;

/// A message ends with the event that makes it larger. It is what a follower that takes nothing holds in memory besides its
/// delivery; a hundred usual events make it worth its own overhead. With an event of 1 MB, the largest that the log takes, it
/// is far below the 4 MB that gRPC clients take unless told otherwise.
const MESSAGE_BYTES: usize = 64 << 10;

/// What an event takes in a message besides what it takes in memory: ids as text.
const IDS_BYTES: usize = 200;

/// Hands the log to followers.
pub(super) struct EventsService {
    store: Arc<dyn EventStore>,
    stop: CancellationToken,
    free: Arc<Semaphore>,
}

impl EventsService {
    /// Followers are let go when `stop` fires.
    pub fn new(store: Arc<dyn EventStore>, stop: CancellationToken) -> Self {
        Self { store, stop, free: Arc::new(Semaphore::new(FOLLOWERS_MAX)) }
    }
}

impl EventsService {
    /// Refuses a place to go on from that the log does not have: it was restored from an older backup, and to go on there
    /// in silence would pass by what is appended until it is as long again. What is known here of the log's end may be old, by a
    /// moment even for this process's log: the log itself is asked.
    async fn not_beyond(&self, after: Position) -> Result<(), Status> {
        let mut head = *self.store.head().borrow();
        if after > head {
            let last = self.store.read_all(Position(u64::MAX), Direction::Backward, 1, &Filter::default()).await;
            head = head.max(last.map_err(status::unavailable)?.first().map_or(Position::START, |event| event.position));
        }
        if after <= head {
            return Ok(());
        }
        Err(status::beyond_the_log(format_args!(
            "the log ends at position {head}, before {after}: it was restored from an older backup, or is another log; \
             what was read after position {head} is no more. Follow again from a position up to {head}"
        )))
    }
}

#[tonic::async_trait]
impl Events for EventsService {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<FollowReply, Status>> + Send>>;

    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let FollowRequest { after, categories } = request.into_inner();
        let is_category =
            |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if categories.len() > CATEGORIES_MAX || !categories.iter().all(is_category) {
            return Err(status::invalid("categories", "are at most 32 names such as `order`, in lower case with `_`"));
        }
        self.not_beyond(Position(after)).await?;
        let place = self.free.clone().try_acquire_owned().map_err(|_| status::busy("too many follow the log here"))?;
        let subscribed = self.store.subscribe(Position(after), Filter { categories }).await;
        let subscription = subscribed.map_err(status::unavailable)?;
        let (after, stop, waiting) = (Position(after), self.stop.clone(), None);
        let following = Following { subscription, after, waiting, stop, _place: place };
        Ok(Response::new(Box::pin(stream::unfold(Some(following), next))))
    }
}

struct Following {
    subscription: Subscription,
    after: Position,
    /// The delivery that is being sent.
    waiting: Option<Waiting>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// The next message; after an error the stream ends.
async fn next(following: Option<Following>) -> Option<(Result<FollowReply, Status>, Option<Following>)> {
    let mut following = following?;
    loop {
        if let Some(waiting) = &mut following.waiting {
            let message = waiting.message();
            if waiting.is_sent() {
                following.waiting = None;
            }
            return Some((Ok(message), Some(following)));
        }
        let delivery = tokio::select! {
            () = following.stop.cancelled() => {
                return Some((Err(status::unavailable("this process is being stopped; follow another one")), None));
            }
            delivery = following.subscription.next() => delivery,
        };
        match delivery {
            Some(Ok(Delivery::Events { events, up_to })) => {
                following.waiting = Some(Waiting { events: events.into_iter(), up_to });
                following.after = up_to;
            }
            Some(Ok(Delivery::CaughtUp)) => {
                let up_to = following.after.0;
                return Some((Ok(FollowReply { events: vec![], up_to, caught_up: true }), Some(following)));
            }
            Some(Err(error)) => return Some((Err(status::unavailable(error)), None)),
            None => return Some((Err(status::unavailable("the log is being closed")), None)),
        }
    }
}

/// What is left of a delivery. A message is made when the connection asks for one, and the events in it are let go then: a
/// follower that takes nothing costs one message and not the delivery a second time.
struct Waiting {
    events: std::vec::IntoIter<Arc<RecordedEvent>>,
    up_to: Position,
}

impl Waiting {
    /// The next message. Only the last one has all that the delivery covers.
    fn message(&mut self) -> FollowReply {
        let (mut message, mut bytes) = (FollowReply::default(), 0);
        while bytes < MESSAGE_BYTES
            && let Some(event) = self.events.next()
        {
            bytes += event.size() + IDS_BYTES;
            message.up_to = event.position.0;
            message.events.push(sent(&event));
        }
        if self.is_sent() {
            message.up_to = self.up_to.0;
        }
        message
    }

    fn is_sent(&self) -> bool {
        self.events.as_slice().is_empty()
    }
}

fn sent(event: &RecordedEvent) -> Event {
    let metadata = &event.metadata;
    let (traceparent, tracestate) = match metadata.traceparent.as_deref().map(event_store::trace::split) {
        Some((parent, state)) => (Some(parent), state),
        None => (None, None),
    };
    Event {
        id: event.id.to_string(),
        position: event.position.0,
        stream: event.stream.to_string(),
        version: event.version,
        r#type: event.event_type.to_string(),
        schema_version: event.schema_version.into(),
        data: Bytes::copy_from_slice(event.data.get().as_bytes()),
        partition_key: metadata.partition_key.clone(),
        correlation_id: metadata.correlation_id.to_string(),
        causation_id: metadata.causation_id.to_string(),
        command_id: metadata.command_id.to_string(),
        traceparent: traceparent.unwrap_or_default().to_owned(),
        tracestate: tracestate.unwrap_or_default().to_owned(),
        actor: metadata.actor.clone(),
        occurred_at: Some(moment(metadata.occurred_at)),
        recorded_at: Some(moment(event.recorded_at)),
    }
}

fn moment(at: event_store::envelope::Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(); // Below 10⁹.
    prost_types::Timestamp { seconds: at.timestamp(), nanos }
}

#[cfg(test)]
mod tests {
    use event_store::Metadata;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;

    /// An event of about 10 kB.
    fn event(position: u64) -> Arc<RecordedEvent> {
        let metadata = Arc::new(Metadata {
            partition_key: "1".to_owned(),
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            command_id: Uuid::nil(),
            command_hash: None,
            traceparent: None,
            actor: "test".to_owned(),
            occurred_at: Default::default(),
        });
        Arc::new(RecordedEvent {
            id: Uuid::nil(),
            position: Position(position),
            stream: "order-1".parse().expect("a name"),
            version: position - 1,
            event_type: "OrderPlaced".into(),
            schema_version: 1,
            data: RawValue::from_string(format!("\"{}\"", "x".repeat(10_000))).expect("JSON"),
            metadata,
            recorded_at: Default::default(),
        })
    }

    #[test]
    fn a_delivery_is_made_into_messages_one_by_one_as_they_are_asked_for() {
        let events: Vec<_> = (1..=40).map(event).collect();
        let mut waiting = Waiting { events: events.clone().into_iter(), up_to: Position(50) };
        let held = || events.iter().filter(|event| Arc::strong_count(event) == 2).count();
        let (mut sent, mut messages) = (0, Vec::new());
        while !waiting.is_sent() {
            let message = waiting.message();
            sent += message.events.len();
            let bytes: usize = message.events.iter().map(|event| event.data.len()).sum();
            assert!(bytes <= MESSAGE_BYTES + 10_000, "{bytes}");
            assert_eq!(held(), 40 - sent, "what was not asked for has not been touched, what was is let go");
            messages.push((message.events.len(), message.up_to));
        }
        assert_eq!(messages, [(7, 7), (7, 14), (7, 21), (7, 28), (7, 35), (5, 50)]);
    }

    #[test]
    fn a_delivery_without_events_is_one_message_that_says_how_far_it_came() {
        let mut waiting = Waiting { events: Vec::new().into_iter(), up_to: Position(7) };
        let message = waiting.message();
        assert_eq!((message.events.len(), message.up_to, waiting.is_sent()), (0, 7, true));
    }
}
