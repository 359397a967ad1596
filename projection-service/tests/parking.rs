//! Parked keys: a poisoned event, or one whose rows Postgres refuses, holds up its own stream in the read models that
//! cannot apply it, and nothing else; and operators get it going again.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{EncodedEvent, order};
use event_store::{EventStore, RecordedEvent};
use projection_engine::dead_letters::Parked;
use projection_engine::dead_letters::repair::{Repaired, Verb, repair};
use projection_engine::feeding::checkpoint::Slice;
use projection_engine::projecting::projection::{Projection, apply};
use projection_service::{generations, projections};
use serde_json::{Value, json};
use service_kit::pg;
use service_kit::postgres::testing::fresh_database;
use sqlx::PgPool;
use support::applying::{all_events, all_rows};
use support::stories::{self, Dice, order_id, placed};
use support::{BOUND, Log, Shop, execute};

/// `OrderHeld` without its reason.
fn poison() -> EncodedEvent {
    let mut broken = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    broken.event_type = "OrderHeld";
    broken
}

fn confirmed() -> EncodedEvent {
    order::Event::OrderConfirmed(order::OrderConfirmed {}).encode()
}

async fn place(log: &Log, number: u64) {
    let placed = order::Event::OrderPlaced(placed(number, &[(1, 2)], 0)).encode();
    log.append(&order_id(number).stream(), vec![placed], 0).await;
}

