//! A clock that was wrong for a while: what was written then holds up nothing when the clock is right again.

use std::time::Duration;

use crate::world::{Shopper, Turned, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_at_once_after_the_clock_was_a_day_ahead() {
    let shop = Turned::start().await;
    shop.product("MUG", 10).await;
    let right = shop.clock.now();
    shop.clock.set(right + Duration::from_secs(25 * 3600));
    let ahead = shop.placed_and_settled("ahead", &[("MUG", 1)], "tok_approve").await;
    assert_eq!(ahead.text("status"), "confirmed");
    let given_up = shop.placed_and_settled("given-up", &[("MUG", 1)], "tok_approve").await;

    // Every stream of these orders, and the stock that all orders share, has events of tomorrow.
    shop.clock.set(right + Duration::from_secs(60));
    let sent = shop.ready(&ahead).await;
    assert_eq!(statuses(&sent), ("shipped", "captured", "dispatched"));
    let done = shop.deliver(&sent).await;
    assert_eq!(done.text("status"), "completed");
    let cancelled = shop.cancel(given_up.text("id")).await;
    assert_eq!(statuses(&cancelled), ("cancelled", "voided", "cancelled"));
    let next = shop.placed_and_settled("right", &[("MUG", 1)], "tok_approve").await;
    assert_eq!(next.text("status"), "confirmed");
    shop.cancel(next.text("id")).await;
    shop.adds_up().await;
}
