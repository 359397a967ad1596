//! Postgres goes away and comes back; the read side goes on by itself, and nothing is lost or counted twice.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use domain::{order, payment};
use event_store::EventStore;
use projection_service::{Config, State, start};
use service_kit::postgres::testing::{TestCluster, fresh_database};
use service_kit::{Clock, Tasks};
use sqlx::{Connection as _, PgConnection};
use support::stories::{captured, order_id, placed, requested};
use support::{BOUND, Log, Shop, at, execute};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// An order that is placed, paid and captured: it moves rows, a ledger and a sum.
async fn sell(log: &Log, number: u64) {
    let placed = placed(number, &[(1, 2)], 0);
    let payment = domain::ids::PaymentId::derive(placed.order_id, 0);
    let paid = [requested(payment, &placed, 0), captured(placed.order_id, placed.totals.total, &placed)];
    let order = order::Event::OrderPlaced(placed).encode();
    log.append(&order_id(number).stream(), vec![order], 0).await;
    let paid = paid.iter().map(payment::Event::encode).collect();
    log.append_for(&payment.stream(), &order_id(number).to_string(), paid, 1).await;
}

async fn sales(shop: &Shop) -> (i64, i64) {
    let rows = shop.rows("sales_by_day").await;
    (rows[0]["orders"].as_i64().unwrap(), rows[0]["captured"].as_i64().unwrap())
}

#[tokio::test]
async fn after_postgres_was_killed_in_mid_stream_everything_is_there_exactly_once() {
    let cluster = TestCluster::start().await.unwrap();
    let url = cluster.fresh_database().await.unwrap();
    let shop = Shop::over(Log::new(), url);
    sell(&shop.log, 0).await;
    shop.caught_up().await;
    let total = placed(0, &[(1, 2)], 0).totals.total.amount;
    for round in 1..=3_u64 {
        let pid = cluster.postgres().pid().unwrap();
        for number in 0..40 {
            sell(&shop.log, round * 100 + number).await;
            if number == 10 {
                let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
                assert!(killed.success());
            }
        }
        shop.caught_up().await;
        let orders = 1 + 40 * i64::try_from(round).unwrap();
        assert_eq!(sales(&shop).await, (orders, orders * total), "round {round}");
        assert_eq!(shop.rows("orders").await.len() as i64, orders);
        assert_eq!(shop.rows("payments_ledger").await.len() as i64, 2 * orders);
    }
}

