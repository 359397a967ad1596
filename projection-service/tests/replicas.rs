//! What operators do where several replicas share the partitions: parked streams, rebuilds, and what becomes of both when
//! a replica dies.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::BTreeMap;

use domain::order;
use serde_json::{Value, json};
use service_kit::postgres::testing::fresh_database;
use support::applying::{all_events, all_rows};
use support::books::{Books, in_order};
use support::shopkeeper::{Hold, TABLES, Teller, long_story};
use support::split::{Fed, Manner, Member, partition_of};
use support::stories::{order_id, placed};
use support::{BOUND, Log, Shop};

/// Two replicas over one log and one database; the first feeds the even partitions, the second the odd ones.
struct Pair {
    log: Log,
    url: String,
    members: [Member; 2],
    fed: Vec<Fed>,
}

impl Pair {
    async fn start(partitions: u32) -> Self {
        let (log, url) = (Log::new(), fresh_database().await.unwrap());
        let members = ["a", "b"].map(|name| Member::start(&log, &url, name, partitions));
        let fed = (0..partitions).map(|part| members[part as usize % 2].feed(part, Manner::plain())).collect();
        Self { log, url, members, fed }
    }

    fn shop(&self, replica: usize) -> Shop {
        self.members[replica].shop(self.log.clone(), &self.url)
    }

    async fn caught_up(&self) {
        for member in &self.members {
            member.caught_up().await;
        }
    }

    async fn stop(self) {
        drop(self.fed);
        for member in self.members {
            member.stop().await;
        }
    }
}

/// `OrderHeld` without its reason.
fn poison() -> domain::EncodedEvent {
    let mut broken = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    broken.event_type = "OrderHeld";
    broken
}

