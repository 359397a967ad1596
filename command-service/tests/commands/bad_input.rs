//! Bad input gets a problem document that names the field, and costs nothing: the log is untouched.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use crate::orders::{order, product};
use crate::world::World;

const ORDERS: &str = "/v1/orders";
const PRODUCTS: &str = "/v1/products";
const RECEIVE: &str = "/v1/stock/SKU/main/receive";
const ADJUST: &str = "/v1/stock/SKU/main/adjust";
const CANCEL: &str = "/v1/orders/7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11/cancel";
const ASSESS: &str = "/v1/orders/7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11/assess";

/// The body with one value replaced.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

fn shirt() -> Value {
    json!({"sku": "NEW", "name": "Shirt", "price": {"amount": 1_000, "currency": "EUR"}, "active": true})
}

fn tagged(tags: &[String]) -> Value {
    let mut body = order(&[("SKU", 1)]);
    body["tags"] = json!(tags);
    body
}

#[tokio::test]
async fn each_value_that_cannot_be_is_refused_by_the_name_of_its_field() {
    let world = World::new();
    product(&world, "SKU", 1_000).await;
    world.receive(5).await;
    let an_order = || order(&[("SKU", 1), ("SKU", 2)]);
    let extra = |mut body: Value| {
        body["colour"] = json!("red");
        body
    };
    let huge: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
    let cases: Vec<(&str, Value, &str)> = vec![
        (RECEIVE, json!({"quantity": 0}), "/quantity"),
        (RECEIVE, json!({"quantity": -1}), "/quantity"),
        (RECEIVE, json!({"quantity": 1_000_000_000}), "/quantity"),
        (RECEIVE, json!({"quantity": 1.5}), "/quantity"),
        (RECEIVE, json!({"quantity": "5"}), "/quantity"),
        (RECEIVE, json!({"quantity": null}), "/quantity"),
        (RECEIVE, json!({"quantity": huge}), "/quantity"),
        (RECEIVE, json!({}), "/quantity"),
        (RECEIVE, extra(json!({"quantity": 5})), "/colour"),
        (ADJUST, json!({"delta": 0, "reason": "x"}), "/delta"),
        (ADJUST, json!({"delta": -1_000_000_001, "reason": "x"}), "/delta"),
        (ADJUST, json!({"delta": 1, "reason": "x".repeat(201)}), "/reason"),
        (PRODUCTS, with(shirt(), "/price/amount", json!(-1)), "/price/amount"),
        (PRODUCTS, with(shirt(), "/price/amount", json!(i64::MAX)), "/price/amount"),
        (PRODUCTS, with(shirt(), "/price/amount", huge.clone()), "/price/amount"),
        (PRODUCTS, with(shirt(), "/price/amount", json!(9.99)), "/price/amount"),
        (PRODUCTS, with(shirt(), "/price/currency", json!("EURO")), "/price/currency"),
        (PRODUCTS, with(shirt(), "/price/currency", json!("XAU")), "/price/currency"),
        (PRODUCTS, with(shirt(), "/price", extra(json!({"amount": 1, "currency": "EUR"}))), "/price/colour"),
        (PRODUCTS, with(shirt(), "/sku", json!("a b")), "/sku"),
        (PRODUCTS, with(shirt(), "/sku", json!("x".repeat(65))), "/sku"),
        (PRODUCTS, with(shirt(), "/name", json!("")), "/name"),
        (PRODUCTS, with(shirt(), "/name", json!(["Shirt"])), "/name"),
        (PRODUCTS, with(shirt(), "/active", json!("yes")), "/active"),
        (PRODUCTS, extra(shirt()), "/colour"),
        (ORDERS, with(an_order(), "/customer_id", json!("me")), "/customer_id"),
        (ORDERS, with(an_order(), "/lines", json!([])), "/lines"),
        (ORDERS, with(an_order(), "/lines", json!({})), "/lines"),
        (ORDERS, order(&[("SKU", 1); 101]), "/lines"),
        (ORDERS, order(&[("SKU", 1_000_000), ("SKU", 1)]), "/lines"),
        (ORDERS, with(an_order(), "/lines/1/quantity", json!(0)), "/lines/1/quantity"),
        (ORDERS, with(an_order(), "/lines/1/quantity", json!(1_000_000_000)), "/lines/1/quantity"),
        (ORDERS, with(an_order(), "/lines/0", json!({"quantity": 1})), "/lines/0/sku"),
        (ORDERS, with(an_order(), "/lines/1", extra(json!({"sku": "SKU", "quantity": 1}))), "/lines/1/colour"),
        (
            ORDERS,
            with(an_order(), "/lines/0", json!({"sku": "SKU", "quantity": 1, "location": "A B"})),
            "/lines/0/location",
        ),
        (ORDERS, with(an_order(), "/payment_method", json!("")), "/payment_method"),
        (ORDERS, with(an_order(), "/payment_method", json!("x".repeat(101))), "/payment_method"),
        (ORDERS, tagged(&vec!["x".to_owned(); 21]), "/tags"),
        (ORDERS, tagged(&["a".to_owned(), "x".repeat(51)]), "/tags/1"),
        (ORDERS, extra(an_order()), "/colour"),
    ];
    refused_by_name(&world, cases).await;
}

