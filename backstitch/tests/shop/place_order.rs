//! An order that goes well.

use serde_json::json;

use crate::world::{Shopper, World, id, order_body, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_packed_dispatched_and_delivered() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    shop.product("TEE", 10).await;
    let order = shop.placed_and_settled("first", &[("MUG", 2), ("TEE", 1)], "tok_approve").await;
    assert_eq!(statuses(&order), ("confirmed", "authorized", "planned"), "it waits for the warehouse");
    let shipped = shop.ready(&order).await;
    assert_eq!(statuses(&shipped), ("shipped", "captured", "dispatched"), "packed, captured, gone");
    let done = shop.deliver(&shipped).await;
    assert_eq!(statuses(&done), ("completed", "captured", "delivered"));

    let books = shop.adds_up().await;
    let book = &books.orders[&id(&done)];
    assert_eq!(book.pieces_shipped, 3);
    let expected = [
        "OrderPlaced",
        "OrderRiskAssessed",
        "OrderConfirmed",
        "OrderDispatchAllowed",
        "OrderShipped",
        "OrderCompleted",
    ];
    assert_eq!(book.events, expected, "the order's whole story, in order");
    let bank = shop.statement().await;
    assert_eq!(bank.totals["EUR"].captured, book.placed.totals.total.amount, "the bank took the order's total, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_keeps_the_prices_it_was_placed_at() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    let before = shop.placed_and_settled("before", &[("MUG", 1)], "tok_approve").await;
    shop.ask("/v1/products/MUG/price", &json!({"price": {"amount": 2000, "currency": "EUR"}})).await;
    let after = shop.placed_and_settled("after", &[("MUG", 1)], "tok_approve").await;
    let books = shop.books().await;
    let subtotal = |order| books.orders[&id(order)].placed.totals.subtotal.amount;
    assert_eq!((subtotal(&before), subtotal(&after)), (1000, 2000));

    let mut stale = order_body(&[("MUG", 1)], "tok_approve");
    stale["expected_total"] = json!(books.orders[&id(&before)].placed.totals.total);
    let refused = shop.client.post("/v1/orders", "stale", &stale).await.unwrap();
    assert_eq!((refused.status, refused.problem()), (409, Some("price-changed")), "{}", refused.body);
    let known = books.orders.len();
    assert_eq!(shop.books().await.orders.len(), known, "a refused order leaves nothing in the log");
}
