//! The rows of every read model: what they say, and that they say the same however often and in whatever order across
//! streams their events are delivered.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{order, payment, stock};
use event_store::{Direction, EventStore, Filter, Position, RecordedEvent};
use projection_service::{generations, projection, projections};
use service_kit::pg;
use service_kit::postgres::testing::fresh_database;
use sqlx::PgPool;
use support::stories::{self, Dice, Story, from_the_future, order_id};
use support::{Log, Shop, at, rows};

const TABLES: &[&str] = &[
    "orders",
    "order_lines",
    "payments",
    "payments_ledger",
    "shipments",
    "stock_levels",
    "reservations",
    "products",
    "saga_view",
    "order_timeline",
    "sales_by_day",
    "applied",
];

/// Puts stories into a log, their streams interleaved by the dice.
async fn tell(log: &Log, dice: &mut Dice, stories: Vec<Story>) {
    let mut stories: Vec<_> =
        stories.into_iter().map(|story| (story.stream, story.key, story.events.into_iter())).collect();
    let mut seconds = 0;
    while !stories.is_empty() {
        let index = usize::try_from(dice.roll(stories.len() as u64)).unwrap();
        let (stream, key, events) = &mut stories[index];
        match events.next() {
            Some(event) => _ = log.append_for(stream, key, vec![event], seconds).await,
            None => _ = stories.swap_remove(index),
        }
        seconds += 1;
    }
}

async fn all_events(log: &Log) -> Vec<Arc<RecordedEvent>> {
    let events = log.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await;
    events.unwrap().into_iter().map(Arc::new).collect()
}

async fn all_rows(url: &str) -> BTreeMap<&'static str, Vec<serde_json::Value>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        all.insert(*table, rows(url, table).await);
    }
    all
}

/// Applies deliveries, in pieces, to fresh read models over a fresh database; read models are made anew between some
/// of the pieces, as after a restart.
async fn apply_in_pieces(log: &Log, dice: &mut Dice, deliveries: &[Arc<RecordedEvent>]) -> String {
    let url = fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    generations::prepare(&pool).await.unwrap();
    let mut members = projections::all();
    let mut rest = deliveries;
    while !rest.is_empty() {
        let size = (usize::try_from(dice.roll(40)).unwrap() + 1).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        let (piece, store) = (piece.to_vec(), log.store.clone());
        members = pg::tx(&pool, "read_1", move |sql| {
            Box::pin(async move {
                for member in &mut members {
                    let taken: Vec<_> = piece.iter().filter(|event| member.takes(&event.stream)).cloned().collect();
                    let applied = projection::apply(&mut **member, sql, &*store, &taken, Position::START).await?;
                    assert!(applied.stop.is_none(), "{:?}", applied.stop);
                }
                Ok(members)
            })
        })
        .await
        .unwrap();
        if dice.roll(4) == 0 {
            members = projections::all();
        }
    }
    pool.close().await;
    url
}

#[tokio::test]
async fn any_duplication_redelivery_and_permutation_across_streams_ends_in_the_same_rows() {
    for seed in [1, 2, 3] {
        let (log, mut dice) = (Log::new(), Dice(seed));
        let told = stories::shop(&mut dice, 24);
        tell(&log, &mut dice, told).await;
        let events = all_events(&log).await;
        let expected = all_rows(&apply_in_pieces(&log, &mut dice, &events).await).await;

        // Each event once or more often, anywhere: within a stream that makes gaps and duplicates as well.
        let mut shuffled: Vec<_> =
            events.iter().flat_map(|event| vec![event.clone(); 1 + dice.roll(2) as usize]).collect();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, usize::try_from(dice.roll(index as u64 + 1)).unwrap());
        }
        let found = all_rows(&apply_in_pieces(&log, &mut dice, &shuffled).await).await;
        for table in TABLES {
            assert_eq!(found[table], expected[table], "table {table}, seed {seed}");
        }
    }
}

#[tokio::test]
async fn the_last_event_of_each_stream_alone_brings_all_of_it() {
    let (log, mut dice) = (Log::new(), Dice(4));
    let told = stories::shop(&mut dice, 12);
    tell(&log, &mut dice, told).await;
    let events = all_events(&log).await;
    let expected = all_rows(&apply_in_pieces(&log, &mut dice, &events).await).await;
    let last: BTreeMap<_, _> = events.iter().map(|event| (event.stream.to_string(), event.clone())).collect();
    let found = all_rows(&apply_in_pieces(&log, &mut dice, &last.into_values().collect::<Vec<_>>()).await).await;
    assert_eq!(found, expected);
}

