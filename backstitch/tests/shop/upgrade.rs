//! Data that an earlier release wrote: `backstitch/tests/upgrade/` holds the folder of a shop that was killed in the middle of its
//! work, and `make` there is the script that made it. This build takes it over and brings every saga to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::saga::SagaState;
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::postgres::testing::fresh_database;
use trials::demo::books::Books;

use crate::world::{Shopper, World};

/// Rounds in which people and the warehouse act. An order needs at most five of them: its review ends, its hold ends, the
/// customer confirms, the parcel is packed, it arrives.
const ROUNDS_MAX: usize = 12;

/// What the script that made the folder noted of it.
#[derive(Deserialize)]
struct Scene {
    /// How many active sagas it left in each step, and how large the log was.
    steps: BTreeMap<String, u64>,
    /// The orders of each part of the scene.
    orders: BTreeMap<String, Vec<String>>,
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Unpacks the folder that `release` left behind.
fn unpacked(release: &str) -> (tempfile::TempDir, Scene) {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/upgrade/{release}.tar.xz"));
    let folder = tempfile::Builder::new().prefix("backstitch-upgrade-").tempdir().unwrap();
    run(Command::new("tar").arg("-C").arg(folder.path()).arg("-xJf").arg(&archive));
    let scene = std::fs::read_to_string(folder.path().join("scene.json")).unwrap();
    (folder, serde_json::from_str(&scene).unwrap())
}

/// A database with the read models that stood beside the log.
async fn restored(folder: &Path) -> String {
    let url = fresh_database().await.unwrap();
    let dump = folder.join("read-models.sql");
    run(Command::new(psql()).args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", &url, "-f"]).arg(dump));
    url
}

/// `psql` beside the server binaries that the tests use, else the one in the path.
fn psql() -> PathBuf {
    let beside = std::env::var("BACKSTITCH_POSTGRES_BIN").map(|bin| Path::new(&bin).join("psql"));
    beside.ok().filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("psql"))
}

/// What people, the warehouse and the customer owe to an order, done. What it does not wait for is refused, and that is fine.
async fn act_on(shop: &World, round: usize, order: &Value) {
    let id = order["id"].as_str().unwrap();
    let mut acts = Vec::new();
    if order["held_reason"].is_string() {
        acts.push((format!("/v1/orders/{id}/assess"), json!({"assessment": "approve", "assessed_by": "the test"})));
        acts.push((format!("/v1/orders/{id}/release"), json!({})));
    }
    if order["payment_status"] == "action_required" {
        let payment = order["payment_id"].as_str().unwrap();
        acts.push((format!("/v1/provider/actions/{payment}/approve"), json!({})));
    }
    if let Some(shipment) = order["shipment_id"].as_str() {
        match order["fulfilment_status"].as_str() {
            Some("planned") => acts.push((format!("/v1/shipments/{shipment}/ready"), json!({}))),
            Some("dispatched") => acts.push((format!("/v1/shipments/{shipment}/deliver"), json!({}))),
            Some(_) | None => {}
        }
    }
    for (path, body) in acts {
        let answer = shop.client.post(&path, &format!("{round} {path}").replace(' ', "-"), &body).await.unwrap();
        assert!(answer.status < 500, "{path}: {}", answer.body);
    }
}

/// The sagas that have not come to rest, and those that wait for an operator.
fn open_sagas(books: &Books) -> (Vec<String>, Vec<String>) {
    let (mut active, mut attention) = (Vec::new(), Vec::new());
    for order in books.orders.keys() {
        for (stream, view) in books.sagas_of(*order) {
            match view.state() {
                SagaState::Completed | SagaState::Compensated | SagaState::HandedOver => {}
                SagaState::NeedsAttention => attention.push(stream.trim_start_matches("saga_").to_owned()),
                SagaState::Running | SagaState::Waiting | SagaState::Compensating => active.push(order.to_string()),
            }
        }
    }
    (active, attention)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_0_2_0_was_killed_in_is_taken_over_and_every_saga_comes_to_its_end() {
    let (folder, scene) = unpacked("0.2.0-a434635");
    let wal = std::fs::metadata(folder.path().join("data/events.db-wal")).unwrap().len();
    assert!(wal > 0 && wal == scene.steps["wal bytes"], "the log was not closed");
    let database = restored(folder.path()).await;
    let shop = World::go_on_in(folder, &[("BACKSTITCH__POSTGRES__URL", database)]).await;
    let before = shop.books().await;
    assert!(before.events >= scene.steps["events"], "nothing of the old log is missing");
    let (active, _) = open_sagas(&before);
    assert!(active.len() > 30, "only {} sagas were under way", active.len());

    let mut rounds = 0;
    loop {
        let (active, attention) = open_sagas(&shop.books().await);
        if active.is_empty() && attention.is_empty() {
            break;
        }
        assert!(rounds < ROUNDS_MAX, "still under way: {active:?}");
        rounds += 1;
        for saga in attention {
            // A step is tried once more; what the provider then refuses again, a refund, is made by hand.
            let action = if rounds < 4 { "retry" } else { "skip" };
            let reason = json!({"reason": "after the upgrade"});
            shop.client
                .post(&format!("/v1/sagas/{saga}/{action}"), &format!("{rounds}-{saga}"), &reason)
                .await
                .unwrap();
        }
        for order in &active {
            let order = shop.settled(order, None).await;
            act_on(&shop, rounds, &order.body).await;
        }
    }
    let books = shop.adds_up().await;
    assert!(books.events > before.events + 500, "work went on");
    assert_eq!(books.orders.len(), before.orders.len());
    let less = &scene.orders["less_was_captured"];
    let shipped = books.orders.values().filter(|order| order.dispatched && less.contains(&order_id(order))).count();
    assert_eq!((less.len(), shipped), (2, 1), "one of the two was shipped, the other given back");
}

fn order_id(order: &trials::demo::books::OrderBook) -> String {
    order.placed.order_id.to_string()
}
