//! The driver, the intake and the simulated provider together, over a real log; money is read from the bank's ledger.

mod crashes;
mod intake;
mod over_http;
mod replicas;
mod scripts;
mod shortfalls;
mod waiting;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use domain::Timestamp;
use domain::ids::{OrderId, PaymentId, RequestId, derive};
use domain::money::{Currency, Money};
use domain::payment::{
    Command, Payment, RequestPaymentAuthorization, RequestPaymentCapture, RequestPaymentRefund, RequestPaymentVoid,
    Status,
};
use event_store::sqlite::{SqliteOptions, SqliteStore};
use event_store::{Direction, EventStore, RecordedEvent};
use service_kit::{Clock, Tasks};
use tokio::sync::watch;
use uuid::Uuid;

use super::config::{ProviderConfig, SimulatedConfig, WebhookSecrets};
use super::port::{
    Answer, Authorize, Capabilities, Capture, Lookup, PaymentProvider, ProviderError, ProviderEvent, Refund, Void,
    WebhookError,
};
use super::simulated::Simulator;
use super::statement::{Entry, Page, Statement};
use super::wake::{self, Queue};
use super::{Opened, Provider};
use crate::{CommandBus, CommandMeta};

/// A guard against a test that hangs; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

/// What webhooks are signed with here.
pub(crate) fn secrets() -> WebhookSecrets {
    WebhookSecrets::new("the secret of these tests").expect("at least 24 bytes")
}

/// Everything short: scripts take 20 ms, an answer is missed after 150 ms and withheld for longer.
pub(crate) fn config() -> ProviderConfig {
    ProviderConfig {
        call_timeout_ms: 150,
        unknown_after_ms: 60_000,
        webhook_secret: Some(secrets()),
        simulated: SimulatedConfig { delay_ms: 20, webhook_delay_ms: 2, withheld_ms: 120_000, ..Default::default() },
        ..ProviderConfig::default()
    }
}

/// A log and a bank in a folder, as one process has them open.
pub(crate) struct Process {
    pub store: Arc<SqliteStore>,
    pub bus: CommandBus,
    pub clock: Clock,
    pub tasks: Tasks,
    queue: Option<Queue>,
}

impl Process {
    /// Opens the log; the driver does not run yet.
    pub fn open(folder: &Path) -> Self {
        Self::open_with(folder, Clock::system())
    }

    pub fn open_with(folder: &Path, clock: Clock) -> Self {
        let store = SqliteStore::open(&folder.join("log"), SqliteOptions::default()).expect("the log opens");
        let tasks = Tasks::new();
        let (wake, queue) = wake::channel();
        let log: Arc<dyn EventStore> = store.clone();
        let bus = CommandBus::new(log, clock.clone(), tasks.clone(), wake);
        Self { store, bus, clock, tasks, queue: Some(queue) }
    }

    /// Starts the driver and the intake over this bank.
    pub fn start(&mut self, port: Arc<dyn PaymentProvider>, simulator: Option<Simulator>) -> Provider {
        self.start_with(port, simulator, config())
    }

    pub fn start_with(
        &mut self,
        port: Arc<dyn PaymentProvider>,
        simulator: Option<Simulator>,
        config: ProviderConfig,
    ) -> Provider {
        let queue = self.queue.take().expect("started once");
        let store: Arc<dyn EventStore> = self.store.clone();
        Opened::over(config, port, simulator).start(queue, self.bus.clone(), store, self.clock.clone(), &self.tasks)
    }

    /// Ends all tasks where they are, and the log.
    pub async fn crash(self) {
        assert!(self.tasks.shut_down(PATIENCE).await, "tasks end when they are told to");
        self.store.close().await;
    }

    /// Sends a command as the saga does: the same one again has the same id.
    pub async fn send(&self, payment: u128, command: Command) {
        let id = payment_id(payment);
        let command_id = derive(&["test", &id.to_string(), &serde_json::to_string(&command).expect("JSON")]);
        let meta = CommandMeta::machine(command_id, Uuid::from_u128(77), command_id, "saga:test");
        let sent = self.bus.send(domain::Command::Payment { id, command }, meta).await;
        sent.unwrap_or_else(|error| panic!("payment {payment}: {error}"));
    }