/// What the rows should say, folded in memory in the plainest way.
#[derive(Debug, Default, PartialEq)]
struct Books {
    /// on hand, reserved, committed
    stock: BTreeMap<String, (i64, i64, i64)>,
    reservations: BTreeMap<String, String>,
    orders: BTreeMap<String, String>,
    /// state, captured, refunded
    payments: BTreeMap<String, (String, i64, i64)>,
    /// orders, units, captured, refunded, cancelled
    sales: BTreeMap<String, (i64, i64, i64, i64, i64)>,
}

impl Books {
    fn fold(events: &[Arc<RecordedEvent>]) -> Self {
        let mut books = Self::default();
        let (mut held, mut days) = (BTreeMap::new(), BTreeMap::new());
        for event in events {
            let (id, data) = (event.stream.id().to_owned(), event.data.get());
            match event.stream.category() {
                "stock" => books.stock(id, stock::Event::decode(&event.event_type, 1, data).unwrap(), &mut held),
                "order" => books.order(id, order::Event::decode(&event.event_type, 1, data).unwrap(), &mut days),
                "payment" => books.payment(id, &payment::Event::decode(&event.event_type, 1, data).unwrap()),
                _ => {}
            }
        }
        books
    }

    fn stock(&mut self, id: String, event: stock::Event, held: &mut BTreeMap<String, i64>) {
        use stock::Event::*;
        let level = self.stock.entry(id).or_default();
        let (ended, state) = match event {
            StockReceived(e) => return level.0 += e.quantity.get(),
            StockAdjusted(e) => return level.0 += e.delta,
            StockRestocked(e) => return level.0 += e.quantity.get(),
            ReservationRenewed(_) => return,
            StockReserved(e) => {
                level.1 += e.quantity.get();
                held.insert(e.reservation_id.to_string(), e.quantity.get());
                (e.reservation_id, "reserved")
            }
            ReservationCommitted(e) => {
                level.1 -= held[&e.reservation_id.to_string()];
                level.2 += held[&e.reservation_id.to_string()];
                (e.reservation_id, "committed")
            }
            ReservationReleased(e) => {
                level.1 -= e.quantity;
                (e.reservation_id, "released")
            }
            ReservationExpired(e) => {
                level.1 -= e.quantity;
                (e.reservation_id, "expired")
            }
            StockShipped(e) => {
                level.0 -= e.quantity;
                level.2 -= e.quantity;
                (e.reservation_id, "shipped")
            }
        };
        self.reservations.insert(ended.to_string(), state.to_owned());
    }

    fn order(&mut self, id: String, event: order::Event, days: &mut BTreeMap<String, String>) {
        use order::Event::*;
        let status = match event {
            OrderPlaced(e) => {
                let day = e.placed_at.date_naive().to_string();
                let sales = self.sales.entry(day.clone()).or_default();
                sales.0 += 1;
                sales.1 += e.lines.iter().map(|line| line.quantity.get()).sum::<i64>();
                days.insert(id.clone(), day);
                "pending"
            }
            OrderRejected(_) | OrderCancelled(_) => {
                self.sales.get_mut(&days[&id]).unwrap().4 += 1;
                if matches!(event, OrderRejected(_)) { "rejected" } else { "cancelled" }
            }
            OrderConfirmed(_) => "confirmed",
            OrderCancellationRequested(_) => "cancel_pending",
            OrderDispatchAllowed(_) => "dispatching",
            OrderShipped(_) => "shipped",
            OrderCompleted(_) => "completed",
            OrderRiskAssessed(_) | OrderHeld(_) | OrderHoldReleased(_) => return,
        };
        self.orders.insert(id, status.to_owned());
    }

    fn payment(&mut self, id: String, event: &payment::Event) {
        let row = self.payments.entry(id).or_default();
        if let payment::Event::PaymentAuthorizationRequested(_) = event {
            row.0 = "requested".to_owned();
        }
        if let payment::Event::PaymentAuthorized(_) = event {
            row.0 = "authorized".to_owned();
        }
        if let payment::Event::PaymentDeclined(_) = event {
            row.0 = "declined".to_owned();
        }
        if let payment::Event::PaymentCaptured(e) = event {
            (row.0, row.1) = ("captured".to_owned(), e.amount.amount);
            self.sales.entry(e.placed_on.to_string()).or_default().2 += e.amount.amount;
        }
        if let payment::Event::PaymentRefunded(e) = event {
            (row.0, row.2) = ("refunded".to_owned(), e.amount.amount);
            self.sales.entry(e.placed_on.to_string()).or_default().3 += e.amount.amount;
        }
    }

