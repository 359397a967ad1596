//! Sagas in the log: reading one, writing its events, and what of the feed concerns sagas at all.

use std::sync::Arc;

use domain::ids::{NAMESPACE, OrderId, PaymentId, ShipmentId};
use domain::saga::{Event, Facts, Item, OrderFacts, Source};
use domain::{DecodeError, Timestamp, order, payment, saga, shipment};
use event_store::{
    Append, AppendError, Direction, Epoch, EventStore, Expected, Metadata, NewEvent, ReadError, RecordedEvent,
    StreamName, Ticket,
};
use uuid::Uuid;

use crate::sagas::payment_reconciliation;
use crate::shop::{Begin, Outside, ShopSagas, State};
use saga_engine::engine::Meta;
use saga_engine::ids;
use saga_engine::process::Process as _;

/// Events read at once: a saga has some 30, so that one read is enough.
const PAGE: usize = 1_000;

/// Reads a saga; one that never began has no facts.
///
/// # Errors
/// [`ReadError`]
pub async fn load(store: &dyn EventStore, stream: &StreamName) -> Result<State, ReadError> {
    let mut state = State::new(stream.as_str());
    read(store, stream, |recorded, event| fold(&mut state, recorded, event.as_ref())).await?;
    Ok(state)
}

/// Hands over a saga's events, oldest first.
///
/// # Errors
/// [`ReadError`]
pub async fn read(
    store: &dyn EventStore,
    stream: &StreamName,
    mut each: impl FnMut(&RecordedEvent, Result<Event, DecodeError>),
) -> Result<(), ReadError> {
    let mut from = 0;
    loop {
        let events = store.read_stream(stream, from, Direction::Forward, PAGE).await?;
        for recorded in &events {
            each(recorded, Event::decode(&recorded.event_type, recorded.schema_version, recorded.data.get()));
        }
        match events.last() {
            Some(last) if events.len() == PAGE => from = last.version + 1,
            Some(_) | None => return Ok(()),
        }
    }
}

/// Folds what was read into a saga's state.
pub(crate) fn fold(state: &mut State, recorded: &RecordedEvent, event: Result<&Event, &DecodeError>) {
    match event {
        Ok(event) => state.evolve(event, &meta_of(recorded)),
        Err(error) => {
            // Written by a newer program: this one must not go on with it.
            tracing::error!(stream = %recorded.stream, version = recorded.version, %error, "a saga's event cannot be read");
            state.version = Some(recorded.version);
            state.definition = None;
        }
    }
}

/// What stands around an event of the log, as far as sagas are concerned.
pub fn meta_of(recorded: &RecordedEvent) -> Meta {
    Meta {
        id: recorded.id,
        at: recorded.metadata.occurred_at,
        correlation_id: recorded.metadata.correlation_id,
        traceparent: recorded.metadata.traceparent.clone(),
    }
}

/// What made a saga move.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The event or command.
    pub id: Uuid,
    /// The request that began it all.
    pub correlation_id: Uuid,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The person who did it; none: the saga itself.
    pub person: Option<Person>,
}

/// A person who acts on a saga.
#[derive(Debug, Clone)]
pub struct Person {
    /// The person's name.
    pub name: String,
    /// SHA-256 of what was asked: the same request with another body is told from a repeat.
    pub asked: String,
}

/// Queues a saga's events behind `state`, which was folded in `epoch`, and folds them into it. When the ticket is durable, so are they.
///
/// # Errors
/// [`AppendError`]; `state` is then as it was.
pub async fn append(
    (store, epoch): (&dyn EventStore, Epoch),
    state: &mut State,
    events: &[Event],
    cause: &Cause,
    now: Timestamp,
) -> Result<Ticket, AppendError> {
    let refused = |reason: String| AppendError::Refused { stream: unnamed(), reason };
    let stream: StreamName =
        state.stream.parse().map_err(|error: event_store::stream::StreamNameError| refused(error.to_string()))?;
    let (_, saga) = name_of(&stream).ok_or_else(|| refused(format!("`{stream}` is no saga's stream")))?;
    let metadata = Arc::new(Metadata {
        partition_key: order_of(state, events).to_string(),
        correlation_id: cause.correlation_id,
        causation_id: cause.id,
        command_id: cause.id,
        command_hash: cause.person.as_ref().map(|person| person.asked.clone()),
        traceparent: cause.traceparent.clone(),
        actor: cause
            .person
            .as_ref()
            .map_or_else(|| format!("saga:{saga}"), |person| format!("operator:{}", person.name)),
        occurred_at: now,
    });
    let first = state.version.map_or(0, |version| version + 1);
    let mut new = Vec::with_capacity(events.len());
    for (event, version) in events.iter().zip(first..) {
        let encoded = event.encode();
        new.push(NewEvent {
            id: ids::event(&NAMESPACE, stream.as_str(), version, encoded.data.get()),
            event_type: encoded.event_type.into(),
            schema_version: encoded.schema_version,
            data: encoded.data,
            metadata: metadata.clone(),
        });
    }
    let ids: Vec<Uuid> = new.iter().map(|event| event.id).collect();
    let ticket = {
        let append = Append { stream, expected: Expected::at(state.version), events: new };
        store.append_within(epoch, append).await?
    };
    for (event, id) in events.iter().zip(ids) {
        let (correlation_id, traceparent) = (cause.correlation_id, cause.traceparent.clone());
        state.evolve(event, &Meta { id, at: now, correlation_id, traceparent });
    }
    Ok(ticket)
}

