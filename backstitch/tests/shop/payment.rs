//! Payments: refused, to be confirmed by the customer, never confirmed, charged without an answer.

use std::time::Duration;

use crate::world::{Shopper, Turned, World, id, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_rejects_the_order_and_its_stock_comes_back() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("declined", &[("MUG", 2)], "tok_decline.insufficient_funds").await;
    assert_eq!(statuses(&order), ("rejected", "declined", "none"));
    assert_eq!(order.text("reason"), "payment_declined");
    let books = shop.adds_up().await;
    let mug = &books.stock[&"MUG@main".parse().unwrap()];
    assert_eq!((mug.reserved_times, mug.state.available()), (1, 5));
    assert_eq!(shop.statement().await.payments, 1, "the bank was asked, and said no");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_on_once_its_customer_has_confirmed_the_payment() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("3ds", &[("MUG", 1)], "tok_3ds_approve").await;
    let books = shop.books().await;
    let requested = books.count("payment", "PaymentActionRequired");
    assert_eq!(requested, 1, "the customer was asked first");
    assert_eq!(statuses(&order), ("confirmed", "authorized", "planned"));
    let done = shop.deliver(&shop.ready(&order).await).await;
    assert_eq!(statuses(&done), ("completed", "captured", "delivered"));
    shop.adds_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_its_customer_gives_up_rejects_the_order() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("abandoned", &[("MUG", 1)], "tok_3ds_abandon").await;
    assert_eq!(order.text("status"), "rejected", "{}", order.body);
    let books = shop.adds_up().await;
    assert_eq!(books.count("payment", "PaymentActionRequired"), 1);
    assert_eq!(books.stock[&"MUG@main".parse().unwrap()].state.available(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_nobody_ever_confirms_times_out_after_30_minutes() {
    let shop = Turned::start().await;
    shop.product("MUG", 5).await;
    let (order, _) = shop.place("never", &[("MUG", 1)], "tok_3ds_abandon.never").await;
    shop.until_happened("PaymentActionRequired", 1).await;
    // The reservation (15 min) is renewed at half of its time while the payment is open.
    for renewals in 1..=3 {
        shop.clock.advance(Duration::from_secs(8 * 60));
        shop.until_happened("ReservationRenewed", renewals).await;
    }
    assert_eq!(shop.books().await.count("order", "OrderRejected"), 0, "after 24 minutes it still waits");
    shop.clock.advance(Duration::from_secs(8 * 60));
    shop.until_happened("OrderRejected", 1).await;
    let rejected = shop.settled(&order, None).await;
    assert_eq!(statuses(&rejected), ("rejected", "expired", "none"), "{}", rejected.body);
    assert_eq!(rejected.text("reason"), "payment_timeout");
    let books = shop.adds_up().await;
    assert_eq!(books.stock[&"MUG@main".parse().unwrap()].state.available(), 5);
    assert_eq!(books.orders[&id(&rejected)].pieces_shipped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_behind_a_timed_out_authorization_is_found_and_the_order_goes_on() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("charged", &[("MUG", 1)], "tok_timeout_charged").await;
    assert_eq!(statuses(&order), ("confirmed", "authorized", "planned"), "{}", order.body);
    assert_eq!(shop.statement().await.entries[0].effects.len(), 1, "one key, although it was asked more than once");
    let done = shop.deliver(&shop.ready(&order).await).await;
    assert_eq!(statuses(&done), ("completed", "captured", "delivered"));
    let books = shop.adds_up().await;
    assert!(books.payments.values().all(|payment| payment.captured == payment.authorized && payment.captured > 0));
}
