//! A world of a test's own: server, provider, database; and what tests do and ask in it.

use std::path::Path;
use std::time::Duration;

use all_in_one::{Config, System};
use command_service::provider::statement::Statement;
use domain::ids::OrderId;
use event_store::{Delivery, EventStore, Filter, Position};
use serde_json::{Value, json};
use service_kit::Clock;
use service_kit::postgres::testing::fresh_database;
use trials::demo::books::Books;
use trials::demo::client::{Answer, Client, once};
use trials::demo::proof::{self, Check, Scope};
use trials::demo::server::{Process, Processes};
use trials::demo::{Ledger, compare, statement};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_backstitch");

/// How long anything may take before a test gives up; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The shop as processes.
pub struct World {
    pub processes: Processes,
    pub client: Client,
}

impl World {
    /// A shop whose read models lie in a database of this test's own.
    pub async fn start() -> Self {
        let url = fresh_database().await.unwrap();
        Self::start_with(&[("BACKSTITCH__POSTGRES__URL", url)]).await
    }

    /// A shop with settings of the test's choice, and a private Postgres unless they name one.
    pub async fn start_with(settings: &[(&'static str, String)]) -> Self {
        let processes = Processes::start(Path::new(PROGRAM), settings).await.unwrap();
        let client = Client::new(&processes.server.url, PATIENCE).unwrap();
        Self { processes, client }
    }

    /// A shop that goes on with what another has left behind in `folder`; see [`Processes::start_in`].
    pub async fn go_on_in(folder: tempfile::TempDir, settings: &[(&'static str, String)]) -> Self {
        let processes = Processes::start_in(folder, Path::new(PROGRAM), settings).await.unwrap();
        let client = Client::new(&processes.server.url, PATIENCE).unwrap();
        Self { processes, client }
    }

    /// Waits until an event of this name is in an order's stream.
    pub async fn until_in_log(&self, order: &str, event: &str) -> bool {
        let waiting = async {
            loop {
                let text = self.client.text(&format!("/v1/streams/order-{order}")).await.unwrap();
                if text.contains(&format!("\"{event}\"")) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.is_ok()
    }

    /// Waits until an event of this type is in the log.
    pub async fn until_in_log_of_any(&self, event: &str) {
        let waiting = async {
            while !self.client.text(&format!("/v1/events/find?type={event}")).await.unwrap().contains("\"id\"") {}
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no `{event}` was ever in the log"));
    }

    /// Asks until the answer is none: the first that is not 200.
    pub async fn until_refused(&self, url: &str) -> Answer {
        let http = reqwest::Client::new();
        let waiting = async {
            loop {
                let answer = once(http.get(url)).await.unwrap();
                if answer.status != 200 {
                    return answer;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{url} was never refused"))
    }

    pub async fn statement(&self) -> Statement {
        bank_says(&self.client, &self.processes.provider).await
    }

    /// The books as they are now, proven or not.
    pub async fn books(&self) -> Books {
        Books::read(&self.client).await.unwrap()
    }

    /// The books, after everything in them has been proven to add up.
    pub async fn adds_up(&self) -> Books {
        adds_up(&self.client, &self.processes.provider).await
    }
}

/// The shop in this process, with a clock that the test turns; the provider is still a process, on the machine's time.
pub struct Turned {
    pub system: System,
    pub clock: Clock,
    pub client: Client,
    pub provider: Process,
    _folder: tempfile::TempDir,
}

impl Turned {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Clock::system().now());
        let (provider, server) = Process::bank(Path::new(PROGRAM), folder.path()).await.unwrap();
        let mut config = Config::default();
        config.data.dir = folder.path().join("data");
        config.postgres.url = Some(fresh_database().await.unwrap().into());
        config.http.listen = server;
        config.provider = trials::demo::server::settings_for(&provider);
        let system = System::start(config, clock.clone()).await.unwrap();
        system.up().await.unwrap();
        let client = Client::new(&system.url(), PATIENCE).unwrap();
        Self { system, clock, client, provider, _folder: folder }
    }

    /// The books as they are now, proven or not.
    pub async fn books(&self) -> Books {
        Books::read(&self.client).await.unwrap()
    }

    /// Waits until an event of this name has happened `times` times, by following the log.
    pub async fn until_happened(&self, event: &str, times: usize) {
        let mut feed = self.system.store.subscribe(Position::START, Filter::default()).await.unwrap();
        let mut seen = 0;
        let waiting = async {
            while let Some(delivery) = feed.next().await {
                if let Delivery::Events { events, .. } = delivery.unwrap() {
                    seen += events.iter().filter(|found| &*found.event_type == event).count();
                }
                if seen >= times {
                    return;
                }
            }
            panic!("the log closed before `{event}` happened");
        };
        let happened = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(happened.is_ok(), "`{event}` happened {seen} times, not {times}");
    }

    /// The books, after everything in them has been proven to add up.
    pub async fn adds_up(&self) -> Books {
        adds_up(&self.client, &self.provider).await
    }
}

async fn bank_says(client: &Client, provider: &Process) -> Statement {
    statement(client, &Ledger::Provider(provider.url.clone())).await.unwrap()
}

async fn adds_up(client: &Client, provider: &Process) -> Books {
    let books = Books::read(client).await.unwrap();
    let scope = Scope::all(&books);
    let mut checks = proof::of_the_log(&books, &scope);
    let statement = bank_says(client, provider).await;
    if !books.payments.is_empty() || !statement.entries.is_empty() {
        checks.extend(proof::of_the_provider(&books, &scope, &statement));
    }
    checks.extend(compare::read_models(client, &books, &scope).await.unwrap());
    // A claim about each of none is no claim here: not every world has a payment.
    let fails = |check: &&Check| !check.holds && check.figures != "0 of 0";
    let failed: Vec<&Check> = checks.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(books.events > 0, "an empty log adds up, and proves nothing");
    books
}

/// What tests ask of a shop.
pub trait Shopper {
    fn client(&self) -> &Client;

    /// A product for 10.00 € with so many pieces.
    async fn product(&self, sku: &str, pieces: i64) {
        let price = json!({"amount": 1000, "currency": "EUR"});
        self.ask("/v1/products", &json!({"sku": sku, "name": sku, "price": price})).await;
        self.ask(&format!("/v1/stock/{sku}/main/receive"), &json!({"quantity": pieces})).await;
    }

    /// A command that must succeed, under a key of its own.
    async fn ask(&self, path: &str, body: &Value) -> Answer {
        self.try_ask(path, body).await.good().unwrap_or_else(|error| panic!("POST {path} {body}: {error:#}"))
    }

    /// A command, under a key of its own.
    async fn try_ask(&self, path: &str, body: &Value) -> Answer {
        let key = domain::ids::derive(&[path, &body.to_string()]).to_string();
        self.client().post(path, &key, body).await.unwrap()
    }

    /// Places an order for one customer; `lines` are SKUs with quantities. Returns its id and where the log was.
    async fn place(&self, key: &str, lines: &[(&str, i64)], token: &str) -> (String, Option<u64>) {
        let answer = self.client().post("/v1/orders", key, &order_body(lines, token)).await.unwrap().good().unwrap();
        assert_eq!((answer.status, answer.text("status")), (201, "pending"));
        (answer.text("id").to_owned(), answer.position())
    }

    /// Places an order and waits until nothing happens to it by itself.
    async fn placed_and_settled(&self, key: &str, lines: &[(&str, i64)], token: &str) -> Answer {
        let (order, position) = self.place(key, lines, token).await;
        self.settled(&order, position).await
    }

    /// The order, once nothing happens to it by itself any more.
    async fn settled(&self, order: &str, position: Option<u64>) -> Answer {
        self.client().settled(order, position).await.unwrap()
    }

    /// The warehouse has packed it; then whatever follows by itself.
    async fn ready(&self, order: &Answer) -> Answer {
        let path = format!("/v1/shipments/{}/ready", order.text("shipment_id"));
        let ready = self.ask(&path, &json!({})).await;
        self.settled(order.text("id"), ready.position()).await
    }

    /// It arrives; then whatever follows by itself.
    async fn deliver(&self, order: &Answer) -> Answer {
        let path = format!("/v1/shipments/{}/deliver", order.text("shipment_id"));
        let delivered = self.ask(&path, &json!({})).await;
        self.settled(order.text("id"), delivered.position()).await
    }

    /// The customer cancels, and is answered with 202; then whatever follows by itself.
    async fn cancel(&self, order: &str) -> Answer {
        let cancelled = self.ask(&format!("/v1/orders/{order}/cancel"), &json!({"reason": "changed my mind"})).await;
        assert_eq!(cancelled.status, 202);
        assert_eq!(cancelled.header("location"), Some(format!("/v1/sagas/order_fulfilment-{order}").as_str()));
        self.settled(order, cancelled.position()).await
    }
}

impl Shopper for World {
    fn client(&self) -> &Client {
        &self.client
    }
}

impl Shopper for Turned {
    fn client(&self) -> &Client {
        &self.client
    }
}

/// The body of `POST /v1/orders`.
pub fn order_body(lines: &[(&str, i64)], token: &str) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    json!({"customer_id": "0198c0de-0000-7000-8000-000000000001", "lines": lines, "payment_method": token})
}

/// An order's id from an answer.
pub fn id(answer: &Answer) -> OrderId {
    answer.text("id").parse().unwrap()
}

/// The order's three statuses.
pub fn statuses(answer: &Answer) -> (&str, &str, &str) {
    (answer.text("status"), answer.text("payment_status"), answer.text("fulfilment_status"))
}

/// A sample of `/metrics`: the sum over all series of `name` whose labels contain `label`.
pub async fn metric(client: &Client, name: &str, label: &str) -> f64 {
    let text = client.text("/metrics").await.unwrap();
    let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