    async fn of_rows(url: &str) -> Self {
        let mut books = Self::default();
        let text = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
        let number = |row: &serde_json::Value, name: &str| row[name].as_i64().unwrap();
        for row in rows(url, "stock_levels").await {
            let level = (number(&row, "on_hand"), number(&row, "reserved"), number(&row, "committed"));
            assert_eq!(number(&row, "available"), level.0 - level.1 - level.2);
            books.stock.insert(format!("{}@{}", text(&row, "sku"), text(&row, "location")), level);
        }
        for row in rows(url, "reservations").await {
            books.reservations.insert(text(&row, "reservation_id"), text(&row, "state"));
        }
        for row in rows(url, "orders").await {
            books.orders.insert(text(&row, "id"), text(&row, "status"));
        }
        for row in rows(url, "payments").await {
            let amounts = (text(&row, "state"), number(&row, "captured"), number(&row, "refunded"));
            books.payments.insert(text(&row, "id"), amounts);
        }
        for row in rows(url, "sales_by_day").await {
            let (captured, refunded) = (number(&row, "captured"), number(&row, "refunded"));
            let sums = (number(&row, "orders"), number(&row, "units"), captured, refunded, number(&row, "cancelled"));
            books.sales.insert(text(&row, "day"), sums);
        }
        books
    }
}

#[tokio::test]
async fn the_rows_are_what_a_plain_fold_in_memory_says() {
    let (shop, mut dice) = (Shop::start().await, Dice(5));
    let told = stories::shop(&mut dice, 60);
    tell(&shop.log, &mut dice, told).await;
    shop.caught_up().await;
    let events = all_events(&shop.log).await;
    assert_eq!(Books::of_rows(&shop.url).await, Books::fold(&events));
}

#[tokio::test]
async fn every_row_follows_one_stream_to_its_last_version_and_its_time_is_the_events() {
    let (shop, mut dice) = (Shop::start().await, Dice(6));
    let told = stories::shop(&mut dice, 12);
    tell(&shop.log, &mut dice, told).await;
    shop.caught_up().await;
    let events = all_events(&shop.log).await;
    for row in rows(&shop.url, "orders").await {
        let of =
            |event: &&Arc<RecordedEvent>| event.stream.as_str() == format!("order-{}", row["id"].as_str().unwrap());
        let last = events.iter().rfind(of).unwrap();
        assert_eq!(row["stream_version"], last.version);
        assert_eq!(row["global_position"], last.position.0);
        let updated_at: chrono::DateTime<chrono::Utc> = row["updated_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(updated_at, last.metadata.occurred_at);
    }
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_moved_past_and_counted() {
    let shop = Shop::start().await;
    let stream = order_id(1).stream();
    let placed = order::Event::OrderPlaced(support::stories::placed(1, &[(1, 1)], 0));
    let confirmed = order::Event::OrderConfirmed(order::OrderConfirmed {});
    shop.log.append(&stream, vec![placed.encode(), from_the_future(), confirmed.encode()], 7).await;
    shop.caught_up().await;
    let row = &shop.rows("orders").await[0];
    assert_eq!((row["status"].as_str(), row["stream_version"].as_u64()), (Some("confirmed"), Some(2)));
    let status = shop.handle.progress.statuses().into_iter().find(|status| status.name == "orders").unwrap();
    assert_eq!((status.folded, status.skipped), (2, 1));
    assert_eq!(status.occurred_at, Some(at(7)));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stops_its_read_model_and_no_other() {
    let shop = Shop::start().await;
    let mut broken = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    broken.event_type = "OrderHeld"; // Without its reason.
    let placed = order::Event::OrderPlaced(support::stories::placed(1, &[(1, 1)], 0)).encode();
    shop.log.append(&order_id(1).stream(), vec![placed, broken], 0).await;
    let (log, mut dice) = (&shop.log, Dice(7));
    let told = stories::shop(&mut dice, 4).into_iter().filter(|story| story.stream.starts_with("stock")).collect();
    tell(log, &mut dice, told).await;
    let head = *log.store.head().borrow();
    assert!(
        shop.handle.progress.reached(&["stock", "payments"], head, tokio::time::Instant::now() + support::BOUND).await
    );
    let answer = shop.get("/v1/projections").await.ok();
    let orders = answer["items"].as_array().unwrap().iter().find(|item| item["name"] == "orders").unwrap().clone();
    assert_eq!(orders["state"], "stopped");
    let error = orders["last_error"].as_str().unwrap();
    assert!(error.contains("OrderHeld") && error.contains("version 1"), "{error}");
    assert!(orders["position"].as_u64().unwrap() < head.0);
    assert_eq!(shop.rows("orders").await[0]["status"], "pending", "what came before it is applied");
}
