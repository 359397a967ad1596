//! Orchestrators that share a log, and how things stand in the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::ids::{OrderId, PaymentId, ShipmentId};
use domain::order::Order;
use domain::payment::{Payment, RequestKind};
use domain::saga::{Event, SagaState, View};
use domain::shipment::Shipment;
use domain::stock::StockItem;
use domain::{Aggregate, order, payment, shipment};
use event_bus::{BusConfig, Group};
use event_store::sqlite::{SqliteOptions, SqliteStore};
use event_store::{Direction, EventStore, Filter, Position, Source};
use http_body_util::BodyExt;
use saga_orchestrator::{SagaConfig, Sagas, setup};
use saga_runner::Standing;
use service_kit::health::Need;
use service_kit::{Clock, Health, Tasks};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use super::cluster::{Comes, Counted, Fate, Sender, Split, Way};
use super::mini_bus::MiniBus;
use super::running::Front;
use super::shop::item;

/// A shop with one log, and no orchestrators yet.
pub struct Town {
    pub front: Front,
    pub clock: Clock,
    pub partitions: u32,
    _dir: tempfile::TempDir,
}

impl std::ops::Deref for Town {
    type Target = Front;
    fn deref(&self) -> &Front {
        &self.front
    }
}

/// An orchestrator.
pub struct Node {
    pub fate: Arc<Fate>,
    pub sender: Arc<Sender>,
    pub health: Health,
    pub handed_over: Arc<AtomicUsize>,
    pub comes: Comes,
    log: Arc<SqliteStore>,
    partitions: u32,
    sagas: Sagas,
    tasks: Tasks,
    dead: CancellationToken,
    running: Mutex<HashMap<u32, (CancellationToken, JoinHandle<()>)>>,
}

impl Town {
    pub async fn open(partitions: u32, clock: Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
        let bus = MiniBus::new(store.clone(), clock.clone());
        let town = Self { front: Front { store, bus }, clock, partitions, _dir: dir };
        town.receive("a", 1000).await;
        town.receive("b", 1000).await;
        town
    }

    /// The ways of an orchestrator to the log and to those who carry commands out.
    pub fn ways(&self, fate: &Arc<Fate>) -> (Arc<Way>, Arc<Sender>) {
        let way = Way { log: self.store.clone(), fate: fate.clone() };
        let (sent, elsewhere) = (Mutex::default(), Tasks::new());
        (Arc::new(way), Arc::new(Sender { bus: self.bus.clone(), fate: fate.clone(), sent, elsewhere }))
    }

    /// An orchestrator to which this happens.
    pub fn node(&self, fate: Arc<Fate>) -> Node {
        let ((way, sender), tasks) = (self.ways(&fate), Tasks::new());
        let health = Health::new(self.clock.clone());
        let (clock, config) = (self.clock.clone(), SagaConfig::default());
        let setup = setup(way, sender.clone(), clock, &tasks, config, self.partitions);
        let sagas = Sagas::new(setup).unwrap();
        health.follow(("sagas", Need::Required), sagas.standing(), Standing::describe, &tasks);
        Node {
            fate,
            sender,
            health,
            handed_over: Arc::default(),
            comes: Comes::Once,
            log: self.store.clone(),
            partitions: self.partitions,
            sagas,
            tasks,
            dead: CancellationToken::new(),
            running: Mutex::default(),
        }
    }

    pub fn healthy(&self) -> Node {
        self.node(Fate::stopping_at(usize::MAX))
    }

    async fn folded<A: Aggregate>(&self, stream: &str) -> A {
        let mut state = A::default();
        let events = self.store.read_stream(&stream.parse().unwrap(), 0, Direction::Forward, 10_000).await.unwrap();
        for event in events {
            state.evolve(&A::decode(&event.event_type, event.schema_version, event.data.get()).unwrap());
        }
        state
    }

    /// How things stand: each order, and the stock.
    pub async fn ends(&self, orders: &[OrderId]) -> (Vec<End>, [(i64, i64, i64); 2]) {
        let mut ends = Vec::new();
        for &id in orders {
            let order: Order = self.folded(&id.stream()).await;
            let payment: Payment = self.folded(&PaymentId::derive(id, 0).stream()).await;
            let shipment: Shipment = self.folded(&ShipmentId::derive(id, 0).stream()).await;
            let saga = self.view(id).await;
            ends.push(End {
                order: order.status,
                payment: payment.status,
                taken: payment.captured.amount - payment.refunded.amount,
                shipment: shipment.status,
                saga: saga.state(),
            });
        }
        let mut stock = [(0, 0, 0); 2];
        for (of, sku) in stock.iter_mut().zip(["a", "b"]) {
            let item: StockItem = self.folded(&item(sku).stream()).await;
            *of = (item.on_hand, item.reserved_pieces(), item.committed_pieces());
        }
        (ends, stock)
    }

