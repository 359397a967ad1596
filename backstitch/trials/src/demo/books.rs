//! The books of a shop, folded from its log and from nothing else: the events as `GET /v1/events` pages give them,
//! through the very `evolve` that decides on them.

use std::collections::BTreeMap;

use anyhow::Context;
use domain::ids::{OrderId, PaymentId, ShipmentId, StockId};
use domain::money::Money;
use domain::{Aggregate, order, payment, saga, shipment, stock};
use event_store::RecordedEvent;
use serde::Deserialize;

use super::client::Client;

/// Events a page, as many as the server gives at most.
const PAGE: usize = 200;

/// What the log says of one stock item. Pieces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StockBook {
    /// Came in.
    pub received: i64,
    /// Counted more or fewer.
    pub adjusted: i64,
    /// Left the house.
    pub shipped: i64,
    /// Came back.
    pub restocked: i64,
    /// Times that a hold was made.
    pub reserved_times: u64,
    /// The item as its aggregate sees it.
    pub state: stock::StockItem,
}

/// What the log says of one payment. Minor units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaymentBook {
    /// The order that the payment is for.
    pub order_id: OrderId,
    /// Held.
    pub authorized: i64,
    /// Taken.
    pub captured: i64,
    /// Given back.
    pub refunded: i64,
    /// Asked back, and the provider could not.
    pub refund_failed: i64,
    /// Answers of the provider that were recorded.
    pub results: u64,
    /// The payment as its aggregate sees it.
    pub state: payment::Payment,
}

/// What the log says of one order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderBook {
    /// As it was placed.
    pub placed: order::OrderPlaced,
    /// The names of its events, oldest first.
    pub events: Vec<String>,
    /// Pieces that left the house for it, over all items.
    pub pieces_shipped: i64,
    /// Whether its shipment left the house.
    pub dispatched: bool,
    /// The order as its aggregate sees it.
    pub state: order::Order,
}

impl OrderBook {
    /// Pieces ordered.
    pub fn pieces(&self) -> i64 {
        self.placed.lines.iter().map(|line| line.quantity.get()).sum()
    }

    /// Whether an event of this name happened to it.
    pub fn has(&self, event: &str) -> bool {
        self.events.iter().any(|name| name == event)
    }
}

/// The books: what the log says of everything.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// By item.
    pub stock: BTreeMap<StockId, StockBook>,
    /// By payment.
    pub payments: BTreeMap<PaymentId, PaymentBook>,
    /// By order.
    pub orders: BTreeMap<OrderId, OrderBook>,
    /// By shipment.
    pub shipments: BTreeMap<ShipmentId, shipment::Shipment>,
    /// Events of sagas by stream, oldest first, each with the moment it occurred.
    pub sagas: BTreeMap<String, Vec<(saga::Event, domain::Timestamp)>>,
    /// Pieces that left the house, by order.
    shipped: BTreeMap<OrderId, i64>,
    /// How often each event happened, by category and name.
    pub names: BTreeMap<(String, String), usize>,
    /// What stands at each position: a stream's id, and the version there.
    pub places: BTreeMap<u64, (String, u64)>,
    /// Events folded.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// The position of the last event.
    pub position: u64,
}

#[derive(Deserialize)]
struct EventPage {
    items: Vec<RecordedEvent>,
}

