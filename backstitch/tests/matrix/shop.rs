//! The whole system in this process, with a clock that the row turns and a log that can be cut off; the provider is a
//! process of its own, which no kill of the system touches.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use all_in_one::{Config, System};
use command_service::provider::statement::Statement;
use domain::ids::{OrderId, PaymentId, ShipmentId};
use domain::{EncodedEvent, Timestamp};
use event_store::sqlite::{Faults, SqliteOptions};
use event_store::{Append, Delivery, EventStore, Expected, Filter, Metadata, NewEvent, Position};
use serde_json::{Value, json};
use service_kit::Clock;
use service_kit::postgres::testing::fresh_database;
use tokio::net::TcpSocket;
use trials::demo::books::Books;
use trials::demo::client::{Answer, Client, once};
use trials::demo::server::{Process, settings_for};
use trials::demo::{Ledger, statement};

use crate::row::Row;

/// The program that is the provider.
const PROGRAM: &str = env!("CARGO_BIN_EXE_backstitch");
/// How long anything may take before a test gives up; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// When nothing has happened for so long the clock is turned a little: tasks that sleep until then go on.
const IDLE: Duration = Duration::from_millis(20);
/// The first turn of the clock; doubled with each up to [`TURN_MAX`].
const TURN: Duration = Duration::from_millis(500);
/// See [`TURN`].
const TURN_MAX: Duration = Duration::from_secs(8);
/// How far one wait turns the clock like that: the provider is asked again after 30 s, and stock is held for 15 minutes.
/// From there on it is turned no faster than [`SLOWLY`].
const TURNED_MAX: Duration = Duration::from_secs(120);
/// One first turn in so long.
const SLOWLY: Duration = Duration::from_millis(100);
/// How far waiting turns the clock past the provider's, or past where the row has set it. The provider lives by the real time,
/// and a webhook signed 300 s before or after the shop's own time is refused for good.
const AHEAD_MAX: Duration = Duration::from_secs(240);

/// The shop of one row.
pub struct Shop {
    config: Config,
    clock: Clock,
    began: Timestamp,
    /// Where the row has set the clock.
    set_to: Timestamp,
    pub faults: Faults,
    system: Option<System>,
    client: Client,
    bank: Option<Process>,
    bank_address: SocketAddr,
    bank_died: bool,
    order: Option<OrderId>,
    lines: &'static [(&'static str, i64)],
    card: &'static str,
    /// Nobody else gets these ports while the shop or the bank is down.
    _ports: [TcpSocket; 2],
    folder: tempfile::TempDir,
}

impl Shop {
    /// A shop with the row's stock, with read models or without. The order is not placed yet.
    pub async fn start(row: &Row, read_models: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (shop_port, shop) = port();
        let (bank_port, bank_address) = port();
        let bank = bank(folder.path(), bank_address, shop).await;
        let mut config = Config::default();
        config.data.dir = folder.path().join("data");
        config.http.listen = shop;
        config.provider = settings_for(&bank);
        config.run.projections = read_models;
        if read_models {
            config.postgres.url = Some(fresh_database().await.unwrap().into());
        }
        (row.settings)(&mut config);
        let clock = Clock::manual(Clock::system().now() - of(row.behind));
        let client = Client::new(&format!("http://{shop}"), PATIENCE).unwrap();
        let mut shop = Self {
            config,
            began: clock.now(),
            set_to: clock.now(),
            clock,
            faults: Faults::default(),
            system: None,
            client,
            bank: Some(bank),
            bank_address,
            bank_died: false,
            order: None,
            lines: row.lines,
            card: row.card,
            _ports: [shop_port, bank_port],
            folder,
        };
        shop.up().await;
        if let Some(system) = &shop.system {
            system.up().await.unwrap();
        }
        for (sku, pieces) in row.stock {
            let price = json!({"amount": 1000, "currency": "EUR"});
            shop.ask("/v1/products", &json!({"sku": sku, "name": sku, "price": price})).await;
            shop.ask(&format!("/v1/stock/{sku}/main/receive"), &json!({"quantity": pieces})).await;
        }
        shop
    }