/// The order that a saga is about: it has begun, or begins with these events.
fn order_of(state: &State, events: &[Event]) -> OrderId {
    match (&state.facts, events.first()) {
        (None, Some(Event::SagaStarted(e))) => e.subject.order_id,
        (Some(_), _) | (None, _) => state.subject().order_id,
    }
}

fn unnamed() -> StreamName {
    "saga".parse().expect("four letters are a stream's name")
}

/// The id and the type of a saga, by its stream's name. The id is the order's only where an order has at most one of
/// the type: which order a saga is about says the partition key of its events.
pub fn name_of(stream: &StreamName) -> Option<(Uuid, &str)> {
    let saga = stream.category().strip_prefix("saga_")?;
    Some((stream.id().parse().ok()?, saga))
}

/// What of the feed concerns sagas.
#[derive(Debug, Clone)]
pub enum Feed {
    /// A saga of this type begins.
    Begin(&'static str, Begin),
    /// Something happened that sagas of the order may wait for.
    Fact(Source, Box<Outside>),
}

impl Feed {
    /// The fact, if it is one.
    pub fn fact(self) -> Option<(Source, Box<Outside>)> {
        match self {
            Self::Begin(..) => None,
            Self::Fact(source, outside) => Some((source, outside)),
        }
    }
}

/// Events that no saga waits for; not decoding them is most of the feed's speed.
const NOT_HEARD: &[&str] = &[
    "OrderConfirmed",
    "OrderRejected",
    "OrderCancelled",
    "OrderDispatchAllowed",
    "OrderShipped",
    "OrderCompleted",
    "PaymentAuthorizationRequested",
    "CaptureRequested",
    "VoidRequested",
    "RefundRequested",
    "ShipmentPlanned",
    "ShipmentDispatched",
];

/// What an event of the feed means to the sagas of `order_id`, to which it belongs: nothing, a fact, a beginning, or a
/// fact with which another one begins.
///
/// # Errors
/// [`DecodeError`] if it cannot be read; an unknown type is none of ours.
pub fn heard(recorded: &RecordedEvent, order_id: OrderId) -> Result<Vec<Feed>, DecodeError> {
    let event_type = &*recorded.event_type;
    if NOT_HEARD.contains(&event_type) {
        return Ok(Vec::new());
    }
    let (stream, schema, data) = (&recorded.stream, recorded.schema_version, recorded.data.get());
    let source = || Source { stream: stream.to_string(), version: recorded.version, event: event_type.to_owned() };
    let outside = match stream.category() {
        "order" => order::Event::decode(event_type, schema, data).map(Outside::Order),
        "payment" => match stream.id().parse::<PaymentId>() {
            Ok(id) => payment::Event::decode(event_type, schema, data).map(|event| Outside::Payment(id, event)),
            Err(_) => return Ok(Vec::new()),
        },
        "shipment" => match stream.id().parse::<ShipmentId>() {
            Ok(id) => shipment::Event::decode(event_type, schema, data).map(|event| Outside::Shipment(id, event)),
            Err(_) => return Ok(Vec::new()),
        },
        _ if event_type == "SagaHandedOver" => {
            let event = saga::Event::decode(event_type, schema, data)?;
            let Event::SagaHandedOver(e) = event else { return Ok(Vec::new()) };
            let definition = crate::sagas::newest(&e.to);
            let begin = Begin { source: source(), facts: Facts::Refund(e.facts) };
            return Ok(definition.map(|definition| Feed::Begin(definition.name, begin)).into_iter().collect());
        }
        _ => return Ok(Vec::new()),
    };
    match outside {
        Ok(outside) => Ok(means(source(), order_id, outside)),
        Err(DecodeError::UnknownType(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What a fact means to the sagas of its order.
pub fn means(source: Source, order_id: OrderId, outside: Outside) -> Vec<Feed> {
    let facts = match &outside {
        Outside::Order(order::Event::OrderPlaced(e)) => Some(Facts::Order(order_facts(e))),
        Outside::Payment(id, event) => payment_reconciliation::facts_of(*id, order_id, event),
        Outside::Order(_) | Outside::Shipment(..) => None,
    };
    let begins = facts.and_then(|facts| {
        let definition = ShopSagas::started_by(&source.event)?;
        Some(Feed::Begin(definition.name, Begin { source: source.clone(), facts }))
    });
    // No saga waits for an order to be placed; what an order's payments do, others hear as well.
    let placed = matches!(outside, Outside::Order(order::Event::OrderPlaced(_)));
    let fact = (!placed).then(|| Feed::Fact(source, Box::new(outside)));
    fact.into_iter().chain(begins).collect()
}

/// What fulfilment needs of an order.
pub fn order_facts(placed: &order::OrderPlaced) -> OrderFacts {
    OrderFacts {
        order_id: placed.order_id,
        items: placed.quantity_by_item().into_iter().map(|(item, quantity)| Item { item, quantity }).collect(),
        total: placed.totals.total,
        payment_method: placed.payment_method.clone(),
        tags: placed.tags.clone(),
        placed_on: placed.placed_at.date_naive(),
    }
}