fn path(stream: &str, verb: &str) -> String {
    format!("/v1/dead-letters/orders/{stream}{verb}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_stream_is_seen_from_every_replica_and_acted_on_by_the_one_that_feeds_it() {
    let pair = Pair::start(4).await;
    let number = (1..).find(|number| partition_of(&order_id(*number).to_string(), 4).is_multiple_of(2)).unwrap();
    let stream = order_id(number).stream();
    let first = order::Event::OrderPlaced(placed(number, &[(1, 2)], 0)).encode();
    let confirmed = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    pair.log.append(&stream, vec![first, poison(), confirmed], 0).await;
    pair.caught_up().await;
    let (owner, other) = (pair.shop(0), pair.shop(1));
    for shop in [&owner, &other] {
        let listed = shop.get("/v1/dead-letters?projection=orders").await.ok();
        assert_eq!(listed["items"][0]["stream"], stream.as_str(), "{listed}");
        assert_eq!(shop.get(&path(&stream, "")).await.ok()["waiting"], 1);
        let shown = shop.get(&format!("/v1/orders/{}", order_id(number))).await.ok();
        assert_eq!(shown["stale"][0]["stream"], stream.as_str(), "{shown}");
    }
    for verb in ["/try", "/retry", "/discard"] {
        let body = if verb == "/discard" { json!({ "reason": "it says nothing" }) } else { json!({}) };
        let refused = other.post(&path(&stream, verb), "key", &body).await;
        assert_eq!((refused.status, &refused.body["type"]), (421, &json!("/problems/misdirected")), "{}", refused.body);
    }
    let tried = owner.post(&path(&stream, "/retry"), "key", &json!({})).await.ok();
    assert_eq!((&tried["up_to_date"], &tried["stands"]["attempts"]), (&json!(false), &json!(2)));
    let done = owner.post(&path(&stream, "/discard"), "key", &json!({ "reason": "it says nothing" })).await.ok();
    assert_eq!((&done["discarded"], &done["up_to_date"]), (&json!(1), &json!(true)), "{done}");
    assert_eq!(other.get(&path(&stream, "")).await.status, 404);
    // Another replica hears of it at its next look.
    let path_of_order = format!("/v1/orders/{}", order_id(number));
    let current = async { while other.get(&path_of_order).await.ok()["stale"] != Value::Null {} };
    assert!(tokio::time::timeout(BOUND, current).await.is_ok());
    assert_eq!(other.get(&path_of_order).await.ok()["status"], "confirmed");
    assert_eq!(owner.post(&path("order-nowhere", "/retry"), "key", &json!({})).await.status, 404);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_owner_parked_stays_parked_in_the_hands_of_the_next() {
    let mut pair = Pair::start(1).await;
    let stream = order_id(7).stream();
    let first = order::Event::OrderPlaced(placed(7, &[(1, 2)], 0)).encode();
    pair.log.append(&stream, vec![first, poison()], 0).await;
    pair.caught_up().await;
    pair.fed.remove(0).revoke().await;
    let refused = pair.shop(0).post(&path(&stream, "/retry"), "key", &json!({})).await;
    assert_eq!(refused.status, 421, "it feeds it no more: {}", refused.body);
    pair.fed.push(pair.members[1].feed(0, Manner::plain()));
    let confirmed = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    pair.log.append(&stream, vec![confirmed], 0).await;
    pair.caught_up().await;
    assert_eq!(pair.shop(0).get(&path(&stream, "")).await.ok()["waiting"], 1);
    let done = pair.shop(1).post(&path(&stream, "/discard"), "k", &json!({ "reason": "so" })).await.ok();
    assert_eq!(done["up_to_date"], true, "{done}");
    pair.stop().await;
}

async fn assert_as_folded(log: &Log, url: &str) {
    let (books, rows) = (Books::fold(&all_events(log).await), all_rows(url).await);
    books.tables().for_each(|table| assert_eq!(in_order(rows[table].clone()), books.rows(table), "{table}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_model_is_rebuilt_switched_taken_back_and_retired_over_all_replicas() {
    let (pair, mut teller) = (Pair::start(4).await, Teller::new(51, 30));
    long_story(&pair.log, 900, 6).await;
    teller.tell(&pair.log, 200).await;
    pair.caught_up().await;
    let (one, other) = (pair.shop(0), pair.shop(1));
    for (index, (name, _)) in TABLES.iter().enumerate() {
        [&one, &other][index % 2].rebuild(name, false).await; // Each replica can be asked, whichever of them works on it.
    }
    while teller.tell(&pair.log, 20).await {}
    for (name, _) in TABLES {
        let live = other.until(name, 2, "live").await;
        assert_eq!(live["comparison"]["differences"], 0, "{live}");
        one.until(name, 1, "previous").await;
    }
    pair.caught_up().await;
    assert_as_folded(&pair.log, &pair.url).await;
    let back = other.ask("orders", "rollback", "back", json!({})).await;
    assert_eq!(back.status, 200, "{}", back.body);
    assert_eq!(one.generation("orders", 1).await["state"], "live");
    assert_eq!(one.get("/v1/projections/orders").await.ok()["generation"], 1);
    long_story(&pair.log, 901, 1).await;
    pair.caught_up().await;
    assert_as_folded(&pair.log, &pair.url).await;
    assert_eq!(one.ask("orders", "retire", "drop", json!({ "generation": 2 })).await.status, 202);
    other.until("orders", 2, Value::Null).await;
    let head = *event_store::EventStore::head(&*pair.log.store).borrow();
    assert_eq!(other.ask("orders", "replay", "then", json!({ "to_position": head.0 })).await.status, 202);
    let number = other.get("/v1/projections/orders").await.ok()["generations"][1]["generation"].as_i64().unwrap();
    let shown = one.until("orders", number, "replayed").await;
    let counted = |rows: &BTreeMap<&str, Vec<Value>>| rows["orders"].len();
    assert_eq!(shown["row_counts"]["orders"], counted(&one.rows_of("orders").await));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_in_one_partition_s_rows_is_found_and_blocks_the_switch() {
    let (pair, mut teller) = (Pair::start(3).await, Teller::new(52, 10));
    while teller.tell(&pair.log, 50).await {}
    pair.caught_up().await;
    let shop = pair.shop(1);
    assert_eq!(
        shop.sql(
            "update live.orders set tags = '[\"edited\"]' where id = (select min(id::text)::uuid from live.orders)"
        )
        .await,
        1
    );
    shop.rebuild("orders", false).await;
    let differs = shop.until("orders", 2, "differs").await;
    assert_eq!(differs["comparison"]["differences"], 1, "{differs}");
    shop.rebuild("orders", true).await;
    pair.shop(0).until("orders", 2, "live").await;
    assert_as_folded(&pair.log, &pair.url).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_whose_replica_dies_is_gone_on_with_by_another() {
    let (log, url) = (Log::new(), fresh_database().await.unwrap());
    let first = Member::start(&log, &url, "a", 2);
    let fed = first.feed_all(&Manner::plain());
    long_story(&log, 900, 6).await;
    first.caught_up().await;
    let mut hold = Hold::at(&url, "update", "generations", "new.state = 'ready'").await;
    first.shop(log.clone(), &url).rebuild("orders", false).await;
    hold.caught().await;
    // It is gone in the middle of a step, with whatever it held.
    let dying = first.tasks.clone();
    dying.stop();
    let second = Member::start(&log, &url, "b", 2);
    let fed_after = second.feed_all(&Manner::plain());
    let shop = second.shop(log.clone(), &url);
    let gone = "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and objid = 77
        and not granted and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(shop.number(gone).await, 1);
    hold.release().await;
    assert!(dying.shut_down(BOUND).await);
    let live = shop.until("orders", 2, "live").await;
    assert_eq!(live["comparison"]["differences"], 0, "{live}");
    second.caught_up().await;
    assert_as_folded(&log, &url).await;
    drop((fed, fed_after));
    second.stop().await;
}
