//! Orders over HTTP.

use serde_json::{Value, json};

use crate::world::World;

pub fn product_body(sku: &str, cents: i64) -> Value {
    json!({"sku": sku, "name": format!("A {sku}"), "price": {"amount": cents, "currency": "EUR"}})
}

pub async fn product(world: &World, sku: &str, cents: i64) {
    let got = world.post("/v1/products", sku, &product_body(sku, cents)).await;
    assert_eq!(got.status, 201, "{got:?}");
}

pub fn order(lines: &[(&str, i64)]) -> Value {
    let lines: Vec<Value> = lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    json!({"customer_id": "0191b0a4-7c1e-7e53-bb4e-0d1f9a2f6a10", "lines": lines, "payment_method": "tok_approve"})
}

#[tokio::test]
async fn an_order_is_placed_at_our_prices_and_pending() {
    let world = World::new();
    product(&world, "A", 999).await;
    product(&world, "B", 500).await;
    let got = world.post("/v1/orders", "o", &order(&[("A", 2), ("B", 1)])).await;
    assert_eq!(got.status, 201, "{got:?}");
    let id = got.body["id"].as_str().unwrap();
    assert_eq!(got.header("location"), Some(format!("/v1/orders/{id}").as_str()));
    assert_eq!((&got.body["status"], &got.body["version"]), (&json!("pending"), &json!(0)));
    let cents = |field: &str| got.body[field]["amount"].as_i64().unwrap();
    assert_eq!((cents("subtotal"), cents("shipping"), cents("tax")), (2_498, 490, 568));
    assert_eq!(cents("total"), 2_498 + 490 + 568);
    let events = world.events(&format!("order-{id}")).await;
    assert_eq!((events.len(), &*events[0].event_type), (1, "OrderPlaced"));
    assert_eq!(events[0].metadata.partition_key, id, "one order's events stay together");
}

#[tokio::test]
async fn a_repeated_order_is_answered_as_it_was_whatever_became_of_prices_and_products() {
    let world = World::new();
    product(&world, "A", 999).await;
    let first = world.post("/v1/orders", "o", &order(&[("A", 2)])).await;
    let price = json!({"price": {"amount": 5_000, "currency": "EUR"}});
    world.post("/v1/products/A/price", "p", &price).await;
    let again = world.post("/v1/orders", "o", &order(&[("A", 2)])).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    world.post_text("/v1/products/A/discontinue", "d", "").await;
    let world = world.restarted().await;
    let again = world.post("/v1/orders", "o", &order(&[("A", 2)])).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = world.post("/v1/orders", "o", &order(&[("A", 3)])).await;
    other.problem(422, "idempotency-key-reused");
    let new = world.post("/v1/orders", "new", &order(&[("A", 2)])).await;
    new.at_fault(409, "product-not-for-sale", "/lines/0/sku");
}

#[tokio::test]
async fn an_expected_total_that_differs_is_refused_and_one_that_fits_is_not() {
    let world = World::new();
    product(&world, "A", 10_000).await;
    let with_total = |cents: i64| {
        let mut body = order(&[("A", 1)]);
        body["expected_total"] = json!({"amount": cents, "currency": "EUR"});
        body
    };
    let head = world.head();
    let got = world.post("/v1/orders", "1", &with_total(10_000)).await;
    got.at_fault(409, "price-changed", "/expected_total");
    assert_eq!(world.head(), head);
    assert_eq!(world.post("/v1/orders", "2", &with_total(11_900)).await.status, 201);
}

#[tokio::test]
async fn an_order_names_products_that_are_on_sale_in_one_currency() {
    let world = World::new();
    product(&world, "A", 999).await;
    let yen = json!({"sku": "Y", "name": "Y", "price": {"amount": 100, "currency": "JPY"}});
    world.post("/v1/products", "Y", &yen).await;
    let off = json!({"sku": "OFF", "name": "Off", "price": {"amount": 100, "currency": "EUR"}, "active": false});
    world.post("/v1/products", "OFF", &off).await;
    let head = world.head();
    let place = |key: &'static str, body| {
        let world = &world;
        async move { world.post("/v1/orders", key, &body).await }
    };
    place("1", order(&[("A", 1), ("NONE", 1)])).await.at_fault(409, "product-not-for-sale", "/lines/1/sku");
    place("2", order(&[("OFF", 1)])).await.at_fault(409, "product-not-for-sale", "/lines/0/sku");
    place("3", order(&[("A", 1), ("Y", 1)])).await.at_fault(409, "currency-mismatch", "/lines/1/sku");
    let mut dollars = order(&[("A", 1)]);
    dollars["currency"] = json!("USD");
    place("4", dollars).await.at_fault(409, "currency-mismatch", "/currency");
    assert_eq!(world.head(), head);
}