    /// Waits until the payment is as told.
    pub async fn until(&self, payment: u128, what: &str, is_so: impl Fn(&Payment) -> bool) -> Arc<Payment> {
        let stream = payment_id(payment).stream().parse().expect("a stream's name");
        let mut head = self.store.head();
        let mut last = None;
        let wait = async {
            loop {
                head.borrow_and_update();
                let state = self.bus.load::<Payment>(&stream).await.expect("the payment loads").state;
                if is_so(&state) {
                    return state;
                }
                last = Some(state);
                head.changed().await.expect("the log is open");
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("payment {payment} never was {what}, but {last:?}"))
    }

    /// The payment's events in the log.
    pub async fn events(&self, payment: u128) -> Vec<RecordedEvent> {
        let stream = payment_id(payment).stream().parse().expect("a stream's name");
        self.store.read_stream(&stream, 0, Direction::Forward, 1_000).await.expect("the log reads")
    }

    pub async fn types(&self, payment: u128) -> Vec<String> {
        self.events(payment).await.iter().map(|event| event.event_type.to_string()).collect()
    }
}

pub(crate) fn bank(folder: &Path) -> Simulator {
    let config = config();
    let secret = config.webhook_secret.expect("set above");
    Simulator::open(&folder.join("bank.jsonl"), &config.simulated, secret, "http://bank", Clock::system())
        .expect("the ledger opens")
}

pub(crate) fn payment_id(payment: u128) -> PaymentId {
    PaymentId(Uuid::from_u128(payment))
}

pub(crate) fn request_id(request: u128) -> RequestId {
    RequestId(Uuid::from_u128(request))
}

/// Request 1 of a payment whose order bears the same number.
pub(crate) fn authorize(payment: u128, token: &str) -> Command {
    Command::RequestPaymentAuthorization(RequestPaymentAuthorization {
        payment_id: payment_id(payment),
        order_id: OrderId(Uuid::from_u128(payment)),
        request_id: request_id(1),
        amount: eur(1_000),
        payment_method: token.to_owned(),
        attempt_group: 0,
        tags: vec![],
        placed_on: Timestamp::UNIX_EPOCH.date_naive(),
    })
}

pub(crate) fn capture() -> Command {
    Command::RequestPaymentCapture(RequestPaymentCapture { request_id: request_id(2), amount: eur(1_000) })
}

pub(crate) fn void(payment: u128) -> Command {
    let order_id = OrderId(Uuid::from_u128(payment));
    Command::RequestPaymentVoid(RequestPaymentVoid {
        payment_id: payment_id(payment),
        order_id,
        request_id: request_id(3),
    })
}

pub(crate) fn refund(amount: i64) -> Command {
    let (request_id, reason) = (request_id(4), "test".to_owned());
    Command::RequestPaymentRefund(RequestPaymentRefund { request_id, amount: eur(amount), remaining: false, reason })
}

pub(crate) async fn statement(port: &dyn PaymentProvider) -> Statement {
    let statement = port.statement(&Page::default()).await.expect("a statement");
    assert!(statement.max_effects_per_key <= 1, "a key moved money twice: {statement:?}");
    assert_eq!(statement.key_conflicts, 0, "a key was sent with two bodies");
    statement
}

pub(crate) async fn entry(port: &dyn PaymentProvider, payment: u128) -> Option<Entry> {
    statement(port).await.entries.into_iter().find(|entry| entry.payment_id == payment_id(payment))
}

/// A bank behind a door: calls are counted, and can be stopped before or after they have their effect.
pub(crate) struct Door {
    pub bank: Simulator,
    pub door: watch::Sender<At>,
    pub calls: AtomicU32,
    pub fetches: AtomicU32,
    /// Each call that has had its effect.
    pub done: watch::Sender<u32>,
    pub bodies: Mutex<Vec<String>>,
}

/// Where calls stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Nowhere.
    Open,
    /// Before anything is done: they wait.
    Before,
    /// After it is done, and before the answer: they wait.
    After,
    /// They fail at once, and so does asking.
    Down,
}

impl Door {
    pub fn new(bank: Simulator, at: At) -> Arc<Self> {
        let (door, done) = (watch::channel(at).0, watch::channel(0).0);
        let (calls, fetches) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { bank, door, calls, fetches, done, bodies: Mutex::default() })
    }

    async fn pass(&self, at: At) {
        let _ = self.door.subscribe().wait_for(|door| *door != at).await;
    }

    async fn through(
        &self,
        body: String,
        call: impl Future<Output = Result<Answer, ProviderError>>,
    ) -> Result<Answer, ProviderError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.bodies.lock().expect("no panic while held").push(body);
        self.pass(At::Before).await;
        self.is_up()?;
        let answer = call.await;
        self.done.send_modify(|count| *count += 1);
        self.pass(At::After).await;
        answer
    }

    fn is_up(&self) -> Result<(), ProviderError> {
        match *self.door.borrow() {
            At::Down => Err(ProviderError::Transient { detail: "down".into(), retry_after: None }),
            At::Open | At::Before | At::After => Ok(()),
        }
    }
}

#[async_trait]
impl PaymentProvider for Door {
    fn name(&self) -> &str {
        self.bank.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.bank.capabilities()
    }
    async fn authorize(&self, request: &Authorize) -> Result<Answer, ProviderError> {
        self.through(format!("{request:?}"), self.bank.authorize(request)).await
    }
    async fn capture(&self, request: &Capture) -> Result<Answer, ProviderError> {
        self.through(format!("{request:?}"), self.bank.capture(request)).await
    }
    async fn void(&self, request: &Void) -> Result<Answer, ProviderError> {
        self.through(format!("{request:?}"), self.bank.void(request)).await
    }
    async fn refund(&self, request: &Refund) -> Result<Answer, ProviderError> {
        self.through(format!("{request:?}"), self.bank.refund(request)).await
    }
    async fn fetch(&self, lookup: &Lookup) -> Result<Option<Answer>, ProviderError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.is_up()?;
        self.bank.fetch(lookup).await
    }
    fn verify_webhook(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError> {
        self.bank.verify_webhook(body, headers, now)
    }
    async fn statement(&self, page: &Page) -> Result<Statement, ProviderError> {
        self.bank.statement(page).await
    }
}

pub(crate) fn is_authorized(payment: &Payment) -> bool {
    payment.status == Status::Authorized
}
