//! The server killed (`kill -9`) in the middle of its work: nothing that was answered is lost, nothing is done twice.

use std::path::Path;
use std::time::Duration;

use event_store::{EventStore, RecordedEvent, SqliteOptions, SqliteStore, StreamSnapshot};
use futures_util::stream::{self, StreamExt as _};
use saga_orchestrator::CHECKPOINT_STREAM;
use serde::Deserialize;
use trials::demo::client::Client;
use trials::demo::{Ledger, live};

use crate::world::{PATIENCE, Shopper, World, statuses};

#[derive(Deserialize)]
struct Page {
    items: Vec<RecordedEvent>,
}

/// Waits until the log of the server at `client` is at `position` or beyond; returns where it is.
async fn until_position(client: &Client, position: u64) -> u64 {
    let waiting = async {
        loop {
            let answer = client.get(&format!("/v1/events?after={}&limit=1", position - 1)).await.unwrap();
            if answer.status == 410 {
                continue; // The log does not go so far yet.
            }
            let page: Page = serde_json::from_value(answer.good().unwrap().body).unwrap();
            if let Some(event) = page.items.first() {
                return event.position.0;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("the log never came to {position}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_again_and_again_under_load_loses_nothing_and_does_nothing_twice() {
    let mut shop = World::start().await;
    let (url, bank) = (shop.processes.server.url.clone(), shop.processes.provider.url.clone());
    let client = shop.client.clone();
    let customers = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(&url, &Ledger::Provider(bank), "CRASH", 60)).unwrap()
    });
    // Three times, each after so much more work: the moment is where the log is, not what the clock says.
    let mut kills = Vec::new();
    for position in [120, 420, 800] {
        kills.push(until_position(&client, position).await);
        assert!(!customers.is_finished(), "killed in the middle of the work, not after it");
        shop.processes.kill_and_restart().await.unwrap();
    }
    let outcome = customers.await.unwrap();
    let failed: Vec<_> = outcome.checks.iter().filter(|check| !check.holds).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!((outcome.ends.len(), kills.len()), (60, 3));
    assert!(outcome.books.position > kills[2], "work went on after the last kill");
    shop.adds_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_goes_on_from_wherever_the_server_was_killed() {
    // The first kill finds the order just placed, each later one finds its saga some events further.
    let mut ends = Vec::new();
    let mut shop = World::start().await;
    shop.product("MUG", 100).await;
    for further in [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18] {
        let key = format!("cut-{further}");
        let (order, position) = shop.place(&key, &[("MUG", 1)], "tok_approve").await;
        let cut = position.unwrap() + further;
        // An order comes to rest at some event; what lies beyond cannot be waited for.
        let reached = tokio::time::timeout(Duration::from_secs(2), until_position(&shop.client, cut)).await;
        shop.processes.kill_and_restart().await.unwrap();
        ends.push((reached.is_ok(), shop.settled(&order, position).await));
    }
    assert!(ends.iter().filter(|(reached, _)| *reached).count() >= 8, "most cuts were in the middle of a saga");
    for (_, end) in &ends {
        assert_eq!(statuses(end), ("confirmed", "authorized", "planned"));
        shop.deliver(&shop.ready(end).await).await;
    }
    let books = shop.adds_up().await;
    assert_eq!(books.orders.len(), ends.len());
    assert!(books.orders.values().all(|order| order.pieces_shipped == 1));
    assert_eq!(shop.statement().await.max_effects_per_key, 1);
}

/// Orders whose sagas one start begins: more than the log's queue of reads has room for.
const BEGUN_AT_ONCE: usize = 2_000;

/// Waits until a saga has come to this step; `None`: until it has begun.
async fn until_saga_is_at(client: &Client, order: &str, step: Option<&str>) {
    let path = format!("/v1/sagas/order_fulfilment-{order}");
    let waiting = async {
        loop {
            // Not begun yet, it is not found.
            let answer = client.get(&path).await.unwrap();
            if answer.status == 200 && step.is_none_or(|step| answer.body["step"] == step) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("the saga of {order} never came to {step:?}"))
}

/// As a kill before the first checkpoint leaves it: the sagas have begun, and no checkpoint knows of them.
async fn without_checkpoint(data: &Path) {
    let store = SqliteStore::open(data, SqliteOptions::default()).unwrap();
    let unknown = StreamSnapshot { version: 0, schema: 0, state: String::new() };
    store.save_snapshot(&CHECKPOINT_STREAM.parse().unwrap(), unknown).await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_with_a_thousand_open_sagas_goes_on_with_all_of_them() {
    let settings = [
        ("BACKSTITCH__PROVIDER__MODE", "instant"),
        ("BACKSTITCH__RUN__PROJECTIONS", "false"),
        ("BACKSTITCH__RUN__SAGAS", "false"),
    ];
    let mut shop = World::start_with(&settings.map(|(key, value)| (key, value.to_owned()))).await;
    shop.product("MUG", 10_000).await;
    let placing = (0..BEGUN_AT_ONCE).map(|n| {
        let shop = &shop;
        async move { shop.place(&format!("open-{n}"), &[("MUG", 1)], "tok_approve").await.0 }
    });
    let orders: Vec<String> = stream::iter(placing).buffered(32).collect().await;
    shop.processes.set("BACKSTITCH__RUN__SAGAS", "true");
    shop.processes.kill_and_restart().await.unwrap();
    for order in &orders[BEGUN_AT_ONCE - 10..] {
        until_saga_is_at(&shop.client, order, None).await;
    }
    shop.processes.server.kill().unwrap();
    without_checkpoint(&shop.processes.data()).await;
    shop.processes.restart().await.unwrap();
    // The log is read while all of them are begun a second time, and every saga goes on.
    assert_eq!(shop.client.get("/v1/store/stats").await.unwrap().status, 200);
    let (late, _) = shop.place("late", &[("MUG", 1)], "tok_approve").await;
    for order in orders.iter().chain([&late]) {
        until_saga_is_at(&shop.client, order, Some("plan_shipment")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_killed_in_the_middle_is_asked_again_and_moves_money_once() {
    let mut shop = World::start().await;
    shop.product("MUG", 50).await;
    let mut placed = Vec::new();
    for n in 0..8 {
        placed.push(shop.place(&format!("bank-{n}"), &[("MUG", 1)], "tok_approve").await);
    }
    shop.processes.provider.kill().unwrap();
    for n in 8..12 {
        placed.push(shop.place(&format!("bank-{n}"), &[("MUG", 1)], "tok_approve").await);
    }
    shop.processes.restart_bank().await.unwrap();
    for (order, position) in placed {
        let end = shop.settled(&order, position).await;
        assert_eq!(statuses(&end), ("confirmed", "authorized", "planned"), "{}", end.body);
        shop.deliver(&shop.ready(&end).await).await;
    }
    let books = shop.adds_up().await;
    assert_eq!(books.count("payment", "PaymentCaptured"), 12);
    assert_eq!(shop.statement().await.max_effects_per_key, 1);
}
