//! The same request again: under its key, with another body, without a key, at another version.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Shopper, World, order_body};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_answered_as_the_first_time_and_done_once() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    let body = order_body(&[("MUG", 1)], "tok_approve");
    let first = shop.client.post("/v1/orders", "same", &body).await.unwrap();
    let again = shop.client.post("/v1/orders", "same", &body).await.unwrap();
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    // The key as a structured-field string, and after a price change, is the same request still.
    shop.ask("/v1/products/MUG/price", &json!({"price": {"amount": 1, "currency": "EUR"}})).await;
    let quoted = shop.client.post("/v1/orders", "\"same\"", &body).await.unwrap();
    assert_eq!((quoted.status, quoted.text("id")), (201, first.text("id")));

    let other = shop.client.post("/v1/orders", "same", &order_body(&[("MUG", 2)], "tok_approve")).await.unwrap();
    assert_eq!((other.status, other.problem()), (422, Some("idempotency-key-reused")), "{}", other.body);
    assert_eq!(shop.books().await.count("order", "OrderPlaced"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_many_times_at_once_is_done_once() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    let body = order_body(&[("MUG", 1)], "tok_approve");
    // The client asks again where it is told that the first is still under way (409 with Retry-After).
    let answers = join_all((0..32).map(|_| shop.client.post("/v1/orders", "burst", &body))).await;
    let ids: std::collections::BTreeSet<String> =
        answers.into_iter().map(|answer| answer.unwrap().good().unwrap().text("id").to_owned()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(shop.books().await.count("order", "OrderPlaced"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_key_or_at_another_version_is_refused() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    let before = shop.books().await.position;
    let send = |headers: Vec<(&'static str, &'static str)>| {
        let url = format!("{}/v1/products/MUG/price", shop.processes.server.url);
        let body = json!({"price": {"amount": 5, "currency": "EUR"}});
        let mut request = reqwest::Client::new().request(Method::POST, url).json(&body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.json::<Value>().await.unwrap())
        }
    };
    let (status, problem) = send(vec![]).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("header:Idempotency-Key")), "{problem}");
    let (status, problem) = send(vec![("idempotency-key", "k"), ("if-match", "\"7\"")]).await;
    assert_eq!((status, &problem["type"]), (412, &json!("/problems/version-mismatch")), "{problem}");
    assert_eq!(shop.books().await.position, before, "the log is untouched");
    let (status, _) = send(vec![("idempotency-key", "k"), ("if-match", "\"1\"")]).await;
    assert_eq!(status, 200, "at the version that it is at, it is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_known_after_a_restart() {
    let mut shop = World::start().await;
    shop.product("MUG", 10).await;
    let body = order_body(&[("MUG", 1)], "tok_approve");
    let first = shop.client.post("/v1/orders", "over a restart", &body).await.unwrap().good().unwrap();
    shop.processes.kill_and_restart().await.unwrap();
    let again = shop.client.post("/v1/orders", "over a restart", &body).await.unwrap().good().unwrap();
    assert_eq!((again.text("id"), again.header("idempotent-replayed")), (first.text("id"), Some("true")));
    assert_eq!(shop.books().await.count("order", "OrderPlaced"), 1);
}
