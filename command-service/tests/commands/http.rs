//! The rules of headers and answers, for every command alike.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::orders::product;
use crate::world::World;

fn receive(headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post("/v1/stock/SKU/main/receive").header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(r#"{"quantity": 5}"#)).unwrap()
}

#[tokio::test]
async fn a_command_answers_with_its_version_and_its_position() {
    let world = World::selling().await;
    let got = world.post("/v1/stock/SKU/main/receive", "k", &json!({"quantity": 5})).await;
    assert_eq!(got.status, 200);
    assert_eq!((got.header("etag"), got.header("x-commit-position")), (Some("\"0\""), Some("3")));
    assert_eq!(got.body, json!({"id": "SKU@main", "version": 0, "position": 3}));
}

#[tokio::test]
async fn a_command_without_a_key_is_refused() {
    let world = World::new();
    let got = world.request(receive(&[])).await;
    got.at_fault(400, "idempotency-key-missing", "header:Idempotency-Key");
    assert_eq!(world.head().0, 0);
}

#[tokio::test]
async fn a_key_is_a_quoted_or_a_bare_string_of_1_to_255_characters() {
    let world = World::selling().await;
    let first = world.request(receive(&[("idempotency-key", "\"a \\\"b\\\"\"")])).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (200, None));
    assert_eq!(world.request(receive(&[("idempotency-key", "bare")])).await.status, 200);
    let quoted = world.request(receive(&[("idempotency-key", "\"bare\"")])).await;
    assert_eq!(quoted.header("idempotent-replayed"), Some("true"), "the same key, written in the other way");
    let (longest, longer) = ("k".repeat(255), "k".repeat(256));
    assert_eq!(world.request(receive(&[("idempotency-key", &longest)])).await.status, 200);
    let head = world.head();
    for bad in [longer.as_str(), "", "\"\"", "\"open", "\"a\"b", "\"a\\n\"", "ä"] {
        let got = world.request(receive(&[("idempotency-key", bad)])).await;
        got.at_fault(400, "invalid-request", "header:Idempotency-Key");
    }
    let got = world.request(receive(&[("idempotency-key", "a"), ("idempotency-key", "b")])).await;
    got.at_fault(400, "invalid-request", "header:Idempotency-Key");
    assert_eq!(world.head(), head);
}

