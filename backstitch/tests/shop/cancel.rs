//! Second thoughts: before the money is taken, after it, and at the very moment.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::world::{Shopper, World, id, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_before_the_capture_lets_money_and_stock_go() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("early", &[("MUG", 2)], "tok_approve").await;
    assert_eq!(statuses(&order), ("confirmed", "authorized", "planned"), "money is held, stock is committed");
    let cancelled = shop.cancel(order.text("id")).await;
    assert_eq!(statuses(&cancelled), ("cancelled", "voided", "cancelled"));
    let books = shop.adds_up().await;
    assert_eq!(books.stock[&"MUG@main".parse().unwrap()].state.available(), 5);
    let bank = shop.statement().await;
    assert_eq!((bank.totals["EUR"].captured, bank.totals["EUR"].voided), (0, bank.totals["EUR"].authorized));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_after_the_capture_is_handed_over_and_the_money_goes_back() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("late", &[("MUG", 1)], "tok_approve").await;
    let order_id = order.text("id").to_owned();
    shop.ask(&format!("/v1/orders/{order_id}/hold"), &json!({"reason": "INCORRECT_ADDRESS"})).await;
    let held = shop.ready(&order).await;
    assert_eq!((held.text("status"), held.text("payment_status")), ("confirmed", "captured"), "the money was taken");
    let cancelled = shop.cancel(&order_id).await;
    assert_eq!((cancelled.text("status"), cancelled.text("payment_status")), ("cancelled", "refunded"));
    let books = shop.adds_up().await;
    let sagas: BTreeSet<String> = books
        .sagas_of(id(&order))
        .iter()
        .map(|(stream, view)| format!("{stream}: {}", view.state().as_str()))
        .collect();
    let expected = [("order_fulfilment", "handed_over"), ("order_refund", "completed")];
    let expected = expected.map(|(saga, state)| format!("saga_{saga}-{order_id}: {state}"));
    assert_eq!(sagas, BTreeSet::from(expected), "fulfilment gave the order to order_refund");
    assert_eq!(books.stock[&"MUG@main".parse().unwrap()].state.available(), 5);
    let bank = shop.statement().await;
    assert!(bank.totals["EUR"].captured > 0);
    assert_eq!(bank.totals["EUR"].refunded, bank.totals["EUR"].captured);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_of_cancellation_and_dispatch_is_settled_by_the_order() {
    let shop = World::start().await;
    shop.product("MUG", 100).await;
    let races = (0..24).map(|n| {
        let shop = &shop;
        async move {
            let order = shop.placed_and_settled(&format!("race-{n}"), &[("MUG", 1)], "tok_approve").await;
            let order_id = order.text("id").to_owned();
            let ready = shop.ask(&format!("/v1/shipments/{}/ready", order.text("shipment_id")), &json!({})).await;
            // The later the customer comes, the more the saga has done: all outcomes of the race are met.
            for _ in 0..n % 6 {
                shop.client.get(&format!("/v1/orders/{order_id}")).await.unwrap();
            }
            let cancel = shop.try_ask(&format!("/v1/orders/{order_id}/cancel"), &json!({})).await;
            let end = shop.settled(&order_id, ready.position().max(cancel.position())).await;
            (cancel.status, end)
        }
    });
    let ends = join_all(races).await;
    for (answer, end) in &ends {
        match (*answer, end.text("status")) {
            (202, "cancelled") => assert!(matches!(end.text("payment_status"), "voided" | "refunded"), "{}", end.body),
            (409, "shipped") => assert_eq!(end.text("payment_status"), "captured"),
            other => panic!("an order may be cancelled or shipped, not {other:?}: {}", end.body),
        }
    }
    let shipped: Vec<_> = ends.iter().filter(|(_, end)| end.text("status") == "shipped").collect();
    join_all(shipped.iter().map(|(_, end)| shop.deliver(end))).await;
    let books = shop.adds_up().await;
    assert_eq!(books.orders.len(), 24);
    let cancelled = books.orders.values().filter(|order| order.has("OrderCancelled")).count();
    assert!(cancelled > 0, "the customer won at least once, or nothing was raced");
}
