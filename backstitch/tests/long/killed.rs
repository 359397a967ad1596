//! The server killed (`kill -9`) again and again while it has tens of thousands of open orders, or takes a thousand a second.
//! What is left is judged by the log and by the ledger of the provider, which is a process of its own and is not killed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::ids::PaymentId;
use domain::saga::{self, SagaState, View};
use domain::{Aggregate as _, payment};
use event_store::RecordedEvent;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use trials::demo::client::Client;
use trials::demo::server::Processes;
use trials::demo::{Ledger, statement};

use super::{program, scaled};

/// Orders that are open when the sagas begin.
const OPEN_ORDERS: usize = 50_000;
/// How often the server is killed while its sagas begin.
const KILLS_WHILE_THEY_BEGIN: u64 = 5;
/// How often the server is killed under load.
const KILLS: usize = 60;
/// Orders that are acknowledged between two kills: at 1 000 orders/s a kill each half second of service.
const ORDERS_PER_KILL: usize = 500;
/// Orders that the load tries to place in a second, and customers at a time.
const ORDERS_PER_SECOND: u32 = 1_000;
const CUSTOMERS: u32 = 64;
/// How long anything may take before the test gives up: everything at rest is minutes of work.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How often to look how far something is: the server is to be busy with its work, not with these questions.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Events a page, as many as the server gives at most.
const PAGE: usize = 200;

/// A shop without read models: orders, sagas and money are what is proven.
async fn shop(sagas: bool) -> (Processes, Client) {
    let settings =
        [("BACKSTITCH__RUN__PROJECTIONS", "false".to_owned()), ("BACKSTITCH__RUN__SAGAS", sagas.to_string())];
    let processes = Processes::start(&program(), &settings).await.unwrap();
    let client = Client::new(&processes.server.url, PATIENCE).unwrap();
    let price = json!({"amount": 1000, "currency": "EUR"});
    let product = json!({"sku": "MUG", "name": "Mug", "price": price});
    client.post("/v1/products", "product", &product).await.unwrap().good().unwrap();
    let pieces = json!({"quantity": 1_000_000});
    client.post("/v1/stock/MUG/main/receive", "pieces", &pieces).await.unwrap().good().unwrap();
    (processes, client)
}

fn order() -> Value {
    json!({"customer_id": "0198c0de-0000-7000-8000-000000000001", "lines": [{"sku": "MUG", "quantity": 1}], "payment_method": "tok_approve"})
}