    /// Nothing has happened twice: no event, no command's effect, no step, no end of a saga, no movement of money.
    pub async fn assert_everything_happened_once(&self) {
        let log = self.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await.unwrap();
        assert!(log.len() < 10_000, "the whole log was read");
        let (mut ids, mut effects) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
        let (mut steps, mut ends) = (HashSet::new(), HashSet::new());
        for event in &log {
            assert!(ids.insert(event.id), "{} {} is there twice", event.stream, event.event_type);
            if event.stream.category().starts_with("saga_") {
                let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get()).unwrap();
                if let Event::StepStarted(e) = &decoded {
                    let step = (event.stream.clone(), e.step.clone(), e.group);
                    assert!(steps.insert(step.clone()), "{step:?} began twice");
                }
                if matches!(decoded, Event::SagaCompleted(_) | Event::SagaCompensated(_) | Event::SagaHandedOver(_)) {
                    assert!(ends.insert(event.stream.clone()), "{} ended twice", event.stream);
                }
            } else {
                effects.entry(event.metadata.command_id).or_default().push((event.stream.clone(), event.version));
            }
        }
        for (command, events) in effects {
            let one_append = events.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1);
            assert!(one_append, "command {command} had effects at several places: {events:?}");
        }
    }

    /// What the bank holds and has taken is what the payments say.
    pub fn booked(&self) -> BTreeMap<&'static str, (usize, i64)> {
        let mut booked = BTreeMap::new();
        for (kind, amount) in self.bus.ledger.lock().values() {
            let name = match kind {
                RequestKind::Authorization => "held",
                RequestKind::Capture => "taken",
                RequestKind::Void => "let go",
                RequestKind::Refund => "given back",
            };
            let (count, sum) = booked.entry(name).or_insert((0, 0));
            (*count, *sum) = (*count + 1, *sum + amount);
        }
        booked
    }

    /// The rest of an order's way, wherever it is: what the warehouse has to do is done when the saga waits for it.
    pub async fn to_its_end(&self, order_id: OrderId) {
        let waits = |view: &View, step: &str| view.step() == Some(step) && view.settled();
        let warehouse = |view: &View| waits(view, "plan_shipment") || waits(view, "record_shipped");
        loop {
            let view = self.until(order_id, "at the warehouse", |it| warehouse(it) || it.state().is_end()).await;
            if view.state().is_end() {
                return;
            }
            let step = view.step().unwrap();
            if step == "plan_shipment" {
                self.ready(order_id).await
            } else {
                self.deliver(order_id).await
            }
            self.until(order_id, "further", |view| !waits(view, step)).await;
        }
    }
}

/// How an order stands.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub order: order::Status,
    pub payment: payment::Status,
    /// What the shop has of it.
    pub taken: i64,
    pub shipment: shipment::Status,
    pub saga: SagaState,
}

impl Node {
    pub fn assign(&self, partition: u32) {
        let split: Arc<dyn Source> = Arc::new(Split {
            log: self.log.clone(),
            fate: self.fate.clone(),
            partition,
            partitions: self.partitions,
            comes: self.comes,
            handed_over: self.handed_over.clone(),
        });
        let (sagas, revoked, dead) = (self.sagas.clone(), CancellationToken::new(), self.dead.clone());
        let taken_away = revoked.clone();
        let join = self.tasks.spawn("partition", async move {
            tokio::select! { () = sagas.run(split, taken_away) => {}, () = dead.cancelled() => {} }
        });
        self.running.lock().unwrap().insert(partition, (revoked, join));
    }

    pub fn assign_all(&self) {
        (0..self.partitions).for_each(|partition| self.assign(partition));
    }

    /// Becomes a member of the group of orchestrators, and runs what is assigned to it.
    pub async fn join(&self, config: &BusConfig) {
        let mut group = Group::join(config, &config.group("sagas")).await.unwrap();
        let (sagas, tasks, stopping) = (self.sagas.clone(), self.tasks.clone(), self.tasks.stopping());
        let handed_over = self.handed_over.clone();
        self.tasks.spawn("group", async move {
            loop {
                let assigned = tokio::select! {
                    assigned = group.next() => assigned.unwrap(),
                    () = stopping.cancelled() => return group.leave().await,
                };
                let source = Counted { source: assigned.source.clone(), handed_over: handed_over.clone() };
                let sagas = sagas.clone();
                tasks.spawn("partition", async move {
                    sagas.run(Arc::new(source), assigned.revoked.clone()).await;
                    drop(assigned);
                });
            }
        });
    }

    /// Takes a partition away, and waits until the work on it has ended.
    pub async fn revoke(&self, partition: u32) {
        let running = self.running.lock().unwrap().remove(&partition);
        if let Some((revoked, join)) = running {
            revoked.cancel();
            tokio::time::timeout(Duration::from_secs(8), join).await.expect("a partition is given up in time").unwrap();
        }
    }

    /// It is gone, in the midst of whatever it was doing.
    pub fn die(&self) {
        self.fate.stop();
        self.dead.cancel();
    }

    /// It stops as a service does.
    pub async fn close(&self) {
        assert!(self.tasks.shut_down(Duration::from_secs(10)).await, "the sagas stop in time");
    }

    /// A person acts on an order's saga at this replica, or looks at it (`act` empty): the status, and what it says.
    pub async fn asked(&self, order_id: OrderId, act: &str) -> (StatusCode, serde_json::Value) {
        let path = format!("/v1/sagas/order_fulfilment-{order_id}");
        let request = match act {
            "" => Request::get(path).body(Body::empty()),
            act => Request::post(format!("{path}/{act}"))
                .header("content-type", "application/json")
                .header("idempotency-key", Uuid::new_v4().to_string())
                .body(Body::from(r#"{"reason": "to see what happens"}"#)),
        };
        let router = saga_orchestrator::router((&self.sagas).into()).split_for_parts().0;
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}