#[tokio::test]
async fn while_postgres_is_away_queries_say_503_and_the_log_still_answers() {
    let cluster = TestCluster::start().await.unwrap();
    let shop = Shop::over(Log::new(), cluster.fresh_database().await.unwrap());
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    cluster.stop().await;
    let answer = shop.get("/v1/orders").await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(shop.get("/v1/streams").await.ok()["items"].as_array().unwrap().len(), 2);
    sell(&shop.log, 2).await;
    let down = |statuses: &[projection_service::Status]| statuses.iter().all(|status| status.state == State::Down);
    while !down(&shop.handle.progress.statuses()) {
        tokio::task::yield_now().await;
    }
    assert!(shop.get("/v1/projections").await.ok()["items"][0]["last_error"].is_string());
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_adds_nothing_twice() {
    let mut shop = Shop::start().await;
    let total = placed(0, &[(1, 2)], 0).totals.total.amount;
    for number in 0..6 {
        sell(&shop.log, number).await;
        if number % 2 == 0 {
            shop = shop.restart().await;
        }
    }
    shop.caught_up().await;
    assert_eq!(sales(&shop).await, (6, 6 * total));
}

#[tokio::test]
async fn of_two_runners_over_one_database_the_rows_are_still_counted_once() {
    let shop = Shop::start().await;
    let other_tasks = Tasks::new();
    let (store, (_, ready)): (Arc<dyn EventStore>, _) =
        (shop.log.store.clone(), watch::channel(Some(shop.url.clone())));
    let other = start(store, ready, Clock::manual(at(0)), other_tasks.clone(), &Config::default());
    for number in 0..30 {
        sell(&shop.log, number).await;
    }
    // The one with the lower epoch is fenced off; it may take over again, and fence the other.
    let head = *shop.log.store.head().borrow();
    tokio::select! {
        reached = shop.handle.progress.all_reached(head, BOUND) => assert!(reached),
        reached = other.progress.all_reached(head, BOUND) => assert!(reached),
    }
    let total = placed(0, &[(1, 2)], 0).totals.total.amount;
    assert_eq!(sales(&shop).await, (30, 30 * total));
    assert!(other_tasks.shut_down(BOUND).await);
}

#[tokio::test]
async fn queries_wait_for_a_postgres_that_comes_after_the_log() {
    let log = Log::new();
    sell(&log, 1).await;
    let (announce, ready) = watch::channel(None);
    let (clock, tasks) = (Clock::manual(at(0)), Tasks::new());
    let handle = start(log.store.clone(), ready, clock.clone(), tasks.clone(), &Config::default());
    let (router, _) = projection_service::http::router(handle.clone()).split_for_parts();
    let url = fresh_database().await.unwrap();
    let shop = Shop { log, handle, url: url.clone(), clock, tasks, router };
    let answer = shop.get("/v1/orders").await;
    assert_eq!(answer.status, 503, "before Postgres is there");
    announce.send(Some(url)).unwrap();
    shop.caught_up().await;
    assert_eq!(shop.get("/v1/orders").await.ok()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_log_that_ends_before_the_checkpoint_is_named_and_nothing_is_folded() {
    let shop = Shop::start().await;
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    assert!(shop.tasks.shut_down(BOUND).await);
    let shop = Shop::over(Log::new(), shop.url); // Another log, and a shorter one.
    let error = last_error(&shop).await;
    assert!(error.contains("position 3") && error.contains("ends at 0"), "{error}");
    assert_eq!(shop.get("/v1/orders").await.status, 503);
}

#[tokio::test]
async fn a_database_of_another_log_is_refused_and_keeps_its_rows() {
    let shop = Shop::start().await;
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    assert!(shop.tasks.shut_down(BOUND).await);
    let other = Log::new();
    for number in 2..6 {
        sell(&other, number).await; // As long as the first log, so that only what is in it tells them apart.
    }
    let rows = shop.rows("orders").await;
    let shop = Shop::over(other, shop.url);
    let error = last_error(&shop).await;
    assert!(error.contains("another log"), "{error}");
    assert_eq!(shop.rows("orders").await, rows);
}

#[tokio::test]
async fn a_server_that_took_no_writes_for_a_while_is_written_to_again() {
    let cluster = TestCluster::start().await.unwrap();
    let shop = Shop::over(Log::new(), cluster.fresh_database().await.unwrap());
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    // As after a failover: the connections lead to a server that answers and takes no writes (25006), for as long as they
    // live; new ones lead to one that does.
    execute(
        &shop.url,
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on',
        current_database()); end $$; select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'backstitch' and datname = current_database()",
    )
    .await;
    sell(&shop.log, 2).await;
    let read_only = async || {
        while !last_error(&shop).await.contains("read-only transaction") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, read_only()).await.unwrap();
    let mut sql = PgConnection::connect(&shop.url).await.unwrap();
    for each in [
        "set default_transaction_read_only = off",
        "do $$ begin
        execute format('alter database %I reset default_transaction_read_only', current_database()); end $$",
    ] {
        sqlx::raw_sql(each).execute(&mut sql).await.unwrap();
    }
    shop.caught_up().await;
    assert_eq!(shop.rows("orders").await.len(), 2);
}

#[tokio::test]
async fn commits_that_a_failover_has_lost_are_made_again() {
    let shop = Shop::start().await;
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    let kept = *shop.log.store.head().borrow();
    sell(&shop.log, 2).await;
    shop.caught_up().await;
    // As at a standby that took over before the last commits had reached it.
    let mut sql = PgConnection::connect(&shop.url).await.unwrap();
    let back = "update backstitch.projection_checkpoints set position = $1 where projection = 'orders'";
    sqlx::query("delete from read_1.orders where id = $1").bind(order_id(2).0).execute(&mut sql).await.unwrap();
    sqlx::query(back).bind(i64::try_from(kept.0).unwrap()).execute(&mut sql).await.unwrap();
    sell(&shop.log, 3).await;
    shop.caught_up().await;
    assert_eq!(shop.rows("orders").await.len(), 3);
    assert_eq!(sales(&shop).await.0, 3, "the others were not touched");
}

#[tokio::test]
async fn while_a_table_is_locked_others_are_answered_and_the_standstill_is_shown() {
    let shop = Shop::start().await;
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    let mut other = PgConnection::connect(&shop.url).await.unwrap();
    sqlx::raw_sql("set application_name = 'somebody'; begin; lock table read_1.orders in access exclusive mode")
        .execute(&mut other)
        .await
        .unwrap();
    sell(&shop.log, 2).await;
    // More of both classes than there are connections.
    let path = format!("/v1/orders/{}", order_id(1));
    let stuck = (0..40).map(|number| {
        let (router, path) =
            (shop.router.clone(), if number % 2 == 0 { "/v1/orders".to_owned() } else { path.clone() });
        async move { router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status().as_u16() }
    });
    let stuck = JoinSet::from_iter(stuck);
    for _ in 0..20 {
        assert_eq!(shop.get("/v1/products").await.status, 200);
        let payment = domain::ids::PaymentId::derive(order_id(1), 0);
        assert_eq!(shop.get(&format!("/v1/payments/{payment}")).await.status, 200);
    }
    assert!(stuck.join_all().await.iter().all(|status| *status == 503));
    let standing = async || loop {
        let shown = shop.get("/v1/projections").await.ok()["items"][0].clone();
        if shown["state"] == "down" {
            return shown;
        }
        tokio::task::yield_now().await;
    };
    let shown = tokio::time::timeout(BOUND, standing()).await.unwrap();
    assert!(shown["last_error"].as_str().unwrap().contains("(somebody)"), "{shown}");
    assert!(shown["lag_events"].as_u64().unwrap() > 0);
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    shop.caught_up().await;
    let running = async || {
        while shop.get("/v1/projections").await.ok()["items"][0]["state"] != "running" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, running()).await.unwrap();
    assert_eq!(shop.rows("orders").await.len(), 2);
}

#[tokio::test]
async fn a_read_model_that_nothing_happens_to_moves_its_checkpoint_and_keeps_it_at_a_stop() {
    let shop = Shop::start().await;
    sell(&shop.log, 1).await;
    shop.caught_up().await;
    let kept = async |shop: &Shop| -> i64 {
        let mut sql = PgConnection::connect(&shop.url).await.unwrap();
        let shipments = "select position from backstitch.projection_checkpoints where projection = 'shipments'";
        sqlx::query_scalar(shipments).fetch_one(&mut sql).await.unwrap()
    };
    // Nothing of this moves a row of the shipments.
    let head = shop.log.store.head().borrow().0;
    let reached = async || while kept(&shop).await < i64::try_from(head).unwrap() {};
    tokio::time::timeout(BOUND, reached()).await.expect("kept while it runs");
    sell(&shop.log, 2).await;
    shop.caught_up().await;
    let head = shop.log.store.head().borrow().0;
    assert!(shop.tasks.shut_down(BOUND).await);
    assert_eq!(kept(&shop).await, i64::try_from(head).unwrap(), "kept at the stop");
}

async fn last_error(shop: &Shop) -> String {
    loop {
        let statuses = shop.handle.progress.statuses();
        match statuses.into_iter().find_map(|status| status.last_error) {
            Some(error) => return error,
            None => tokio::task::yield_now().await,
        }
    }
}