async fn place(client: &Client, number: usize) {
    let answer = client.post("/v1/orders", &format!("order-{number}"), &order()).await.unwrap().good().unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[derive(Deserialize)]
struct Page {
    items: Vec<RecordedEvent>,
}

/// What the log says of money, and of how far each saga is.
#[derive(Default)]
struct Seen {
    position: u64,
    placed: usize,
    sagas: HashMap<String, View>,
    /// Held, taken, given back.
    payments: BTreeMap<PaymentId, (i64, i64, i64)>,
}

impl Seen {
    /// Reads what has come since.
    async fn read_on(&mut self, client: &Client) {
        loop {
            let text = client.text(&format!("/v1/events?after={}&limit={PAGE}", self.position)).await.unwrap();
            let page: Page = serde_json::from_str(&text).unwrap();
            if page.items.is_empty() {
                return;
            }
            page.items.iter().for_each(|event| self.fold(event));
        }
    }

    fn fold(&mut self, event: &RecordedEvent) {
        assert_eq!(event.position.0, self.position + 1, "no position is missing");
        self.position = event.position.0;
        let (name, schema, data) = (&*event.event_type, event.schema_version, event.data.get());
        match event.stream.category() {
            "order" => self.placed += usize::from(name == "OrderPlaced"),
            "payment" => {
                let sums = self.payments.entry(event.stream.id().parse().unwrap()).or_default();
                let event = payment::Payment::decode(name, schema, data).unwrap();
                if let payment::Event::PaymentAuthorized(e) = &event {
                    sums.0 += e.amount.amount;
                } else if let payment::Event::PaymentCaptured(e) = &event {
                    sums.1 += e.amount.amount;
                } else if let payment::Event::PaymentRefunded(e) = &event {
                    sums.2 += e.amount.amount;
                }
            }
            category if category.starts_with("saga_") => {
                let view = self.sagas.entry(event.stream.to_string()).or_default();
                view.fold(&saga::Event::decode(name, schema, data).unwrap(), event.metadata.occurred_at);
            }
            _ => {}
        }
    }

    /// A saga that neither has ended nor waits for the warehouse.
    fn under_way(&self) -> Option<(&String, &View)> {
        self.sagas.iter().find(|(_, view)| match view.state() {
            SagaState::Completed | SagaState::Compensated | SagaState::HandedOver | SagaState::NeedsAttention => false,
            SagaState::Waiting => view.step() != Some("plan_shipment"),
            SagaState::Running | SagaState::Compensating => true,
        })
    }
}

/// Reads the log until every order has a saga and every saga is at rest.
async fn until_all_is_at_rest(client: &Client, orders: usize) -> Seen {
    let (mut seen, begun, mut look) = (Seen::default(), Instant::now(), tokio::time::interval(LOOK_EVERY));
    loop {
        look.tick().await;
        seen.read_on(client).await;
        assert_eq!(seen.placed, orders, "every order that was acknowledged is in the log, once");
        if seen.sagas.len() >= orders && seen.under_way().is_none() {
            return seen;
        }
        let (sagas, under_way) = (seen.sagas.len(), seen.under_way().map(|(stream, _)| stream));
        assert!(begun.elapsed() < PATIENCE, "{sagas} sagas of {orders} orders, {under_way:?} does not come to rest");
    }
}

/// All is at rest, no saga needs a person, and the provider's ledger says what the log says.
async fn proven(processes: &Processes, client: &Client, orders: usize) {
    let seen = until_all_is_at_rest(client, orders).await;
    let called: Vec<_> =
        seen.sagas.iter().filter(|(_, view)| view.state() == SagaState::NeedsAttention).take(5).collect();
    assert!(called.is_empty(), "nobody had to be called: {called:#?}");
    let theirs = statement(client, &Ledger::Provider(processes.provider.url.clone())).await.unwrap();
    assert_eq!((theirs.key_conflicts, theirs.max_effects_per_key), (0, 1), "each request moved money once");
    let theirs: BTreeMap<PaymentId, (i64, i64, i64)> = theirs
        .entries
        .iter()
        .map(|entry| (entry.payment_id, (entry.authorized, entry.captured, entry.refunded)))
        .collect();
    assert_eq!(theirs.len(), orders);
    let differs: Vec<_> = theirs.iter().filter(|(id, sums)| seen.payments.get(id) != Some(sums)).take(5).collect();
    assert!(
        differs.is_empty() && seen.payments.len() == orders,
        "the provider says otherwise than the log: {differs:?}"
    );
}

/// Waits until the log is at this position.
async fn until_position(client: &Client, position: u64) {
    let begun = Instant::now();
    loop {
        let stats = client.get("/v1/store/stats").await.unwrap();
        let text = stats.body["position"].to_string();
        if text.trim_matches('"').parse::<u64>().unwrap() >= position {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "the log does not come to {position}: {}", stats.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_open_orders_go_on_after_a_kill_while_their_sagas_begin() {
    let orders = scaled(OPEN_ORDERS);
    let (mut processes, client) = shop(false).await;
    stream::iter(0..orders).for_each_concurrent(CUSTOMERS as usize, |number| place(&client, number)).await;
    processes.set("BACKSTITCH__RUN__SAGAS", "true");
    processes.kill_and_restart().await.unwrap();
    // Each kill comes when another share of the sagas has begun.
    for kill in 1..=KILLS_WHILE_THEY_BEGIN {
        until_position(&client, orders as u64 * (5 + kill) / 5).await;
        processes.kill_and_restart().await.unwrap();
        let begun = Instant::now();
        until_position(&client, 1).await;
        eprintln!("kill {kill}: the log answered {:?} after the start", begun.elapsed());
    }
    proven(&processes, &client, orders).await;
}

/// Customers who place orders, a thousand a second together, until they are told to stop.
struct Load {
    placed: AtomicUsize,
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    async fn customer(self: Arc<Self>, client: Client) {
        let mut pace = tokio::time::interval(Duration::from_secs(1) * CUSTOMERS / ORDERS_PER_SECOND);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::Relaxed) {
            pace.tick().await;
            place(&client, self.next.fetch_add(1, Ordering::Relaxed)).await;
            self.placed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_kills_under_load_end_every_saga_and_capture_each_sum_once() {
    let (mut processes, client) = shop(true).await;
    let load = Arc::new(Load { placed: AtomicUsize::new(0), next: AtomicUsize::new(0), stop: AtomicBool::new(false) });
    let kills = async {
        for kill in 1..=scaled(KILLS) {
            let (begun, mut look) = (Instant::now(), tokio::time::interval(LOOK_EVERY));
            while load.placed.load(Ordering::Relaxed) < kill * ORDERS_PER_KILL {
                assert!(begun.elapsed() < PATIENCE, "no orders are acknowledged any more before kill {kill}");
                look.tick().await;
            }
            processes.kill_and_restart().await.unwrap();
        }
        load.stop.store(true, Ordering::Relaxed);
    };
    let customers = join_all((0..CUSTOMERS).map(|_| load.clone().customer(client.clone())));
    tokio::join!(kills, customers);
    let orders = load.placed.load(Ordering::Relaxed);
    assert_eq!(orders, load.next.load(Ordering::Relaxed), "each was acknowledged");
    proven(&processes, &client, orders).await;
}