impl Books {
    /// Reads the whole log of a running server, page by page, and folds it.
    ///
    /// # Errors
    /// If the server does not answer, or an event cannot be read.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let mut books = Self::default();
        books.read_on(client).await?;
        Ok(books)
    }

    /// Folds what has come since.
    ///
    /// # Errors
    /// If the server does not answer, or an event cannot be read.
    pub async fn read_on(&mut self, client: &Client) -> anyhow::Result<()> {
        loop {
            let text = client.text(&format!("/v1/events?after={}&limit={PAGE}", self.position)).await?;
            let page: EventPage = serde_json::from_str(&text).context("a page of events that cannot be read")?;
            if page.items.is_empty() {
                return Ok(());
            }
            for event in &page.items {
                self.fold(event)?;
            }
        }
    }

    /// Folds one event.
    ///
    /// # Errors
    /// If it cannot be read, or comes twice or too early.
    pub fn fold(&mut self, event: &RecordedEvent) -> anyhow::Result<()> {
        let at = || format!("event {} ({}) of {}", event.position, event.event_type, event.stream);
        anyhow::ensure!(event.position.0 > self.position, "{} comes after position {}", at(), self.position);
        self.position = event.position.0;
        self.places.insert(self.position, (event.stream.id().to_owned(), event.version));
        self.events += 1;
        self.bytes += event.data.get().len() as u64;
        *self.names.entry((event.stream.category().to_owned(), event.event_type.to_string())).or_default() += 1;
        match event.stream.category() {
            "order" => self.order(event),
            "payment" => self.payment(event),
            "stock" => self.stock(event),
            "shipment" => self.shipment(event),
            category if category.starts_with("saga_") => self.saga(event),
            _ => Ok(()),
        }
        .with_context(at)
    }

    fn order(&mut self, recorded: &RecordedEvent) -> anyhow::Result<()> {
        let id: OrderId = recorded.stream.id().parse()?;
        let event: order::Event = decoded::<order::Order>(recorded)?;
        if let order::Event::OrderPlaced(placed) = &event {
            let (placed, state) = (placed.clone(), order::Order::default());
            let book = OrderBook { placed, events: Vec::new(), pieces_shipped: 0, dispatched: false, state };
            self.orders.insert(id, book);
        }
        let book = self.orders.get_mut(&id).context("of an order that was never placed")?;
        book.events.push(recorded.event_type.to_string());
        book.state.evolve(&event);
        Ok(())
    }

    fn payment(&mut self, recorded: &RecordedEvent) -> anyhow::Result<()> {
        use payment::Event as E;
        let event: E = decoded::<payment::Payment>(recorded)?;
        let book = self.payments.entry(recorded.stream.id().parse()?).or_default();
        match &event {
            E::PaymentAuthorizationRequested(e) => book.order_id = e.order_id,
            E::PaymentAuthorized(e) => book.authorized += e.amount.amount,
            E::PaymentCaptured(e) => book.captured += e.amount.amount,
            E::PaymentRefunded(e) => book.refunded += e.amount.amount,
            E::RefundFailed(e) => book.refund_failed += e.amount.amount,
            E::PaymentVoided(e) => book.order_id = e.order_id,
            E::PaymentSucceededLate(e) => match e.kind {
                payment::LateSuccess::Authorized => book.authorized += e.amount.amount,
                payment::LateSuccess::Captured => {
                    // Taken at once: held and taken, unless the hold was known.
                    book.authorized = book.authorized.max(e.amount.amount);
                    book.captured += e.amount.amount;
                }
            },
            E::PaymentActionRequired(_)
            | E::PaymentDeclined(_)
            | E::PaymentOutcomeUnknown(_)
            | E::CaptureRequested(_)
            | E::CaptureFailed(_)
            | E::VoidRequested(_)
            | E::VoidFailed(_)
            | E::RefundRequested(_)
            | E::PaymentExpired(_)
            | E::PaymentFellShort(_) => {}
        }
        if recorded.metadata.actor.starts_with("provider:") {
            book.results += 1;
        }
        book.state.evolve(&event);
        Ok(())
    }

    fn stock(&mut self, recorded: &RecordedEvent) -> anyhow::Result<()> {
        use stock::Event as E;
        let event: E = decoded::<stock::StockItem>(recorded)?;
        let book = self.stock.entry(recorded.stream.id().parse()?).or_default();
        match &event {
            E::StockReceived(e) => book.received += e.quantity.get(),
            E::StockAdjusted(e) => book.adjusted += e.delta,
            E::StockReserved(_) => book.reserved_times += 1,
            E::StockShipped(e) => {
                book.shipped += e.quantity;
                *self.shipped.entry(e.order_id).or_default() += e.quantity;
            }
            E::StockRestocked(e) => book.restocked += e.quantity.get(),
            E::ReservationRenewed(_)
            | E::ReservationCommitted(_)
            | E::ReservationReleased(_)
            | E::ReservationExpired(_) => {}
        }
        book.state.evolve(&event);
        if let E::StockShipped(e) = &event
            && let Some(order) = self.orders.get_mut(&e.order_id)
        {
            order.pieces_shipped = self.shipped.get(&e.order_id).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn shipment(&mut self, recorded: &RecordedEvent) -> anyhow::Result<()> {
        let event: shipment::Event = decoded::<shipment::Shipment>(recorded)?;
        if let shipment::Event::ShipmentDispatched(e) = &event
            && let Some(order) = self.orders.get_mut(&e.order_id)
        {
            order.dispatched = true;
        }
        self.shipments.entry(recorded.stream.id().parse()?).or_default().evolve(&event);
        Ok(())
    }

    fn saga(&mut self, recorded: &RecordedEvent) -> anyhow::Result<()> {
        let event = saga::Event::decode(&recorded.event_type, recorded.schema_version, recorded.data.get())?;
        let moment = recorded.metadata.occurred_at;
        self.sagas.entry(recorded.stream.to_string()).or_default().push((event, moment));
        Ok(())
    }

    /// How often an event happened in a category.
    pub fn count(&self, category: &str, event: &str) -> usize {
        self.names.get(&(category.to_owned(), event.to_owned())).copied().unwrap_or(0)
    }

    /// How the sagas of an order stand, by stream.
    pub fn sagas_of(&self, order: OrderId) -> BTreeMap<String, saga::View> {
        let view = |events: &[(saga::Event, domain::Timestamp)]| saga::View::of(events.iter().map(|(e, at)| (e, *at)));
        let of_order = |events: &[(saga::Event, domain::Timestamp)]| matches!(events.first(), Some((saga::Event::SagaStarted(e), _)) if e.subject.order_id == order);
        let sagas = self.sagas.iter().filter(|(_, events)| of_order(events));
        sagas.map(|(stream, events)| (stream.clone(), view(events))).collect()
    }

    /// The payments of an order.
    pub fn payments_of(&self, order: OrderId) -> impl Iterator<Item = (&PaymentId, &PaymentBook)> {
        self.payments.iter().filter(move |(_, payment)| payment.order_id == order)
    }

    /// What the order costs.
    pub fn total(&self, order: OrderId) -> Option<Money> {
        self.orders.get(&order).map(|book| book.placed.totals.total)
    }
}

fn decoded<A: Aggregate>(recorded: &RecordedEvent) -> anyhow::Result<A::Event> {
    Ok(A::decode(&recorded.event_type, recorded.schema_version, recorded.data.get())?)
}
