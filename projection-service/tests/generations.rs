//! Going back to the generation before, dropping one, looking at tables as they were, and what a new program keeps.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::order;
use event_store::{Direction, EventStore, Filter, Position, RecordedEvent};
use projection_engine::dead_letters::Parked;
use projection_engine::projecting::projection;
use projection_service::{generations, projections};
use serde_json::{Value, json};
use service_kit::pg;
use service_kit::postgres::testing::fresh_database;
use sqlx::{Connection as _, PgConnection, PgPool};
use support::shopkeeper::{Hold, TABLES, Teller, tables_of};
use support::stories::{order_id, placed};
use support::{Shop, rows};

async fn shop(seed: u64) -> Shop {
    let (shop, mut teller) = (Shop::start().await, Teller::new(seed, 8));
    while teller.tell(&shop.log, 100).await {}
    shop.caught_up().await;
    shop
}

async fn rebuilt(shop: &Shop, name: &str, generation: i64) {
    shop.rebuild(name, false).await;
    shop.until(name, generation, "live").await;
    shop.until(name, generation - 1, "previous").await;
}

/// Orders placed at a moment, in seconds.
async fn place(shop: &Shop, numbers: std::ops::Range<u64>, seconds: i64) {
    for number in numbers {
        let placed = order::Event::OrderPlaced(placed(number, &[(1, 2)], seconds));
        shop.log.append(&order_id(number).stream(), vec![placed.encode()], seconds).await;
    }
}

#[tokio::test]
async fn after_an_hour_of_further_orders_the_generation_before_is_current() {
    let shop = shop(21).await;
    rebuilt(&shop, "orders", 2).await;
    rebuilt(&shop, "sales_by_day", 2).await;
    for minute in 0..60 {
        let first = 1_000 + u64::try_from(minute).unwrap() * 2;
        place(&shop, first..first + 2, 100_000 + minute * 60).await;
    }
    shop.caught_up().await;
    for name in ["orders", "sales_by_day"] {
        let before = shop.rows_of(name).await;
        let answer = shop.ask(name, "rollback", "back", json!({ "reason": "a wrong total", "actor": "alice" })).await;
        assert_eq!((answer.status, &answer.body["generation"]), (200, &json!(1)), "{}", answer.body);
        // Once: the same request again changes nothing.
        let again = shop.ask(name, "rollback", "back", json!({ "reason": "a wrong total", "actor": "alice" })).await;
        assert_eq!((again.status, &again.body["generation"]), (200, &json!(1)));
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(shop.rows_of(name).await, before);
        // That readers see generation 1, and that generation 2 goes on as well.
        shop.sql(&format!("update read_2.{0} set global_position = 0", tables_of(name)[0])).await;
        assert_eq!(shop.rows_of(name).await, before);
    }
    assert_eq!(shop.number("select count(*) from live.orders where placed_at is not null").await, 8 + 120);
    let who = "select count(*) from backstitch.generations where state = 'live' and actor = 'alice' and reason = 'a wrong total'";
    assert_eq!(shop.number(who).await, 2);
    place(&shop, 2_000..2_003, 200_000).await;
    shop.caught_up().await;
    for schema in ["read_1", "read_2", "live"] {
        assert_eq!(shop.number(&format!("select count(*) from {schema}.orders")).await, 8 + 123, "{schema}");
    }
}

#[tokio::test]
async fn a_retired_generation_is_fed_no_more_and_its_tables_are_gone() {
    let shop = shop(22).await;
    rebuilt(&shop, "orders", 2).await;
    rebuilt(&shop, "order_timeline", 2).await;
    let refused = shop.ask("orders", "retire", "a", json!({ "generation": 2 })).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("/problems/generation-in-use")));
    for name in ["orders", "order_timeline"] {
        assert_eq!(shop.ask(name, "retire", name, json!({})).await.status, 202);
        shop.until(name, 1, Value::Null).await;
    }
    let there = |name: &str| format!("select count(*) from pg_class where relname = '{name}' and relkind = 'r'");
    assert_eq!(shop.number(&there("orders")).await, 1, "only that of generation 2");
    let marks = "select count(*) from read_1.applied where projection = 'order_timeline'";
    assert_eq!(shop.number(marks).await, 0);
    let refused = shop.ask("orders", "rollback", "b", json!({})).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("/problems/no-previous-generation")));
    assert_eq!(shop.ask("orders", "retire", "c", json!({ "generation": 1 })).await.status, 404);
    place(&shop, 1_000..1_010, 0).await;
    shop.caught_up().await;
    assert_eq!(shop.number("select count(*) from live.orders").await, 18);
}

#[tokio::test]
async fn of_several_rebuilds_the_last_two_generations_stay() {
    let shop = shop(23).await;
    rebuilt(&shop, "products", 2).await;
    rebuilt(&shop, "products", 3).await;
    shop.until("products", 1, Value::Null).await;
    let states = "select count(*) from backstitch.generations where projection = 'products'";
    assert_eq!(shop.number(states).await, 2);
}

