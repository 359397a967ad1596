//! Read models that are made again while they are in use: the rows of a rebuild, what it finds, what readers notice.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use service_kit::postgres::testing::fresh_database;
use support::shopkeeper::{Hold, TABLES, Teller, long_story};
use support::stories::order_id;
use support::{Answer, BOUND, Shop};
use tower::ServiceExt as _;

/// The rows of every read model, folded plainly into a database of its own.
async fn plain_fold(shop: &Shop) -> BTreeMap<&'static str, BTreeMap<&'static str, Vec<Value>>> {
    let tasks = service_kit::Tasks::new();
    let url = fresh_database().await.unwrap();
    let (_, ready) = tokio::sync::watch::channel(Some(url.clone()));
    let (store, clock) = (shop.log.store.clone(), shop.clock.clone());
    let handle = projection_service::start(store, ready, clock, tasks.clone(), &Default::default());
    assert!(handle.progress.all_reached(*event_store::EventStore::head(&*shop.log.store).borrow(), BOUND).await);
    let mut all = BTreeMap::new();
    for (name, tables) in TABLES {
        let mut of_model = BTreeMap::new();
        for table in *tables {
            of_model.insert(*table, support::rows(&url, table).await);
        }
        all.insert(*name, of_model);
    }
    assert!(tasks.shut_down(BOUND).await);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_model_rebuilt_under_live_writes_is_the_live_one_and_a_plain_fold() {
    let (shop, mut teller) = (Shop::start().await, Teller::new(11, 30));
    long_story(&shop.log, 900, 6).await;
    teller.tell(&shop.log, 300).await;
    shop.caught_up().await;
    for (name, _) in TABLES {
        shop.rebuild(name, false).await;
    }
    let begun = *event_store::EventStore::head(&*shop.log.store).borrow();
    while teller.tell(&shop.log, 20).await {}
    assert!(*event_store::EventStore::head(&*shop.log.store).borrow() > begun, "nothing was written meanwhile");
    for (name, _) in TABLES {
        let live = shop.until(name, 2, "live").await;
        assert_eq!(live["comparison"]["differences"], 0, "{live}");
        shop.until(name, 1, "previous").await;
    }
    shop.caught_up().await;
    let expected = plain_fold(&shop).await;
    for (name, _) in TABLES {
        let rows = shop.rows_of(name).await;
        assert!(rows.values().any(|rows| !rows.is_empty()), "{name} is empty");
        assert_eq!(rows, expected[name], "{name}, rebuilt");
        assert_eq!(shop.rows_of_in(name, "read_1").await, expected[name], "{name}, previous");
        assert_eq!(shop.rows_of_in(name, "read_2").await, expected[name], "{name}, live");
    }
}

#[tokio::test]
async fn a_cell_that_differs_is_shown_and_blocks_the_switch_until_it_is_accepted() {
    let (shop, mut teller) = (Shop::start().await, Teller::new(12, 8));
    while teller.tell(&shop.log, 100).await {}
    shop.caught_up().await;
    let whole = shop.rows_of("orders").await;
    let order = order_id(3).0.to_string();
    let status = whole["orders"].iter().find(|row| row["id"] == *order).unwrap()["status"].clone();
    let corrupted = format!("update read_1.orders set status = 'corrupted' where id = '{order}'");
    assert_eq!(shop.sql(&corrupted).await, 1, "the fault did not happen");

    shop.rebuild("orders", false).await;
    let found = shop.until("orders", 2, "differs").await["comparison"].clone();
    assert_eq!(found["differences"], 1);
    let cell = json!([{ "table": "orders", "key": { "id": order }, "column": "status", "live": "corrupted",
        "rebuilt": status }]);
    assert_eq!(found["first"], cell);
    assert_eq!(shop.get("/v1/projections/orders").await.ok()["generation"], 1, "answers still come from the live one");

    // A row that is missing from the rebuilt one, and one that should not be there, are found as well.
    let lines = shop.sql(&format!("delete from read_2.order_lines where order_id = '{order}'")).await;
    assert!(lines > 0 && shop.sql("update read_2.orders set id = gen_random_uuid() where id = (select max(id::text)::uuid from read_2.orders)").await == 1);
    shop.rebuild("orders", false).await;
    let found = loop {
        let found = shop.until("orders", 2, "differs").await["comparison"].clone();
        if found["differences"] != 1 {
            break found;
        }
    };
    let counts = |table: usize| {
        let of = &found["tables"][table];
        ["table", "differing", "missing", "extra"].map(|count| of[count].clone())
    };
    assert_eq!(counts(0), [json!("orders"), json!(1), json!(1), json!(1)]);
    assert_eq!(counts(1), [json!("order_lines"), json!(0), json!(lines), json!(0)]);

    // Thrown away and made again it is whole, and what differs in the live one is accepted.
    assert_eq!(shop.ask("orders", "retire", "drop", json!({ "generation": 2 })).await.status, 202);
    shop.until("orders", 2, Value::Null).await;
    shop.rebuild("orders", true).await;
    let live = shop.until("orders", 2, "live").await;
    assert_eq!((&live["comparison"]["differences"], &live["accept_differences"]), (&json!(1), &json!(true)));
    assert_eq!(shop.rows_of("orders").await, whole);
}

#[tokio::test]
async fn a_difference_in_a_sum_or_in_its_marks_is_a_difference() {
    let (shop, mut teller) = (Shop::start().await, Teller::new(13, 8));
    while teller.tell(&shop.log, 100).await {}
    shop.caught_up().await;
    assert!(shop.sql("update read_1.sales_by_day set captured = captured + 1").await > 0);
    assert_eq!(
        shop.sql(
            "update read_1.applied set stream_version = 99 where stream = (select min(stream) from read_1.applied
                where projection = 'sales_by_day') and projection = 'sales_by_day'"
        )
        .await,
        1
    );
    shop.rebuild("sales_by_day", false).await;
    let found = shop.until("sales_by_day", 2, "differs").await["comparison"].clone();
    let tables: Vec<_> = found["first"].as_array().unwrap().iter().map(|cell| &cell["column"]).collect();
    assert!(tables.contains(&&json!("captured")) && tables.contains(&&json!("stream_version")), "{found}");
}

