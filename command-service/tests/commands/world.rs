//! A world of its own for every test: a log in a temporary folder, a clock that stands, a bus, a router.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::{Router, response::Response};
use command_service::{CommandBus, CommandMeta, HttpState, Origin, Reply, SendError};
use domain::ids::{OrderId, ReservationId, Sku, StockId};
use domain::money::{Currency, Money};
use domain::order::pricing::PricingPolicy;
use domain::product::{self, CreateProduct};
use domain::quantity::Quantity;
use domain::stock;
use domain::testing::at;
use event_store::sqlite::{Faults, SqliteOptions, SqliteStore};
use event_store::{Direction, EventStore, Position, RecordedEvent, StreamName};
use serde_json::Value;
use service_kit::{Clock, Limits, Problem, Tasks, limits};
use tower::ServiceExt as _;
use uuid::Uuid;

pub struct World {
    pub store: Arc<dyn EventStore>,
    pub log: Arc<SqliteStore>,
    pub faults: Faults,
    pub clock: Clock,
    pub tasks: Tasks,
    pub bus: CommandBus,
    pub router: Router,
    pub dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::over(|log| log)
    }

    /// A world where `SKU` is in the catalog: the first two positions of its log.
    pub async fn selling() -> Self {
        let world = Self::new();
        world.sell().await;
        world
    }

    /// Takes `SKU` into the catalog.
    pub async fn sell(&self) {
        let sku: Sku = "SKU".parse().unwrap();
        let create = CreateProduct {
            sku: sku.clone(),
            name: "Shirt".to_owned(),
            price: Money::new(1_000, Currency::EUR),
            active: true,
        };
        let command = domain::Command::Product { id: sku, command: product::Command::CreateProduct(create) };
        self.send(command, machine(Uuid::new_v5(&Uuid::NAMESPACE_OID, b"sold"))).await.unwrap();
    }

    /// A world whose bus sees the log through `wrap`.
    pub fn over<S: EventStore>(wrap: impl FnOnce(Arc<SqliteStore>) -> Arc<S>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::open(dir, Clock::manual(at(0)), wrap)
    }

    /// The same log after the process was stopped and started.
    pub async fn restarted(self) -> Self {
        let Self { log, dir, clock, tasks, bus, router, store, .. } = self;
        tasks.shut_down(std::time::Duration::from_secs(10)).await;
        log.close().await;
        drop((bus, router, store, log));
        Self::open(dir, clock, |log| log)
    }

    fn open<S: EventStore>(
        dir: tempfile::TempDir,
        clock: Clock,
        wrap: impl FnOnce(Arc<SqliteStore>) -> Arc<S>,
    ) -> Self {
        let faults = Faults::default();
        let options = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
        let log = SqliteStore::open(dir.path(), options).unwrap();
        let store: Arc<dyn EventStore> = wrap(log.clone());
        let tasks = Tasks::new();
        let (bus, router) = replica(&store, &clock, &tasks);
        Self { store, log, faults, clock, tasks, bus, router, dir }
    }

    pub async fn events(&self, stream: &str) -> Vec<RecordedEvent> {
        self.store.read_stream(&name(stream), 0, Direction::Forward, 10_000).await.unwrap()
    }

    pub fn head(&self) -> Position {
        *self.store.head().borrow()
    }

    pub async fn send(&self, command: domain::Command, meta: CommandMeta) -> Result<Reply, SendError> {
        self.bus.send(command, meta).await
    }

    pub async fn receive(&self, pieces: i64) {
        self.send(receive(pieces), machine(Uuid::new_v5(&Uuid::NAMESPACE_OID, b"received"))).await.unwrap();
    }

    /// POSTs a body with a key.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Got {
        self.post_text(path, key, &body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, key: &str, body: &str) -> Got {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", key)
            .body(Body::from(body.to_owned()));
        self.request(request.unwrap()).await
    }

    pub async fn request(&self, request: Request<Body>) -> Got {
        Got::of(self.router.clone().oneshot(request).await.unwrap()).await
    }
}

/// A command service of its own over a log.
pub fn replica(store: &Arc<dyn EventStore>, clock: &Clock, tasks: &Tasks) -> (CommandBus, Router) {
    let (wake, _) = command_service::provider::channel();
    let bus = CommandBus::new(store.clone(), clock.clone(), tasks.clone(), wake);
    let (routes, _) = command_service::router(HttpState::new(bus.clone(), PricingPolicy::default())).split_for_parts();
    (bus, limits::edge(routes, Limits::default()))
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Got {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem document that it must be, of this status and slug.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) -> Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_value(self.body.clone()).unwrap();
        assert_eq!((self.status.as_u16(), problem.status, problem.slug()), (status, status, slug), "{self:?}");
        problem
    }

    /// As [`Self::problem`], naming this field first.
    #[track_caller]
    pub fn at_fault(&self, status: u16, slug: &str, field: &str) {
        let problem = self.problem(status, slug);
        assert_eq!(problem.errors.first().map(|error| error.field.as_str()), Some(field), "{problem:?}");
    }
}

pub const ITEM: &str = "stock-SKU@main";

pub fn name(stream: &str) -> StreamName {
    stream.parse().unwrap()
}

pub fn item() -> StockId {
    "SKU@main".to_owned().try_into().unwrap()
}

pub fn pieces(count: i64) -> Quantity {
    Quantity::new(count).unwrap()
}

pub fn receive(count: i64) -> domain::Command {
    let command = stock::ReceiveStock { item: item(), quantity: pieces(count) };
    domain::Command::Stock { id: item(), command: stock::Command::ReceiveStock(command) }
}

pub fn adjust(delta: i64) -> domain::Command {
    let command = stock::AdjustStock { delta, reason: "counted".to_owned() };
    domain::Command::Stock { id: item(), command: stock::Command::AdjustStock(command) }
}

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn reserve(number: u128) -> domain::Command {
    let command = stock::ReserveStock {
        reservation_id: ReservationId(id(number)),
        order_id: OrderId(id(number)),
        quantity: pieces(1),
    };
    domain::Command::Stock { id: item(), command: stock::Command::ReserveStock(command) }
}

pub fn release(number: u128) -> domain::Command {
    let (reservation_id, order_id) = (ReservationId(id(number)), OrderId(id(number)));
    let command = stock::ReleaseReservation { reservation_id, order_id, reason: "no longer wanted".to_owned() };
    domain::Command::Stock { id: item(), command: stock::Command::ReleaseReservation(command) }
}

pub fn machine(command_id: Uuid) -> CommandMeta {
    CommandMeta::machine(command_id, command_id, command_id, "test")
}

/// What a client sends with the key `number` and a body of this hash.
pub fn client(number: u128, hash: &str) -> CommandMeta {
    CommandMeta { command_hash: Some(hash.to_owned()), origin: Origin::Client, ..machine(id(number)) }
}