    /// Starts the system on the files as they are.
    async fn up(&mut self) {
        let begin = Instant::now();
        loop {
            let options = SqliteOptions { faults: self.faults.clone(), ..SqliteOptions::default() };
            match System::start_with(self.config.clone(), self.clock.clone(), options).await {
                Ok(system) => {
                    self.system = Some(system);
                    break;
                }
                // A kill that was itself cut short gives the folder free a moment later.
                Err(error) if begin.elapsed() > PATIENCE => panic!("{error}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        // Connections of the one before are dead.
        self.client = Client::new(&self.system().url(), PATIENCE).unwrap();
    }

    /// Kills the system where it stands.
    async fn down(&mut self) {
        if let Some(system) = self.system.take() {
            system.kill().await;
        }
    }

    /// Kills the system and starts it again: same files, same clock, same provider.
    pub async fn restart(&mut self) {
        self.down().await;
        self.faults.no_cut();
        self.up().await;
    }

    pub fn system(&self) -> &System {
        self.system.as_ref().expect("the system runs")
    }

    /// Kills the provider as soon as it says so, once; what it did is in its ledger.
    pub async fn bank_dies_after(&mut self, said: impl Fn(&Statement) -> bool) {
        if !self.bank_died {
            self.until_bank(said).await;
            self.bank.take().expect("the bank runs").kill().unwrap();
            self.bank_died = true;
        }
    }

    /// Starts the provider again.
    pub async fn bank_up(&mut self) {
        if self.bank.is_none() {
            self.bank = Some(bank(self.folder.path(), self.bank_address, self.config.http.listen).await);
        }
    }

    pub fn order(&self) -> OrderId {
        self.order.expect("the order was placed")
    }

    pub fn payment(&self, group: u32) -> PaymentId {
        PaymentId::derive(self.order(), group)
    }

    /// Turns the clock to so many minutes after the row's begin; never back.
    pub fn at(&mut self, minutes: u64) {
        self.set_to = self.began + of(minutes);
        if let Ok(rest) = (self.set_to - self.clock.now()).to_std() {
            self.clock.advance(rest);
        }
    }

    /// Turns the clock while the row waits, as far as that may go.
    fn turn(&self, by: Duration) {
        let farthest = Clock::system().now().max(self.set_to) + AHEAD_MAX;
        if let Ok(rest) = (farthest - self.clock.now()).to_std() {
            self.clock.advance(by.min(rest));
        }
    }

    /// Places the row's order; again is the same.
    pub async fn place(&mut self) {
        let lines: Vec<Value> =
            self.lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
        let customer = "0198c0de-0000-7000-8000-000000000001";
        let body = json!({"customer_id": customer, "lines": lines, "payment_method": self.card});
        let answer = self.client.post("/v1/orders", "the order", &body).await.unwrap().good().unwrap();
        assert_eq!(answer.status, 201);
        self.order = Some(answer.text("id").parse().unwrap());
    }

    /// A command that must succeed, under a key of its own: again is the same.
    pub async fn ask(&self, path: &str, body: &Value) -> Answer {
        self.try_ask(path, body).await.good().unwrap_or_else(|error| panic!("POST {path} {body}: {error:#}"))
    }

    /// A command, under a key of its own.
    pub async fn try_ask(&self, path: &str, body: &Value) -> Answer {
        let key = domain::ids::derive(&[path, &body.to_string()]).to_string();
        self.client.post(path, &key, body).await.unwrap()
    }

    pub async fn on_order(&self, verb: &str, body: &Value) {
        self.ask(&format!("/v1/orders/{}/{verb}", self.order()), body).await;
    }

    pub async fn hold(&self) {
        self.on_order("hold", &json!({"reason": "INCORRECT_ADDRESS"})).await;
    }

    pub async fn release(&self, reason: &str) {
        self.on_order("release", &json!({ "reason": reason })).await;
    }

    /// A person has looked at the risk.
    pub async fn assess(&self, assessment: &str) {
        self.on_order("assess", &json!({"assessment": assessment, "assessed_by": "alice"})).await;
    }

    pub async fn cancel(&self) {
        self.on_order("cancel", &json!({"reason": "changed my mind"})).await;
    }

    /// The warehouse has packed it.
    pub async fn ready(&self) {
        self.shipment("ready", &json!({})).await;
    }

    /// The order is held while it is being packed, so that it rests between the capture and the dispatch.
    pub async fn captured_and_held(&mut self) -> Books {
        self.place().await;
        self.until("ShipmentPlanned", 1).await;
        self.hold().await;
        self.ready().await;
        self.until("PaymentCaptured", 1).await
    }

    /// The warehouse or the carrier says something of the shipment.
    pub async fn shipment(&self, verb: &str, body: &Value) {
        let shipment = ShipmentId::derive(self.order(), 0);
        self.ask(&format!("/v1/shipments/{shipment}/{verb}"), body).await;
    }

    /// Something happens to a payment at the provider; when it has happened already, nothing.
    pub async fn at_the_bank(&self, group: u32, action: &str) {
        let url = format!("http://{}/actions/{}/{action}", self.bank_address, self.payment(group));
        let answer = once(reqwest::Client::new().post(url)).await.unwrap();
        assert!(matches!(answer.status, 200 | 404), "{}", answer.body);
    }

    /// The bank's own file and its last words, to find out why a row did not end.
    pub fn bank_says(&self) -> String {
        let ledger = std::fs::read_to_string(self.folder.path().join("bank/ledger.jsonl")).unwrap();
        let said = self.bank.as_ref().map(Process::said).unwrap_or_default();
        format!("{ledger}\n{said}")
    }

    pub async fn statement(&self) -> Statement {
        let url = format!("http://{}", self.bank_address);
        statement(&self.client, &Ledger::Provider(url)).await.unwrap()
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until an event of this name has happened so many times.
    pub async fn until(&mut self, event: &str, times: usize) -> Books {
        let has =
            |books: &Books| books.names.iter().filter(|((_, name), _)| name == event).map(|(_, n)| n).sum::<usize>();
        self.until_books(&format!("`{event}` {times} times"), |books| has(books) >= times).await
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether an event of this name has happened.
    pub async fn has(&mut self, event: &str) -> bool {
        let mut feed = self.system().store.subscribe(Position::START, Filter::default()).await.unwrap();
        let mut found = false;
        while let Some(Delivery::Events { events, .. }) = feed.next().await.transpose().unwrap() {
            found |= events.iter().any(|happened| &*happened.event_type == event);
        }
        found
    }

    /// Events that another process wrote into a stream of ours; again is the same.
    pub async fn written_by_another(&self, stream: &str, events: &[EncodedEvent]) {
        let id = |event: &EncodedEvent| domain::ids::derive(&["written by another", event.event_type]);
        let metadata = Arc::new(Metadata {
            partition_key: stream.to_owned(),
            correlation_id: id(&events[0]),
            causation_id: id(&events[0]),
            command_id: id(&events[0]),
            command_hash: None,
            traceparent: None,
            actor: "another".to_owned(),
            occurred_at: self.now(),
        });
        let new = |event: &EncodedEvent| NewEvent {
            id: id(event),
            event_type: event.event_type.into(),
            schema_version: event.schema_version,
            data: event.data.clone(),
            metadata: metadata.clone(),
        };
        let events = events.iter().map(new).collect();
        let append = Append { stream: stream.parse().unwrap(), expected: Expected::Any, events };
        self.system().store.append(append).await.unwrap().durable().await.unwrap();
    }

    /// The bank has synced what it was at, and both answer: on a busy machine time goes slower.
    async fn breathe(&self) {
        let http = reqwest::Client::new();
        let _ = http.get(format!("http://{}/ledger?limit=1", self.bank_address)).send().await; // It may be down.
        let _ = http.get(format!("http://{}/health/live", self.config.http.listen)).send().await; // As above.
    }

    /// Waits until the bank says so.
    pub async fn until_bank(&self, said: impl Fn(&Statement) -> bool) {
        let waiting = async { while !said(&self.statement().await) {} };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the bank says so in time");
    }

    /// Waits until the log says so.
    pub async fn until_books(&mut self, what: &str, happened: impl Fn(&Books) -> bool) -> Books {
        self.follow(happened).await.unwrap_or_else(|books| {
            panic!("{what}: it never came to that. {:#?}\n{}\n{}", story(&books), self.now(), self.bank_says())
        })
    }

    /// Follows the log until it says so; while nothing happens the clock is turned a little. `Err`: it never did.
    pub async fn follow(&mut self, happened: impl Fn(&Books) -> bool) -> Result<Books, Box<Books>> {
        let mut feed = self.system().store.subscribe(Position::START, Filter::default()).await.unwrap();
        let (mut books, begin) = (Books::default(), Instant::now());
        let (mut turn, mut turned) = (TURN, Duration::ZERO);
        let (mut caught_up, mut last_turn) = (false, Instant::now());
        while !(caught_up && happened(&books)) {
            match tokio::time::timeout(IDLE, feed.next()).await {
                Ok(Some(Ok(Delivery::Events { events, .. }))) => {
                    events.iter().for_each(|event| books.fold(event).unwrap());
                    turn = TURN;
                }
                Ok(Some(Ok(Delivery::CaughtUp))) => caught_up = true,
                Ok(Some(Err(error))) => panic!("the log ended: {error}"),
                Ok(None) => panic!("the log was closed"),
                Err(_) => {
                    if begin.elapsed() > PATIENCE {
                        return Err(Box::new(books));
                    }
                    self.breathe().await;
                    if turned < TURNED_MAX {
                        self.turn(turn);
                        turned += turn;
                        turn = (turn * 2).min(TURN_MAX);
                    } else if last_turn.elapsed() > SLOWLY {
                        self.turn(TURN);
                        last_turn = Instant::now();
                    }
                }
            }
        }
        Ok(books)
    }
}

/// All that the sagas say, for a test that failed.
pub fn story(books: &Books) -> Vec<String> {
    let sagas = books.sagas.iter();
    sagas
        .flat_map(|(stream, events)| events.iter().map(move |(event, at)| format!("{stream} {at} {event:?}")))
        .collect()
}

fn of(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

async fn bank(folder: &Path, bank: SocketAddr, shop: SocketAddr) -> Process {
    Process::bank_at(Path::new(PROGRAM), folder, bank, shop, &["--delay-ms", "50"]).await.unwrap()
}

/// A port that stays ours although nobody listens there yet.
fn port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