#[tokio::test]
async fn a_read_model_is_rebuilt_once_at_a_time() {
    let shop = shop(24).await;
    let mut hold = Hold::on(&shop, "update", "generations", "new.state = 'ready'").await;
    shop.rebuild("orders", false).await;
    hold.caught().await;
    let refused = shop.ask("orders", "rebuild", "other", json!({})).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("/problems/rebuild-in-progress")));
    assert_eq!(shop.ask("payments", "rebuild", "pay", json!({})).await.status, 202);
    let again = shop.ask("payments", "rebuild", "pay", json!({})).await;
    assert_eq!((again.status, again.headers["idempotent-replayed"].to_str().unwrap()), (202, "true"));
    hold.release().await;
    shop.until("orders", 2, "live").await;
    shop.until("payments", 2, "live").await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name() {
    let shop = shop(25).await;
    assert_eq!(shop.get("/v1/projections/nothing").await.status, 404);
    assert_eq!(shop.ask("nothing", "rebuild", "a", json!({})).await.status, 404);
    for (verb, body, field) in [
        ("rebuild", json!({ "acept_differences": true }), "/acept_differences"),
        ("rebuild", json!({ "actor": "" }), "/actor"),
        ("replay", json!({}), ""),
        ("replay", json!({ "to_position": 1, "at": "2026-11-21T00:00:00Z" }), ""),
        ("replay", json!({ "to_position": 1_000_000 }), "/to_position"),
    ] {
        assert_eq!(shop.ask("orders", verb, "b", body).await.refused_field(), field);
    }
    let request = shop.post("/v1/projections/orders/rebuild", "", &json!({})).await;
    assert_eq!(request.refused_field(), "header:Idempotency-Key");
    assert_eq!(shop.number("select count(*) from backstitch.generations where generation > 1").await, 0);
}

