//! A poisoned event in the log of a running shop: seen, understood and repaired from the command line.

use std::process::{Command, Output};
use std::sync::Arc;

use event_store::{Append, EventStore, Expected, Metadata, NewEvent};
use serde_json::{Value, json};

use crate::world::{PROGRAM, Shopper, Turned, metric};

/// `dead-letter` as people type it; its exit code, and what it says on stdout.
async fn dead_letter(shop: &Turned, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(PROGRAM);
    command.arg("dead-letter").args(arguments).args(["--url", &shop.system.url()]).env("NO_COLOR", "1");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = run.await.unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert!(status.code().is_some_and(|code| code < 2), "{said}{}", String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), said)
}

/// Appends a price change without a price, and an event behind it, past all commands.
async fn poison(shop: &Turned, sku: &str) {
    let stream = format!("product-{sku}").parse().unwrap();
    let metadata = Arc::new(Metadata {
        partition_key: format!("product-{sku}"),
        correlation_id: uuid::Uuid::nil(),
        causation_id: uuid::Uuid::nil(),
        command_id: uuid::Uuid::nil(),
        command_hash: None,
        traceparent: None,
        actor: "nobody".to_owned(),
        occurred_at: shop.clock.now(),
    });
    let event = |number: &str, event_type: &str| NewEvent {
        id: domain::ids::derive(&["poison", sku, number]),
        event_type: event_type.into(),
        schema_version: 1,
        data: serde_json::value::to_raw_value(&json!({})).unwrap(),
        metadata: Arc::clone(&metadata),
    };
    let events = vec![event("1", "ProductPriceChanged"), event("2", "ProductDiscontinued")];
    let append = Append { stream, expected: Expected::Any, events };
    let ticket = shop.system.store.append(append).await.unwrap();
    let at = ticket.durable().await.unwrap().position.to_string();
    let (url, http) = (format!("{}/v1/products", shop.system.url()), reqwest::Client::new());
    let newer = http.get(url).header("x-min-position", at).header("prefer", "wait=30").send().await.unwrap();
    assert_eq!(newer.status(), 200, "a wait for what is behind a poisoned event ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_event_is_found_understood_and_moved_past_from_the_command_line() {
    let shop = Turned::start().await;
    shop.product("GOOD", 5).await;
    shop.product("BAD", 5).await;
    poison(&shop, "BAD").await;
    let product = async |sku: &str| shop.client.get(&format!("/v1/products/{sku}")).await.unwrap().body;
    let stale: Value = json!([{"projection": "products", "stream": "product-BAD", "version": 2}]);
    assert_eq!(product("BAD").await["stale"], stale);
    assert!(product("GOOD").await.get("stale").is_none());
    assert!((metric(&shop.client, "backstitch_projection_parked_streams", "products").await - 1.0).abs() < 0.1);

    let (code, said) = dead_letter(&shop, &["list"]).await;
    assert!(code == 0 && said.contains("product-BAD") && said.contains("ProductPriceChanged"), "{said}");
    let (code, said) = dead_letter(&shop, &["show", "products", "product-BAD"]).await;
    assert!(code == 0 && said.contains("unreadable") && said.contains("1 later event"), "{said}");
    let (code, said) = dead_letter(&shop, &["try", "products", "product-BAD"]).await;
    assert!(code == 1 && said.contains("stands at version 2"), "{said}");
    let (code, said) = dead_letter(&shop, &["retry", "--projection", "products", "--yes", "--json"]).await;
    assert!(code == 1 && said.contains("\"attempts\":2"), "{said}");
    let discard = ["discard", "products", "product-BAD", "--reason", "a test wrote it", "--actor", "alice", "--yes"];
    let (code, said) = dead_letter(&shop, &discard).await;
    assert!(code == 0 && said.contains("moved past"), "{said}");

    let (code, said) = dead_letter(&shop, &["list", "--json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()["items"].clone()), (0, json!([])));
    let bad = product("BAD").await;
    assert!(bad.get("stale").is_none(), "{bad}");
    assert_eq!((&bad["status"], &bad["version"]), (&json!("discontinued"), &json!(3)));
    shop.system.stop().await;
}
