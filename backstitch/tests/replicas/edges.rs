//! What a command service of its own says at its edges: what it does not serve, how it stops, what it cannot start with.

use serde_json::{Value, json};

use crate::world::World;

fn product(sku: &str) -> Value {
    json!({"sku": sku, "name": format!("A {sku}"), "price": {"amount": 1_000, "currency": "EUR"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_its_contexts_and_sends_the_rest_elsewhere() {
    let world = World::start().await;
    let catalogue = world.replica(&[("BACKSTITCH__COMMAND__CONTEXTS", "product")]).await;
    let orders = world.replica(&[("BACKSTITCH__COMMAND__CONTEXTS", "order")]).await;
    assert_eq!(catalogue.post("/v1/products", "p", &product("MUG")).await.status(), 201);
    let order = json!({
        "customer_id": "0191b0a4-7c1e-7e53-bb4e-0d1f9a2f6a10",
        "lines": [{"sku": "MUG", "quantity": 1}],
        "payment_method": "tok_approve",
    });
    let misdirected = catalogue.post("/v1/orders", "o", &order).await;
    assert_eq!(misdirected.status(), 421);
    let problem: Value = misdirected.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/misdirected", "{problem}");
    assert_eq!(orders.post("/v1/orders", "o", &order).await.status(), 201, "prices are read all the same");
    for path in ["/v1/stock/MUG/main/receive", "/v1/shipments/0191b0a4-7c1e-7e53-bb4e-0d1f9a2f6a10/ready"] {
        assert_eq!(orders.post(path, "k", &json!({"quantity": 1})).await.status(), 421, "{path}");
    }
    for path in ["/v1/provider", "/v1/provider/ledger", "/v1/provider-inbox"] {
        assert_eq!(reqwest::get(orders.http(path)).await.unwrap().status(), 421, "{path}");
    }
    assert_eq!(orders.post("/v1/payments/webhooks/simulated", "k", &json!({})).await.status(), 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_stop_ends_well() {
    let world = World::start().await;
    let replica = world.replica(&[]).await;
    let health: Value = reqwest::get(replica.http("/health")).await.unwrap().json().await.unwrap();
    assert_eq!((&health["ready"], &health["dependencies"]["event-store"]["status"]), (&json!(true), &json!("up")));
    assert!(replica.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_log_commands_are_unavailable_for_now_and_health_says_why() {
    let world = World::start().await;
    let away = [("BACKSTITCH__EVENT_STORE__URL", "kurrentdb://127.0.0.1:1?tls=false&defaultDeadline=300")];
    let replica = world.replica(&away).await;
    let refused = replica.post("/v1/products", "p", &product("MUG")).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
    let health: Value = reqwest::get(replica.http("/health")).await.unwrap().json().await.unwrap();
    let store = &health["dependencies"]["event-store"];
    assert_eq!((&health["ready"], &store["status"]), (&json!(false), &json!("down")), "{health}");
    assert_eq!(reqwest::get(replica.http("/health/ready")).await.unwrap().status(), 503);
}