/// The rows after the first events of the log, folded plainly.
async fn folded_to(shop: &Shop, until: Position) -> BTreeMap<&'static str, Vec<Value>> {
    let url = fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    generations::prepare(&pool, &projections::read_models(), 1).await.unwrap();
    let events = shop.log.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await;
    let events = events.unwrap().into_iter().filter(|event| event.position <= until).map(Arc::new);
    let (events, store): (Vec<Arc<RecordedEvent>>, _) = (events.collect(), shop.log.store.clone());
    pg::tx(&pool, "read_1", move |sql| {
        Box::pin(async move {
            for mut member in projections::all() {
                let taken: Vec<_> = events.iter().filter(|event| member.takes(&event.stream)).cloned().collect();
                projection::apply(&mut *member, sql, &*store, &taken, &mut Parked::default()).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    pool.close().await;
    let mut all = BTreeMap::new();
    for table in TABLES.iter().flat_map(|(_, tables)| *tables) {
        all.insert(*table, rows(&url, table).await);
    }
    all
}

#[tokio::test]
async fn a_replay_shows_the_tables_as_they_were_and_touches_no_other() {
    let shop = shop(26).await;
    let head = *shop.log.store.head().borrow();
    let now = folded_to(&shop, head).await;
    for until in [Position(0), Position(head.0 / 3), Position(head.0 / 2), head] {
        let expected = folded_to(&shop, until).await;
        for (name, tables) in TABLES {
            let asked = json!({ "to_position": until.0 });
            let answer = shop.ask(name, "replay", &format!("{name}-{until}"), asked).await;
            assert_eq!(answer.status, 202, "{}", answer.body);
            let number = answer.body["generations"].as_array().unwrap().last().unwrap()["generation"].as_i64().unwrap();
            let shown = shop.until(name, number, "replayed").await;
            let schema = shown["schema"].as_str().unwrap();
            assert_eq!(schema, format!("replay_{name}_{number}"));
            let rows = shop.rows_of_in(name, schema).await;
            for table in *tables {
                assert_eq!(rows[table], expected[table], "{table} at {until}");
                assert_eq!(shown["row_counts"][*table], rows[table].len());
                assert_eq!(shop.rows(table).await, now[table], "the live {table}");
            }
        }
    }
    assert_ne!(folded_to(&shop, Position(head.0 / 2)).await, now, "a half is not the whole");
    let fifth = shop.ask("orders", "replay", "fifth", json!({ "to_position": head.0 })).await;
    assert_eq!((fifth.status, &fifth.body["type"]), (409, &json!("/problems/too-many-replays")));
    assert_eq!(shop.ask("orders", "retire", "drop", json!({ "generation": 2 })).await.status, 202);
    shop.until("orders", 2, Value::Null).await;
    assert_eq!(shop.number("select count(*) from pg_namespace where nspname = 'replay_orders_2'").await, 0);
}

#[tokio::test]
async fn a_replay_to_a_moment_has_what_the_log_held_then() {
    let shop = shop(27).await;
    let events =
        shop.log.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await.unwrap();
    let middle = &events[events.len() / 2];
    let held = events.iter().filter(|event| event.recorded_at <= middle.recorded_at).map(|event| event.position).max();
    let answer = shop.ask("orders", "replay", "then", json!({ "at": middle.recorded_at })).await;
    assert_eq!(answer.body["generations"][1]["target"], held.unwrap().0);
    let before = shop.ask("orders", "replay", "before", json!({ "at": "2000-01-01T00:00:00Z" })).await;
    assert_eq!(before.body["generations"][2]["target"], 0);
    shop.until("orders", 2, "replayed").await;
    shop.until("orders", 3, "replayed").await;
}

#[tokio::test]
async fn a_program_that_changes_one_read_model_folds_that_one_again_and_keeps_the_others() {
    let shop = shop(28).await;
    rebuilt(&shop, "orders", 2).await;
    let whole = shop.rows_of("orders").await;
    assert!(shop.tasks.shut_down(support::BOUND).await);
    // The rows of an older program: another shape, and a mark by which they are known.
    shop.sql("update backstitch.generations set shape = 'older' where projection = 'orders'").await;
    assert!(shop.sql("update live.orders set tags = '[\"old\"]'; ").await > 0);
    assert!(shop.sql("update live.payments set payment_method = 'kept'").await > 0);
    let shop = Shop::over(shop.log, shop.url);
    shop.caught_up().await;
    assert_eq!(shop.rows_of("orders").await, whole);
    assert_eq!(shop.generation("orders", 1).await["state"], "live");
    assert_eq!(shop.generation("orders", 2).await, Value::Null, "what this program cannot feed is gone");
    assert_eq!(shop.number("select count(*) from live.payments where payment_method <> 'kept'").await, 0);
    assert_eq!(shop.get("/v1/orders").await.ok()["items"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn rows_of_the_release_before_are_folded_again() {
    let shop = shop(29).await;
    let whole = shop.rows_of("orders").await;
    assert!(shop.tasks.shut_down(support::BOUND).await);
    shop.sql(
        "drop schema live cascade; drop table backstitch.generations;
         create table backstitch.generations (generation integer primary key, shape text not null, log uuid);
         insert into backstitch.generations values (1, 'old', null); update read_1.orders set status = 'old'",
    )
    .await;
    let shop = Shop::over(shop.log, shop.url);
    shop.caught_up().await;
    assert_eq!(shop.rows_of("orders").await, whole);
}

#[tokio::test]
async fn readers_look_rows_up_through_the_views_as_in_the_tables() {
    let shop = shop(30).await;
    rebuilt(&shop, "orders", 2).await;
    let plan = format!(
        "set enable_seqscan = off; create temp table plan (line text);
         do $$ declare line text; begin
           for line in explain select * from live.order_details where id = '{}' loop
             insert into plan values (line);
           end loop; end $$;",
        order_id(1).0
    );
    let mut connection = PgConnection::connect(&shop.url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(plan)).execute(&mut connection).await.unwrap();
    let lines: Vec<String> = sqlx::query_scalar("select line from plan").fetch_all(&mut connection).await.unwrap();
    assert!(lines.iter().any(|line| line.contains("Index Scan using orders_pkey on orders")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("Seq Scan")), "{lines:#?}");
}

#[tokio::test]
async fn tables_of_release_0_2_0_with_the_same_rows_are_kept_and_get_its_new_indexes() {
    let shop = shop(31).await;
    assert!(shop.tasks.shut_down(support::BOUND).await);
    // As 0.2.0 wrote them (`backstitch/tests/upgrade`): the indexes counted too, and there were fewer.
    for (name, shape) in [
        ("shipments", "6ece564d51a35c059a8139670293d1fd"),
        ("stock", "b3b124bfbaf757a8984c4dc722e91bb7"),
        ("order_timeline", "de2ff4730c7f5aa180c1c3a78b60f3c2"),
    ] {
        let written = format!("update backstitch.generations set shape = '{shape}' where projection = '{name}'");
        assert_eq!(shop.sql(&written).await, 1);
    }
    shop.sql("drop index read_1.shipments_by_status").await;
    shop.sql("drop index read_1.reservations_by_state").await;
    let kept = "select sum(oid::bigint)::bigint from pg_class where oid in ('read_1.shipments'::regclass,
        'read_1.stock_levels'::regclass, 'read_1.reservations'::regclass, 'read_1.order_timeline'::regclass)";
    let before = shop.number(kept).await;
    let shop = Shop::over(shop.log, shop.url);
    shop.caught_up().await;
    assert_eq!(shop.number(kept).await, before, "no table was made anew");
    let made = "select count(*) from pg_indexes where schemaname = 'read_1'
        and indexname in ('shipments_by_status', 'reservations_by_state')";
    assert_eq!(shop.number(made).await, 2);
}