/// The rows of those events that `takes` lets each read model have, folded plainly into a database of their own.
async fn plain_fold(log: &Log, takes: fn(&str, &RecordedEvent) -> bool) -> BTreeMap<&'static str, Vec<Value>> {
    let (url, events) = (fresh_database().await.unwrap(), all_events(log).await);
    let pool = PgPool::connect(&url).await.unwrap();
    generations::prepare(&pool, &projections::read_models(), 1).await.unwrap();
    let store = log.store.clone();
    pg::tx(&pool, "read_1", move |sql| {
        Box::pin(async move {
            for model in projections::ALL {
                let (mut projection, mut parked) = ((model.make)(), Parked::default());
                let wanted = |event: &&Arc<RecordedEvent>| projection.takes(&event.stream) && takes(model.name, event);
                let taken: Vec<_> = events.iter().filter(wanted).cloned().collect();
                let applied = apply(&mut *projection, sql, &*store, &taken, &mut parked).await?;
                assert_eq!(applied.waiting, 0, "{}", model.name);
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    pool.close().await;
    all_rows(&url).await
}

async fn letters(shop: &Shop) -> Vec<Value> {
    shop.get("/v1/dead-letters").await.ok()["items"].as_array().unwrap().clone()
}

fn path(projection: &str, stream: &str, verb: &str) -> String {
    format!("/v1/dead-letters/{projection}/{stream}{verb}")
}

#[tokio::test]
async fn a_poisoned_event_parks_its_stream_where_it_is_read_and_everything_else_goes_on() {
    let (shop, mut dice) = (Shop::start().await, Dice(11));
    let stream = order_id(1).stream();
    for mut story in stories::shop(&mut dice, 24) {
        if story.stream == stream {
            story.events.insert(1, poison());
        }
        shop.log.append_for(&story.stream, &story.key, story.events, 5).await;
    }
    shop.caught_up().await;
    let found = letters(&shop).await;
    let [letter] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&letter["projection"], &letter["stream"]), (&json!("orders"), &json!(stream)));
    assert_eq!((&letter["version"], &letter["cause"]), (&json!(1), &json!("unreadable")));
    assert!(letter["error"].as_str().unwrap().contains("OrderHeld"), "{letter}");

    // `sales_by_day` and `order_timeline` read the same stream, and get by without that event's data.
    let behind = |model: &str, event: &RecordedEvent| {
        model != "orders" || event.stream.as_str() != order_id(1).stream() || event.version < 1
    };
    assert_eq!(all_rows(&shop.url).await, plain_fold(&shop.log, behind).await);

    let listed = shop.get("/v1/projections").await.ok();
    let orders = listed["items"].as_array().unwrap().iter().find(|item| item["name"] == "orders").unwrap().clone();
    assert_eq!((&orders["state"], &orders["parked_streams"]), (&json!("running"), &json!(1)));
    let shown = shop.get(&path("orders", &stream, "")).await.ok();
    let last = all_events(&shop.log).await.iter().rfind(|event| event.stream.as_str() == stream).unwrap().version;
    assert_eq!((&shown["waiting"], &shown["event"]["type"]), (&json!(last - 1), &json!("OrderHeld")));
}

#[tokio::test]
async fn answers_that_touch_a_parked_stream_say_so_and_no_others() {
    let shop = Shop::start().await;
    place(&shop.log, 1).await;
    place(&shop.log, 2).await;
    let position = shop.log.append(&order_id(1).stream(), vec![poison(), confirmed()], 1).await;
    // A wait for what a command's reply gave does not hang: the checkpoint moves on.
    let position = position.to_string();
    let newer = [("x-min-position", position.as_str()), ("prefer", "wait=30")];
    let answer = shop.get_with(&format!("/v1/orders/{}", order_id(1)), &newer).await.ok();
    let stale = json!([{ "projection": "orders", "stream": order_id(1).stream(), "version": 1 }]);
    assert_eq!((&answer["stale"], &answer["status"]), (&stale, &json!("pending")));
    assert!(shop.get(&format!("/v1/orders/{}", order_id(2))).await.ok().get("stale").is_none());
    for touched in ["/v1/orders", &format!("/v1/customers/{}/orders", stories::customer(1))] {
        assert_eq!(shop.get(touched).await.ok()["stale"], stale, "{touched}");
    }
    for other in ["/v1/payments", "/v1/shipments", "/v1/stock", "/v1/products", "/v1/reports/sales-by-day"] {
        assert!(shop.get(other).await.ok().get("stale").is_none(), "{other}");
    }
    // Nor does a wait for an order that can never settle here.
    let until = format!("/v1/orders/{}?until=settled", order_id(1));
    assert_eq!(shop.get_with(&until, &[("prefer", "wait=30")]).await.ok()["settled"], false);
}

#[tokio::test]
async fn a_try_changes_nothing_and_a_retry_in_vain_is_counted() {
    let shop = Shop::start().await;
    place(&shop.log, 1).await;
    let stream = order_id(1).stream();
    shop.log.append(&stream, vec![poison(), confirmed()], 1).await;
    shop.caught_up().await;
    let (before, first) = (all_rows(&shop.url).await, letters(&shop).await);
    let tried = shop.post(&path("orders", &stream, "/try"), "t", &json!({})).await.ok();
    assert_eq!((&tried["up_to_date"], &tried["stands"]["version"]), (&json!(false), &json!(1)));
    assert_eq!((all_rows(&shop.url).await, letters(&shop).await), (before.clone(), first));
    let retried = shop.post(&path("orders", &stream, "/retry"), "r", &json!({})).await.ok();
    assert_eq!((&retried["up_to_date"], &retried["stands"]["attempts"]), (&json!(false), &json!(2)));
    assert_eq!((all_rows(&shop.url).await, &letters(&shop).await[0]["attempts"]), (before, &json!(2)));
    // What is not parked is up to date; what is no stream of this read model is not there.
    place(&shop.log, 2).await;
    shop.caught_up().await;
    let fine = shop.post(&path("orders", &order_id(2).stream(), "/retry"), "r", &json!({})).await.ok();
    assert_eq!((&fine["up_to_date"], &fine["applied"]), (&json!(true), &json!(0)));
    for nothing in [path("orders", "payment-1", "/retry"), path("nothing", &stream, "/try")] {
        assert_eq!(shop.post(&nothing, "r", &json!({})).await.status, 404, "{nothing}");
    }
    assert_eq!(shop.get(&path("orders", &order_id(2).stream(), "")).await.status, 404);
}

/// An older program, which does not know yet what the confirmation of an order is.
#[derive(Default)]
struct Older(projections::orders::Orders);

#[async_trait::async_trait]
impl Projection for Older {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn takes(&self, stream: &event_store::StreamName) -> bool {
        self.0.takes(stream)
    }
    async fn load(&mut self, sql: &mut sqlx::PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        self.0.load(sql, events).await
    }
    fn version(&self, stream: &event_store::StreamName) -> Option<u64> {
        self.0.version(stream)
    }
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), domain::DecodeError> {
        match &*event.event_type {
            "OrderConfirmed" => {
                Err(domain::DecodeError::NewerSchema { event_type: "OrderConfirmed".to_owned(), found: 2, known: 1 })
            }
            _ => self.0.fold(event),
        }
    }
    fn skip(&mut self, event: &RecordedEvent) {
        self.0.skip(event);
    }
    async fn write(&mut self, sql: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
        self.0.write(sql).await
    }
}

#[tokio::test]
async fn what_a_newer_program_can_read_ends_in_the_rows_of_one_that_always_could() {
    let (log, mut dice) = (Log::new(), Dice(12));
    for story in stories::shop(&mut dice, 16) {
        log.append_for(&story.stream, &story.key, story.events, 5).await;
    }
    let url = fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    generations::prepare(&pool, &projections::read_models(), 1).await.unwrap();
    let slice = Slice { projection: "orders", generation: 1 };
    let events: Vec<_> =
        all_events(&log).await.into_iter().filter(|event| event.stream.category() == "order").collect();
    let confirmed = events.iter().filter(|event| &*event.event_type == "OrderConfirmed").count();
    assert!(confirmed > 3);
    let store = log.store.clone();
    // Delivered once, and again, and each last event alone, while some are parked.
    let redelivered = events.clone();
    pg::tx(&pool, "read_1", move |sql| {
        Box::pin(async move {
            let mut parked = Parked::default();
            for piece in [&redelivered[..], &redelivered[3..], &redelivered[redelivered.len() - 1..]] {
                apply(&mut Older::default(), sql, &*store, piece, &mut parked).await?;
            }
            assert_eq!(parked.letters().len(), confirmed);
            parked.write(sql, slice).await
        })
    })
    .await
    .unwrap();
    // After the upgrade.
    let store = log.store.clone();
    pg::tx(&pool, "read_1", move |sql| {
        Box::pin(async move {
            let mut parked = Parked::load(sql, slice, |_| true).await?;
            let streams: Vec<_> = parked.letters().keys().cloned().collect();
            assert_eq!(streams.len(), confirmed);
            for stream in streams {
                let model = projections::named("orders").unwrap();
                let wish = (&stream, &Verb::Retry);
                let Repaired { parked: stands, applied, .. } =
                    repair(&model, sql, &*store, slice, wish, &mut parked).await?.unwrap();
                assert!(stands.is_none() && applied > 0);
            }
            parked.write(sql, slice).await?;
            assert!(Parked::load(sql, slice, |_| true).await?.letters().is_empty());
            Ok(())
        })
    })
    .await
    .unwrap();
    let never_parked = plain_fold(&log, |model, _| model == "orders").await;
    assert_eq!(all_rows(&url).await, never_parked);
}

#[tokio::test]
async fn rows_that_postgres_refuses_park_only_their_streams_until_the_cause_is_gone() {
    let shop = after_schema(Shop::start().await).await;
    execute(
        &shop.url,
        "alter table read_1.orders add constraint told check (item_count <> 7);
         alter table read_1.sales_by_day add constraint told check (orders < 15)",
    )
    .await;
    for number in 0..20 {
        let pieces = if number == 7 { 7 } else { 2 };
        let order = order::Event::OrderPlaced(placed(number, &[(1, pieces)], 0)).encode();
        shop.log.append(&order_id(number).stream(), vec![order, confirmed()], 0).await;
    }
    shop.caught_up().await;
    let found = letters(&shop).await;
    let of = |projection: &str| found.iter().filter(|letter| letter["projection"] == projection).count();
    assert_eq!((of("orders"), of("sales_by_day"), found.len()), (1, 7, 8), "{found:?}");
    assert_eq!((&found[0]["cause"], &found[0]["version"]), (&json!("refused"), &json!(0)));
    assert_eq!(found[0]["stream"], json!(order_id(7).stream()));
    assert_eq!((shop.rows("orders").await.len(), sold(&shop).await), (20, 14));
    let sales = shop.get("/v1/reports/sales-by-day").await.ok();
    assert_eq!(sales["stale"].as_array().unwrap().len(), 7);

    // Started again while the cause is there: tried once more, and still parked.
    let shop = shop.restart().await;
    place(&shop.log, 30).await;
    shop.caught_up().await;
    assert_eq!(letters(&shop).await[0]["attempts"], 2);
    assert_eq!((shop.rows("orders").await.len(), sold(&shop).await), (21, 14));

    // One by one for the sum; by a start for the rest.
    execute(&shop.url, "alter table read_1.sales_by_day drop constraint told").await;
    for letter in letters(&shop).await.iter().filter(|letter| letter["projection"] == "sales_by_day") {
        let retry = path("sales_by_day", letter["stream"].as_str().unwrap(), "/retry");
        for _ in 0..2 {
            assert_eq!(shop.post(&retry, "again", &json!({})).await.ok()["up_to_date"], true);
        }
    }
    assert_eq!(sold(&shop).await, 22);
    assert!(shop.get("/v1/reports/sales-by-day").await.ok().get("stale").is_none());
    execute(&shop.url, "alter table read_1.orders drop constraint told").await;
    let shop = shop.restart().await;
    shop.caught_up().await;
    assert_eq!(letters(&shop).await, Vec::<Value>::new());
    assert_eq!(all_rows(&shop.url).await, plain_fold(&shop.log, |_, _| true).await);
}

/// Its tables are there.
async fn after_schema(shop: Shop) -> Shop {
    place(&shop.log, 100).await;
    shop.caught_up().await;
    shop
}

async fn sold(shop: &Shop) -> i64 {
    shop.rows("sales_by_day").await.iter().map(|row| row["orders"].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn a_read_model_whose_table_is_gone_stops_and_parks_nothing() {
    let shop = after_schema(Shop::start().await).await;
    execute(&shop.url, "drop table read_1.shipments cascade").await;
    let mut dice = Dice(13);
    for story in stories::shop(&mut dice, 8) {
        shop.log.append_for(&story.stream, &story.key, story.events, 5).await;
    }
    let head = *shop.log.store.head().borrow();
    let others = ["orders", "payments", "stock", "products", "saga_view", "order_timeline", "sales_by_day"];
    assert!(shop.handle.progress.reached(&others, None, head, tokio::time::Instant::now() + BOUND).await);
    let statuses = shop.handle.progress.statuses();
    let shipments = statuses.iter().find(|status| status.name == "shipments").unwrap();
    assert_eq!(shipments.state, projection_service::State::Stopped);
    assert!(shipments.position < head && shipments.parked.is_empty());
    assert!(shipments.last_error.as_ref().unwrap().contains("shipments"), "{shipments:?}");
}

#[tokio::test]
async fn a_rebuilt_generation_parks_what_it_cannot_apply_itself() {
    let shop = Shop::start().await;
    place(&shop.log, 1).await;
    place(&shop.log, 2).await;
    shop.log.append(&order_id(1).stream(), vec![poison(), confirmed()], 1).await;
    shop.caught_up().await;
    let asked = shop.post("/v1/projections/orders/rebuild", "again", &json!({"accept_differences": true})).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    let live = async || {
        let statuses = shop.handle.progress.statuses();
        statuses.iter().any(|status| status.name == "orders" && status.generation == 2)
    };
    while !live().await {
        tokio::task::yield_now().await;
    }
    let found = letters(&shop).await;
    let generations: Vec<_> = found.iter().map(|letter| letter["generation"].as_i64().unwrap()).collect();
    assert_eq!(generations, [1, 2], "the one before is still fed");
    let discard = path("orders", &order_id(1).stream(), "/discard");
    assert_eq!(shop.post(&discard, "k", &json!({"reason": "a test"})).await.ok()["generation"], 2);
    assert_eq!(letters(&shop).await.len(), 1, "what is discarded in one is not in the other");
    let answer = shop.get(&format!("/v1/orders/{}", order_id(1))).await.ok();
    assert_eq!((&answer["status"], answer.get("stale")), (&json!("confirmed"), None));
}
