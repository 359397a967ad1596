//! The runner over the real embedded log: sagas run, survive a stop, an epoch's end, and wait with a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::Command;
use domain::ids::{OrderId, ShipmentId};
use domain::money::{Currency, Money};
use domain::order::{self, OrderLine, PlaceOrder, Totals};
use domain::quantity::Quantity;
use domain::saga::{Event, SagaState, View};
use domain::shipment;
use domain::stock::{self, ReceiveStock};
use event_store::sqlite::{Faults, SqliteOptions, SqliteStore};
use event_store::{Delivery, EventStore, Filter, Position};
use saga_orchestrator::{Outcome, SagaConfig, sagas};
use service_kit::{Clock, Tasks};
use uuid::Uuid;
use world::mini_bus::{About, MiniBus};
use world::shop::item;

/// A shop whose sagas run.
struct Shop {
    store: Arc<SqliteStore>,
    bus: Arc<MiniBus>,
    tasks: Tasks,
    faults: Faults,
}

fn start_of_time() -> Clock {
    Clock::manual(domain::Timestamp::from_timestamp(1_767_614_400, 0).unwrap())
}

impl Shop {
    fn open(dir: &Path, clock: &Clock) -> Self {
        let faults = Faults::default();
        let options = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
        let store = SqliteStore::open(dir, options).unwrap();
        let port: Arc<dyn EventStore> = store.clone();
        let bus = MiniBus::new(port.clone(), clock.clone());
        let tasks = Tasks::new();
        saga_orchestrator::start(port, bus.clone(), clock.clone(), &tasks, SagaConfig::default()).unwrap();
        Self { store, bus, tasks, faults }
    }

    async fn close(self) {
        assert!(self.tasks.shut_down(Duration::from_secs(10)).await, "the sagas stop in time");
        self.store.close().await;
    }

    async fn send(&self, key: &str, command: Command) -> Outcome {
        self.bus.send(command, About::client(Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()))).await
    }

    async fn receive(&self, sku: &str, pieces: i64) {
        let receive = ReceiveStock { item: item(sku), quantity: Quantity::new(pieces).unwrap() };
        let command = Command::Stock { id: item(sku), command: stock::Command::ReceiveStock(receive) };
        assert_eq!(self.send(&format!("receive {sku}"), command).await, Outcome::Done);
    }

    async fn place(&self, order_id: OrderId, token: &str) {
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

    async fn ready(&self, order_id: OrderId) {
        let command = shipment::Command::MarkShipmentReady(shipment::MarkShipmentReady {});
        let id = ShipmentId::derive(order_id, 0);
        assert_eq!(self.send(&format!("ready {order_id}"), Command::Shipment { id, command }).await, Outcome::Done);
    }

    async fn deliver(&self, order_id: OrderId) {
        let command = shipment::Command::DeliverShipment(shipment::DeliverShipment {});
        let id = ShipmentId::derive(order_id, 0);
        assert_eq!(self.send(&format!("deliver {order_id}"), Command::Shipment { id, command }).await, Outcome::Done);
    }

    async fn view(&self, order_id: OrderId) -> View {
        let stream = sagas::stream("order_fulfilment", order_id).parse().unwrap();
        let mut view = View::default();
        let fold = |recorded: &event_store::RecordedEvent, event: Result<Event, _>| {
            view.fold(&event.unwrap(), recorded.metadata.occurred_at);
        };
        saga_orchestrator::stream::read(&*self.store, &stream, fold).await.unwrap();
        view
    }

    /// Waits, event by event, until the saga of an order is as it should be.
    async fn until(&self, order_id: OrderId, what: &str, holds: impl Fn(&View) -> bool) -> View {
        let waits = async {
            let mut feed =
                self.store.subscribe(Position::START, Filter::categories(["saga_order_fulfilment"])).await.unwrap();
            loop {
                let view = self.view(order_id).await;
                if view.started_at.is_some() && holds(&view) {
                    return view;
                }
                while let Some(Ok(delivery)) = feed.next().await {
                    if matches!(delivery, Delivery::Events { events, .. } if !events.is_empty()) {
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

    async fn until_settled(&self, order_id: OrderId) -> View {
        self.until(order_id, "settled", View::settled).await
    }
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x9e37_79b9_7f4a_7c15 * n))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_run_to_their_ends_over_the_real_log() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path(), &start_of_time());
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=20 {
        shop.place(order(n), if n % 5 == 0 { "tok_decline" } else { "tok_approve" }).await;
    }
    for n in 1..=20 {
        let view = shop.until_settled(order(n)).await;
        if n % 5 == 0 {
            assert_eq!((view.state(), view.reason.as_deref()), (SagaState::Compensated, Some("payment_declined")));
        } else {
            assert_eq!((view.state(), view.step()), (SagaState::Waiting, Some("plan_shipment")));
        }
    }
    shop.ready(order(1)).await;
    shop.until(order(1), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    shop.deliver(order(1)).await;
    shop.until(order(1), "completed", |view| view.state() == SagaState::Completed).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_shop_goes_on_where_it_was_and_sends_nothing_for_what_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=5 {
        shop.place(order(n), "tok_approve").await;
        shop.until_settled(order(n)).await;
    }
    shop.close().await;
    let shop = Shop::open(dir.path(), &clock);
    shop.ready(order(3)).await;
    shop.until(order(3), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    // Capture, allow, dispatch, ship twice, record: nothing of the four others was sent again.
    assert_eq!(shop.bus.dispatched.load(Ordering::Relaxed), 6);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_checkpoint_a_shop_reads_the_log_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    shop.place(order(1), "tok_approve").await;
    shop.until_settled(order(1)).await;
    // As after a kill: no last checkpoint is saved.
    shop.store.close().await;
    drop(shop);
    let shop = Shop::open(dir.path(), &clock);
    shop.ready(order(1)).await;
    shop.until(order(1), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_follow_the_clock_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    shop.place(order(1), "tok_3ds_abandon").await;
    shop.until(order(1), "waiting for the customer", |view| !view.notes.is_empty()).await;
    clock.advance(Duration::from_secs(460));
    shop.until(order(1), "renewed", |view| {
        view.legs.iter().any(|leg| leg.direction == domain::saga::Direction::Renew && leg.ended_at.is_some())
    })
    .await;
    shop.close().await;
    clock.advance(Duration::from_secs(30 * 60));
    let shop = Shop::open(dir.path(), &clock);
    let view = shop.until(order(1), "over", |view| view.state().is_end()).await;
    assert_eq!((view.state(), view.reason.as_deref()), (SagaState::Compensated, Some("payment_timeout")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_commits_in_the_middle_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=30 {
        if n % 6 == 0 {
            shop.faults.fail_commits(1);
        }
        shop.place(order(n), "tok_approve").await;
        clock.advance(Duration::from_secs(1)); // So that what is to be retried is.
    }
    let turns = clock.clone();
    let ticking = Tasks::new();
    let stop = ticking.stopping();
    ticking.spawn("the clock goes on", async move {
        while !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            turns.advance(Duration::from_secs(1));
        }
    });
    for n in 1..=30 {
        let view = shop.until_settled(order(n)).await;
        assert_eq!((view.state(), view.step()), (SagaState::Waiting, Some("plan_shipment")), "{view:#?}");
    }
    ticking.shut_down(Duration::from_secs(5)).await;
    shop.close().await;
}