/// Each of these bodies is refused by the name of its field, and leaves the log as it is.
async fn refused_by_name(world: &World, cases: Vec<(&str, Value, &str)>) {
    let head = world.head();
    for (number, (path, body, field)) in cases.into_iter().enumerate() {
        let got = world.post(path, &format!("case-{number}"), &body).await;
        let problem = serde_json::from_value::<service_kit::Problem>(got.body.clone()).unwrap();
        assert_eq!(got.status, 400, "{body} → {problem:?}");
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem.errors.first().map(|error| error.field.as_str()), Some(field), "{body} → {problem:?}");
    }
    assert_eq!(world.head(), head);
}

#[tokio::test]
async fn a_list_is_no_object_and_a_text_for_people_says_something() {
    let world = World::new();
    product(&world, "SKU", 1_000).await;
    world.receive(5).await;
    let an_order = || order(&[("SKU", 1), ("SKU", 2)]);
    let cases: Vec<(&str, Value, &str)> = vec![
        // However well its values fit the fields in their order.
        (RECEIVE, json!([5]), ""),
        (ADJUST, json!([5, "count"]), ""),
        (PRODUCTS, with(shirt(), "/price", json!([1_000, "EUR"])), "/price"),
        (ORDERS, with(an_order(), "/lines/1", json!(["SKU", 1, "main"])), "/lines/1"),
        (ADJUST, json!({"delta": 1, "reason": " "}), "/reason"),
        (CANCEL, json!({"reason": ""}), "/reason"),
        (CANCEL, json!({"reason": "x".repeat(201)}), "/reason"),
        (CANCEL, json!([]), ""),
        (ASSESS, json!({"assessment": "approve", "assessed_by": "\u{a0}"}), "/assessed_by"),
        (ORDERS, with(an_order(), "/payment_method", json!("tok approve")), "/payment_method"),
    ];
    refused_by_name(&world, cases).await;
}

#[tokio::test]
async fn what_is_not_json_is_refused_with_the_place_where_it_stops_being_it() {
    let world = World::new();
    for text in
        ["{", "{\"quantity\": 5", "quantity=5", "{\"quantity\": 5} x", "{'quantity': 5}", "\u{0}", "{\"quantity\": 05}"]
    {
        let problem = world.post_text(RECEIVE, "k", text).await.problem(400, "malformed-json");
        assert!(problem.errors[0].message.contains("line 1"), "{problem:?}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(world.post_text(RECEIVE, "k", &deep).await.status, 400);
    let twice = world.post_text(RECEIVE, "k", r#"{"quantity": 5, "quantity": 6}"#).await;
    assert_eq!(twice.status, 400);
    assert_eq!(world.head().0, 0);
}

#[tokio::test]
async fn a_body_of_10_mb_is_refused_whether_it_says_so_or_not() {
    let world = World::new();
    let body = format!("{{\"quantity\": 5, \"pad\": \"{}\"}}", "x".repeat(10_000_000));
    world.post_text(RECEIVE, "k", &body).await.problem(413, "body-too-large");
    let pieces =
        body.into_bytes().chunks(100_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>();
    let stream = Body::from_stream(futures_util::stream::iter(pieces));
    let request = Request::post(RECEIVE).header("content-type", "application/json").header("idempotency-key", "k");
    world.request(request.body(stream).unwrap()).await.problem(413, "body-too-large");
    assert_eq!(world.head().0, 0);
}

#[tokio::test]
async fn a_body_that_does_not_say_it_is_json_is_refused() {
    let world = World::new();
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
        let request = Request::post(RECEIVE).header("idempotency-key", "k");
        let request = kind.into_iter().fold(request, |request, kind| request.header(header::CONTENT_TYPE, kind));
        let got = world.request(request.body(Body::from(r#"{"quantity": 5}"#)).unwrap()).await;
        got.at_fault(415, "unsupported-media-type", "header:Content-Type");
    }
    assert_eq!(world.head().0, 0);
    world.sell().await;
    let request = Request::post(RECEIVE).header("idempotency-key", "k");
    let request = request.header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    assert_eq!(world.request(request.body(Body::from(r#"{"quantity": 5}"#)).unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_path_that_names_nothing_that_could_be_is_refused_by_the_name_of_its_part() {
    let world = World::new();
    let cases = [
        ("/v1/orders/4711/cancel", "path:id"),
        ("/v1/shipments/x/ready", "path:id"),
        ("/v1/products/a%20b/activate", "path:sku"),
        ("/v1/stock/SKU/MAIN/receive", "path:location"),
        ("/v1/stock/a%2Fb/main/receive", "path:sku"),
    ];
    for (path, field) in cases {
        let got = world.post_text(path, "k", "").await;
        got.at_fault(400, "invalid-request", field);
    }
    assert_eq!(world.post_text("/v1/products/%FF/activate", "k", "").await.status, 400);
    world.post_text("/v1/nothing", "k", "{}").await.problem(404, "not-found");
    let got = world.request(Request::delete("/v1/orders").body(Body::empty()).unwrap()).await;
    got.problem(405, "method-not-allowed");
    assert_eq!(got.header("allow"), Some("POST"));
    assert_eq!(world.head().0, 0);
}
