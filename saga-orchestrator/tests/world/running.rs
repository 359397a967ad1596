//! A shop whose sagas run: the real runner over the real embedded log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::Command;
use domain::ids::{OrderId, ShipmentId};
use domain::money::{Currency, Money};
use domain::order::{self, OrderLine, PlaceOrder, Totals};
use domain::quantity::Quantity;
use domain::saga::{Event, View};
use domain::shipment;
use domain::stock::{self, ReceiveStock};
use event_store::sqlite::{Faults, SqliteOptions, SqliteStore};
use event_store::{Delivery, EventStore, Filter};
use saga_orchestrator::shop::ShopSagas;
use saga_orchestrator::{Outcome, SagaConfig, sagas};
use service_kit::{Clock, Tasks};
use uuid::Uuid;

use super::mini_bus::{About, MiniBus};
use super::shop::item;

/// What people do in a shop, and see of it.
pub struct Front {
    pub store: Arc<SqliteStore>,
    pub bus: Arc<MiniBus>,
}

/// A shop whose sagas run.
pub struct Shop {
    front: Front,
    pub handle: saga_orchestrator::Handle,
    tasks: Tasks,
    pub faults: Faults,
}

impl std::ops::Deref for Shop {
    type Target = Front;
    fn deref(&self) -> &Front {
        &self.front
    }
}

pub fn start_of_time() -> Clock {
    Clock::manual(domain::Timestamp::from_timestamp(1_767_614_400, 0).unwrap())
}

impl Shop {
    pub fn open(dir: &Path, clock: &Clock) -> Self {
        let faults = Faults::default();
        let options = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
        let store = SqliteStore::open(dir, options).unwrap();
        let port: Arc<dyn EventStore> = store.clone();
        let bus = MiniBus::new(port.clone(), clock.clone());
        let tasks = Tasks::new();
        let config = SagaConfig::default();
        let sagas = saga_orchestrator::start(port, bus.clone(), clock.clone(), &tasks, config).unwrap();
        let handle = (&sagas).into();
        Self { front: Front { store, bus }, handle, tasks, faults }
    }

    pub async fn close(self) {
        assert!(self.tasks.shut_down(Duration::from_secs(10)).await, "the sagas stop in time");
        self.store.close().await;
    }
}

impl Front {
    pub async fn send(&self, key: &str, command: Command) -> Outcome {
        self.bus.send(command, About::client(Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()))).await
    }

    pub async fn receive(&self, sku: &str, pieces: i64) {
        let receive = ReceiveStock { item: item(sku), quantity: Quantity::new(pieces).unwrap() };
        let command = Command::Stock { id: item(sku), command: stock::Command::ReceiveStock(receive) };
        assert_eq!(self.send(&format!("receive {sku}"), command).await, Outcome::Done);
    }

    pub async fn place(&self, order_id: OrderId, token: &str) {
        let eur = |amount| Money::new(amount, Currency::EUR);
        let line = |line, sku| OrderLine {
            line,
            item: item(sku),
            name: sku.to_owned(),
            quantity: Quantity::new(1).unwrap(),
            unit_price: eur(100),
            net: eur(100),
            discount_share: eur(0),
            tax_share: eur(0),
        };
        let place = PlaceOrder {
            order_id,
            customer_id: domain::ids::CustomerId(Uuid::from_u128(7)),
            lines: vec![line(1, "a"), line(2, "b")],
            totals: Totals { subtotal: eur(200), discount: eur(0), tax: eur(0), shipping: eur(0), total: eur(200) },
            payment_method: token.to_owned(),
            tags: vec![],
            expected_total: None,
        };
        let command = Command::Order { id: order_id, command: order::Command::PlaceOrder(place) };
        while let Outcome::Unavailable { .. } = self.send(&format!("place {order_id}"), command.clone()).await {}
    }

    pub async fn ready(&self, order_id: OrderId) {
        let command = shipment::Command::MarkShipmentReady(shipment::MarkShipmentReady {});
        let id = ShipmentId::derive(order_id, 0);
        assert_eq!(self.send(&format!("ready {order_id}"), Command::Shipment { id, command }).await, Outcome::Done);
    }

    pub async fn deliver(&self, order_id: OrderId) {
        let command = shipment::Command::DeliverShipment(shipment::DeliverShipment {});
        let id = ShipmentId::derive(order_id, 0);
        assert_eq!(self.send(&format!("deliver {order_id}"), Command::Shipment { id, command }).await, Outcome::Done);
    }

    pub async fn view(&self, order_id: OrderId) -> View {
        let stream = sagas::stream("order_fulfilment", order_id).parse().unwrap();
        let mut view = View::default();
        let fold = |recorded: &event_store::RecordedEvent, event: Result<Event, _>| {
            view.fold(&event.unwrap(), recorded.metadata.occurred_at);
        };
        saga_runner::stream::read::<ShopSagas>(&*self.store, &stream, fold).await.unwrap();
        view
    }

    /// Waits, event by event, until the saga of an order is as it should be.
    pub async fn until(&self, order_id: OrderId, what: &str, holds: impl Fn(&View) -> bool) -> View {
        let stream = sagas::stream("order_fulfilment", order_id);
        let waits = async {
            // What is there already, the view below will say.
            let end = *self.store.head().borrow();
            let mut feed = self.store.subscribe(end, Filter::categories(["saga_order_fulfilment"])).await.unwrap();
            loop {
                let view = self.view(order_id).await;
                if view.started_at.is_some() && holds(&view) {
                    return view;
                }
                while let Some(Ok(delivery)) = feed.next().await {
                    let Delivery::Events { events, .. } = delivery else { continue };
                    if events.iter().any(|event| event.stream.as_str() == stream) {
                        break;
                    }
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), waits).await {
            Ok(view) => view,
            Err(_) => panic!("the saga never was {what}: {:#?}", self.view(order_id).await),
        }
    }

    pub async fn until_settled(&self, order_id: OrderId) -> View {
        self.until(order_id, "settled", View::settled).await
    }
}

pub fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x9e37_79b9_7f4a_7c15 * n))
}
