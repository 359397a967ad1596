//! Stock: short of it, many at once for it, lines of one item.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::world::{Shopper, World, id, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn a_shortage_on_one_line_gives_the_other_lines_back() {
    let shop = World::start().await;
    shop.product("MUG", 10).await;
    shop.product("RARE", 1).await;
    let order = shop.placed_and_settled("short", &[("MUG", 2), ("RARE", 2)], "tok_approve").await;
    assert_eq!(statuses(&order), ("rejected", "none", "none"));
    assert_eq!(order.text("reason"), "out_of_stock");
    let books = shop.adds_up().await;
    let mug = &books.stock[&"MUG@main".parse().unwrap()];
    assert_eq!(mug.reserved_times, 1, "the other line had been reserved: there was something to give back");
    assert_eq!((mug.state.on_hand, mug.state.available()), (10, 10));
    assert_eq!(books.payments.len(), 0, "nobody was asked for money");
    assert!(shop.statement().await.entries.is_empty(), "not even at the bank");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_one_item_are_summed_before_they_are_checked() {
    let shop = World::start().await;
    shop.product("MUG", 3).await;
    let order = shop.placed_and_settled("twice", &[("MUG", 2), ("MUG", 2)], "tok_approve").await;
    assert_eq!(statuses(&order), ("rejected", "none", "none"), "each line would pass alone");
    let books = shop.adds_up().await;
    assert_eq!(books.stock[&"MUG@main".parse().unwrap()].state.available(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_orders_at_once_never_sell_more_than_the_fifty_pieces_there_are() {
    let shop = World::start().await;
    shop.product("HOT", 50).await;
    let placing = (0..200).map(|n| {
        let shop = &shop;
        async move { shop.placed_and_settled(&format!("hot-{n}"), &[("HOT", 1)], "tok_approve").await }
    });
    let orders = join_all(placing).await;
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for order in &orders {
        *ends.entry(order.text("status").to_owned()).or_default() += 1;
    }
    assert_eq!(ends, BTreeMap::from([("confirmed".to_owned(), 50), ("rejected".to_owned(), 150)]));
    let books = shop.books().await;
    let hot = &books.stock[&"HOT@main".parse().unwrap()];
    assert_eq!((hot.state.on_hand, hot.state.available(), hot.state.committed_pieces()), (50, 0, 50));
    let refused = orders.iter().filter(|order| order.text("status") == "rejected");
    assert!(refused.clone().all(|order| matches!(order.text("reason"), "out_of_stock" | "contention")));

    let sold: Vec<_> = orders.iter().filter(|order| order.text("status") == "confirmed").collect();
    join_all(sold.iter().map(|order| async { shop.deliver(&shop.ready(order).await).await })).await;
    let books = shop.adds_up().await;
    let hot = &books.stock[&"HOT@main".parse().unwrap()];
    assert_eq!((hot.state.on_hand, hot.shipped), (0, 50));
    assert!(sold.iter().all(|order| books.orders[&id(order)].pieces_shipped == 1));
}