/// Asks again and again; every answer must be 200 and no older than the one before.
async fn read_on(router: axum::Router, path: &'static str, stop: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = Answer::of(router.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let position: u64 = answer.headers["x-position"].to_str().unwrap().parse().unwrap();
        assert!(position >= last, "{path} went from {last} back to {position}");
        last = position;
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_neither_fail_nor_go_backwards_while_generations_are_switched() {
    let (shop, mut teller) = (Shop::start().await, Teller::new(14, 40));
    teller.tell(&shop.log, 200).await;
    shop.caught_up().await;
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let paths = ["/v1/orders?limit=20", "/v1/reports/sales-by-day", "/v1/orders?status=confirmed", "/v1/payments"];
    let readers = paths.map(|path| read_on(shop.router.clone(), path, stop.clone(), reads.clone()));
    let switching = async {
        let mut switches = Vec::new();
        for (name, generation) in [("orders", 2), ("sales_by_day", 2), ("payments", 2), ("orders", 3)] {
            let before = reads.load(Ordering::Relaxed);
            shop.rebuild(name, false).await;
            teller.tell(&shop.log, 30).await;
            shop.until(name, generation, "live").await;
            let back = shop.ask(name, "rollback", &format!("{name}-{generation}"), json!({})).await;
            assert_eq!(back.status, 200, "{}", back.body);
            teller.tell(&shop.log, 30).await;
            switches.push(reads.load(Ordering::Relaxed) - before);
        }
        stop.store(true, Ordering::Relaxed);
        switches
    };
    let (switches, _) = tokio::join!(switching, futures_util::future::join_all(readers));
    assert!(switches.iter().all(|reads| *reads > 0), "nobody read meanwhile: {switches:?}");
    shop.caught_up().await;
    let expected = plain_fold(&shop).await;
    for name in ["orders", "sales_by_day", "payments"] {
        assert_eq!(shop.rows_of(name).await, expected[name]);
    }
}

#[tokio::test]
async fn a_rebuild_killed_at_any_stage_goes_on_and_ends_the_same() {
    let stages = [
        ("insert or update", "projection_checkpoints", "new.generation = 2 and new.position > 0", json!("building")),
        ("update", "generations", "new.generation = 2 and new.state = 'ready'", json!("building")),
        ("update", "generations", "new.comparison is not null and old.comparison is null", json!("ready")),
        ("update", "generations", "new.generation = 2 and new.state = 'live'", json!("ready")),
    ];
    let mut shop = Shop::start().await;
    long_story(&shop.log, 900, 6).await;
    let mut teller = Teller::new(15, 10);
    while teller.tell(&shop.log, 100).await {}
    shop.caught_up().await;
    for (operation, table, when, state) in stages {
        let hold = Hold::on(&shop, operation, table, when).await;
        shop.rebuild("orders", false).await;
        let before = loop {
            let generation = shop.generation("orders", 2).await;
            if generation["state"] == state {
                break generation;
            }
        };
        shop = hold.kill(shop).await;
        shop.handle.progress.started().await;
        let live = shop.until("orders", 2, "live").await;
        assert_eq!(live["comparison"]["differences"], 0, "killed {when}: {before}");
        shop.caught_up().await;
        assert_eq!(shop.rows_of("orders").await, plain_fold(&shop).await["orders"], "killed {when}");
        // Back to one generation, for the next stage; this is killed as well.
        assert_eq!(shop.ask("orders", "rollback", when, json!({})).await.status, 200);
        let hold = Hold::on(&shop, "delete", "generations", "old.generation = 2").await;
        assert_eq!(shop.ask("orders", "retire", when, json!({})).await.status, 202);
        shop = hold.kill(shop).await;
        shop.handle.progress.started().await;
        shop.until("orders", 2, Value::Null).await;
    }
    assert_eq!(shop.number("select count(*) from pg_namespace where nspname = 'read_2'").await, 0);
}
