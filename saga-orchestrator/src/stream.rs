//! What the events of the log mean to the shop's sagas: which streams they follow, which events begin one, which are facts.

use domain::ids::{OrderId, PaymentId, ShipmentId};
use domain::saga::{Facts, Item, OrderFacts, Source, Subject};
use domain::{DecodeError, order, payment, shipment};
use event_store::RecordedEvent;
use saga_engine::process::Process as _;
use saga_runner::subscriber::source_of;
use saga_runner::{Ended, Subscriber};

use crate::sagas::payment_reconciliation;
use crate::shop::{Begin, Outside, ShopSagas};

/// What an event makes the shop's sagas do.
pub type Trigger = saga_runner::Trigger<ShopSagas>;

impl Subscriber for ShopSagas {
    const CATEGORIES: &'static [&'static str] = &["order", "payment", "shipment"];

    fn parse_subject(key: &str) -> Option<Subject> {
        Some(Subject { order_id: key.parse().ok()? })
    }

    fn subject(recorded: &RecordedEvent) -> Option<Subject> {
        match recorded.stream.category() {
            "order" => Self::parse_subject(recorded.stream.id()),
            _ => Self::parse_subject(&recorded.metadata.partition_key),
        }
    }

    fn triggers(recorded: &RecordedEvent, subject: Subject) -> Result<Vec<Trigger>, DecodeError> {
        if NOT_HEARD.contains(&&*recorded.event_type) {
            return Ok(Vec::new());
        }
        match outside(recorded) {
            Ok(Some(outside)) => Ok(means(source_of(recorded), subject.order_id, outside)),
            Ok(None) | Err(DecodeError::UnknownType(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn streams_of(subject: Subject) -> Vec<String> {
        vec![subject.order_id.stream()]
    }

    fn log_end(ended: &Ended<'_, Self>) {
        let Ended { saga, id, subject, correlation_id, how } = ended;
        tracing::info!(%saga, saga.id = %id, order.id = %subject, %correlation_id, how, "a saga ended");
    }
}

/// Events that no saga waits for; not decoding them is most of the subscription's speed.
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

/// The fact that an event is; nothing if its stream is none of those that sagas follow.
fn outside(recorded: &RecordedEvent) -> Result<Option<Outside>, DecodeError> {
    let (event_type, schema, data) = (&*recorded.event_type, recorded.schema_version, recorded.data.get());
    let stream = &recorded.stream;
    Ok(match stream.category() {
        "order" => Some(Outside::Order(order::Event::decode(event_type, schema, data)?)),
        "payment" => match stream.id().parse::<PaymentId>() {
            Ok(id) => Some(Outside::Payment(id, payment::Event::decode(event_type, schema, data)?)),
            Err(_) => None,
        },
        "shipment" => match stream.id().parse::<ShipmentId>() {
            Ok(id) => Some(Outside::Shipment(id, shipment::Event::decode(event_type, schema, data)?)),
            Err(_) => None,
        },
        _ => None,
    })
}

/// What a fact means to the sagas of its order.
pub fn means(source: Source, order_id: OrderId, outside: Outside) -> Vec<Trigger> {
    let facts = match &outside {
        Outside::Order(order::Event::OrderPlaced(e)) => Some(Facts::Order(order_facts(e))),
        Outside::Payment(id, event) => payment_reconciliation::facts_of(*id, order_id, event),
        Outside::Order(_) | Outside::Shipment(..) => None,
    };
    let begins = facts.and_then(|facts| {
        let definition = ShopSagas::started_by(&source.event)?;
        Some(Trigger::Begin(definition.name, Begin { source: source.clone(), facts }))
    });
    // No saga waits for an order to be placed; what an order's payments do, others hear as well.
    let placed = matches!(outside, Outside::Order(order::Event::OrderPlaced(_)));
    let fact = (!placed).then(|| Trigger::fact(source, outside));
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