#[tokio::test]
async fn the_same_key_and_body_give_the_same_answer_and_another_body_is_refused() {
    let world = World::selling().await;
    let first = world.post_text("/v1/stock/SKU/main/receive", "k", r#"{"quantity": 5}"#).await;
    let again = world.post_text("/v1/stock/SKU/main/receive", "k", r#"{ "quantity":5 }"#).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(again.header("x-commit-position"), first.header("x-commit-position"));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = world.post("/v1/stock/SKU/main/receive", "k", &json!({"quantity": 6})).await;
    other.at_fault(422, "idempotency-key-reused", "header:Idempotency-Key");
    let elsewhere = world.post("/v1/stock/SKU/other/receive", "k", &json!({"quantity": 6})).await;
    assert_eq!(elsewhere.status, 200, "a key belongs to its method and path");
    assert_eq!(world.events("stock-SKU@main").await.len(), 1);
}

#[tokio::test]
async fn a_refusal_is_answered_again_as_it_was() {
    let world = World::selling().await;
    let body = json!({"delta": -1, "reason": "gone"});
    let first = world.post("/v1/stock/SKU/main/adjust", "k", &body).await;
    world.post("/v1/stock/SKU/main/receive", "r", &json!({"quantity": 5})).await;
    let again = world.post("/v1/stock/SKU/main/adjust", "k", &body).await;
    assert!(first.status.is_client_error());
    assert_eq!((again.status, again.body), (first.status, first.body));
    assert_eq!(again.headers.get("idempotent-replayed").map(|v| v.as_bytes()), Some(&b"true"[..]));
}

#[tokio::test]
async fn if_match_is_one_etag_and_holds() {
    let world = World::selling().await;
    world.request(receive(&[("idempotency-key", "1")])).await;
    let stale = world.request(receive(&[("idempotency-key", "2"), ("if-match", "\"7\"")])).await;
    stale.at_fault(412, "version-mismatch", "header:If-Match");
    for bad in ["*", "0", "W/\"0\"", "\"0\", \"1\"", "\"x\""] {
        let got = world.request(receive(&[("idempotency-key", "3"), ("if-match", bad)])).await;
        got.at_fault(400, "invalid-request", "header:If-Match");
    }
    let fits = world.request(receive(&[("idempotency-key", "2"), ("if-match", "\"0\"")])).await;
    assert_eq!((fits.status.as_u16(), fits.header("etag")), (200, Some("\"1\"")));
}

#[tokio::test]
async fn the_correlation_id_and_the_trace_go_into_the_event() {
    let world = World::selling().await;
    let (correlation, trace) =
        ("0191b0a4-7c1e-7e53-bb4e-0d1f9a2f6a10", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let headers = [
        ("idempotency-key", "1"),
        ("x-correlation-id", correlation),
        ("traceparent", trace),
        ("tracestate", "rojo=00f067aa0ba902b7"),
    ];
    world.request(receive(&headers)).await;
    world.request(receive(&[("idempotency-key", "2"), ("traceparent", "nonsense"), ("tracestate", "a=1")])).await;
    let events = world.events("stock-SKU@main").await;
    let (first, second) = (&events[0].metadata, &events[1].metadata);
    assert_eq!(first.correlation_id.to_string(), correlation);
    let context = first.traceparent.as_deref().map(event_store::trace::split);
    assert_eq!(context, Some((trace, Some("rojo=00f067aa0ba902b7"))), "both halves of the trace context are kept");
    assert_eq!((second.correlation_id, &second.traceparent), (second.command_id, &None));
    assert_eq!(first.partition_key, "stock-SKU@main");
    let got = world.request(receive(&[("idempotency-key", "3"), ("x-correlation-id", "42")])).await;
    got.at_fault(400, "invalid-request", "header:X-Correlation-Id");
}

#[tokio::test]
async fn products_are_created_repriced_activated_and_discontinued() {
    let world = World::new();
    product(&world, "SKU", 1_000).await;
    let created = world.post("/v1/products", "SKU", &crate::orders::product_body("SKU", 1_000)).await;
    assert_eq!((created.status.as_u16(), created.header("location")), (201, Some("/v1/products/SKU")));
    let price = json!({"price": {"amount": 1_200, "currency": "EUR"}});
    assert_eq!(world.post("/v1/products/SKU/price", "p", &price).await.body["version"], 2);
    let off = world.post_text("/v1/products/SKU/discontinue", "d", "").await;
    assert_eq!((off.status.as_u16(), &off.body["version"]), (200, &json!(3)));
    assert_eq!(world.post_text("/v1/products/SKU/activate", "a", "{}").await.body["version"], 4);
    assert_eq!(world.post_text("/v1/products/SKU/activate", "b", "{}").await.body["version"], 4, "already so");
    world.post_text("/v1/products/NONE/activate", "c", "{}").await.problem(404, "not-found");
}

#[tokio::test]
async fn goods_of_a_product_that_nobody_created_are_not_taken_in() {
    let world = World::new();
    let got = world.post("/v1/stock/SKU-TYPO/main/receive", "k", &json!({"quantity": 5})).await;
    let problem = got.problem(404, "not-found");
    let detail = problem.detail.unwrap_or_default();
    assert!(detail.contains("`SKU-TYPO`") && detail.contains("POST /v1/products"), "{detail}");
    assert_eq!(world.head().0, 0);
    world.sell().await;
    assert_eq!(world.post("/v1/stock/SKU/main/receive", "k", &json!({"quantity": 5})).await.status, 200);
}
