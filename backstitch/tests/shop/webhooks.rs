//! What the provider tells twice, in the wrong order, or before it has answered.

use crate::world::{Shopper, World, metric, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_come_twice_or_out_of_order_change_nothing() {
    let shop = World::start().await;
    shop.product("MUG", 50).await;
    let tokens = [
        "tok_duplicate_webhooks",
        "tok_reordered_webhooks",
        "tok_webhook_first",
        "tok_duplicate_webhooks.5",
        "tok_approve",
    ];
    for (n, token) in tokens.iter().enumerate() {
        let order = shop.placed_and_settled(&format!("order-{n}"), &[("MUG", 1)], token).await;
        assert_eq!(statuses(&order), ("confirmed", "authorized", "planned"), "{token}");
        let done = shop.deliver(&shop.ready(&order).await).await;
        assert_eq!(statuses(&done), ("completed", "captured", "delivered"), "{token}");
    }
    let books = shop.adds_up().await;
    let recorded = books.count("payment", "PaymentAuthorized") + books.count("payment", "PaymentCaptured");
    assert_eq!(recorded, 2 * tokens.len(), "each result is in the log once");
    let told = metric(&shop.client, "backstitch_commands_total", "RecordProviderResult").await;
    assert!(told > 2.0 * recorded as f64, "the provider told more than once: {told} times for {recorded} results");
    assert_eq!(shop.statement().await.max_effects_per_key, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_not_signed_by_the_provider_is_refused() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let before = shop.books().await.position;
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/payments/webhooks/simulated", shop.processes.server.url))
        .header("webhook-id", "evt_1")
        .header("webhook-timestamp", "1700000000")
        .header("webhook-signature", "v1,bm90IGEgc2lnbmF0dXJl")
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(shop.books().await.position, before, "the log is untouched");
}