#[tokio::test]
async fn an_order_is_held_released_and_cancelled_and_the_cancellation_points_at_its_saga() {
    let world = World::new();
    product(&world, "A", 999).await;
    let placed = world.post("/v1/orders", "o", &order(&[("A", 2)])).await;
    let id = placed.body["id"].as_str().unwrap();
    let held = world.post(&format!("/v1/orders/{id}/hold"), "h", &json!({"reason": "INCORRECT_ADDRESS"})).await;
    assert_eq!((held.status.as_u16(), &held.body["version"]), (200, &json!(1)));
    let released = world.post_text(&format!("/v1/orders/{id}/release"), "r", "").await;
    assert_eq!((released.status.as_u16(), &released.body["version"]), (200, &json!(2)));
    let cancelled = world.post_text(&format!("/v1/orders/{id}/cancel"), "c", "").await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    assert_eq!(cancelled.header("location"), Some(format!("/v1/sagas/order_fulfilment-{id}").as_str()));
    let types: Vec<_> = world.events(&format!("order-{id}")).await.iter().map(|e| e.event_type.to_string()).collect();
    assert_eq!(types, ["OrderPlaced", "OrderHeld", "OrderHoldReleased", "OrderCancellationRequested"]);
    let nobody = "/v1/orders/0191b0a4-7c1e-7e53-bb4e-0d1f9a2f6a10/cancel";
    world.post_text(nobody, "n", "").await.problem(404, "not-found");
}

#[tokio::test]
async fn of_several_holds_one_is_released_by_its_reason_and_a_verdict_needs_a_review() {
    let world = World::new();
    product(&world, "A", 999).await;
    let placed = world.post("/v1/orders", "o", &order(&[("A", 2)])).await;
    let id = placed.body["id"].as_str().unwrap();
    let verdict = json!({"assessment": "approve", "assessed_by": "alice"});
    let early = world.post(&format!("/v1/orders/{id}/assess"), "a", &verdict).await;
    early.problem(409, "order-not-under-review");
    for reason in ["INCORRECT_ADDRESS", "OTHER"] {
        let held = world.post(&format!("/v1/orders/{id}/hold"), reason, &json!({ "reason": reason })).await;
        assert_eq!(held.status, 200);
    }
    let release = format!("/v1/orders/{id}/release");
    let problem = world.post_text(&release, "r", "").await.problem(409, "several-holds");
    assert!(problem.detail.unwrap_or_default().contains("INCORRECT_ADDRESS, OTHER"));
    assert_eq!(world.post(&release, "s", &json!({"reason": "OTHER"})).await.status, 200);
    assert_eq!(world.post_text(&release, "t", "").await.status, 200, "one is left");
}

#[tokio::test]
async fn lines_from_two_locations_are_refused_by_name() {
    let world = World::new();
    product(&world, "A", 999).await;
    let mut body = order(&[("A", 1), ("A", 1)]);
    body["lines"][1]["location"] = json!("north");
    world.post("/v1/orders", "o", &body).await.at_fault(400, "several-locations", "/lines");
}

#[tokio::test]
async fn a_shipment_that_nobody_planned_cannot_be_marked_or_cancelled() {
    let world = World::new();
    let shipment = "/v1/shipments/0191b0a4-7c1e-7e53-bb4e-0d1f9a2f6a10";
    for verb in ["ready", "deliver"] {
        world.post_text(&format!("{shipment}/{verb}"), verb, "").await.problem(404, "not-found");
    }
    for verb in ["lost", "cancel"] {
        let got = world.post(&format!("{shipment}/{verb}"), verb, &json!({"reason": "gone"})).await;
        got.problem(404, "not-found");
    }
    assert_eq!(world.head().0, 0);
}
