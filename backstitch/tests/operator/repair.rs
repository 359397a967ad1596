//! From "something stands still" to "it is repaired, and here is the proof".

use futures_util::future::join_all;
use serde_json::Value;

use crate::desk::{desk, settled, stuck_refund};
use crate::world::{Shopper, World, id};

/// The events of a stream, each with its type.
async fn events(shop: &World, stream: &str) -> Vec<Value> {
    let page = shop.client.get(&format!("/v1/streams/{stream}?limit=200")).await.unwrap().good().unwrap();
    page.body["items"].as_array().unwrap().clone()
}

fn types(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["type"] == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_failed_is_found_understood_sent_again_and_the_order_is_settled() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = stuck_refund(&shop, "once", "tok_refund_fails_once").await;
    let (order_id, number) = (order.text("id"), order.text("number"));
    let saga = format!("order_refund-{order_id}");
    assert_eq!(shop.statement().await.totals["EUR"].refunded, 0, "the fault happened");

    let incidents = desk(&shop, &["saga", "incidents"]).await;
    let told = incidents.done();
    assert!(told.contains(&saga) && told.contains("refund"), "{told}");
    assert!(told.contains(&format!("backstitch saga retry {saga} --reason")), "{told}");
    let why = desk(&shop, &["saga", "why", &saga]).await;
    assert!(why.done().contains("until a person acts"), "{}", why.out);
    let plan = desk(&shop, &["saga", "plan", number, "--if-fails"]).await;
    assert!(plan.done().contains(&saga) && plan.err.contains("drives the order now"), "{}{}", plan.out, plan.err);

    // Nobody to ask, and not told to do it without asking.
    let before = events(&shop, &format!("saga_{saga}")).await.len();
    let asked = desk(&shop, &["saga", "retry", number, "--reason", "the bank is back"]).await;
    assert_eq!(asked.code, Some(2), "{}{}", asked.out, asked.err);
    assert!(
        asked.out.contains("RequestPaymentRefund") && asked.err.contains("hint: the same with --yes"),
        "{}{}",
        asked.out,
        asked.err
    );
    let dry = desk(&shop, &["saga", "retry", number, "--dry-run", "--json"]).await.json();
    assert_eq!(
        (dry["saga"].as_str(), dry["sends"][0]["amount"]["currency"].as_str()),
        (Some(saga.as_str()), Some("EUR"))
    );
    assert_eq!(events(&shop, &format!("saga_{saga}")).await.len(), before, "looking changes nothing");

    let retry = desk(&shop, &["saga", "retry", number, "--reason", "the bank is back", "--yes"]).await;
    assert!(retry.done().contains("done by olga"), "{}", retry.out);
    let repaired = settled(&shop, order_id).await;
    assert_eq!(
        (repaired.text("status"), repaired.text("payment_status")),
        ("cancelled", "refunded"),
        "{}",
        repaired.body
    );

    let story = events(&shop, &format!("saga_{saga}")).await;
    let acted = story.iter().find(|event| event["type"] == "OperatorActed").unwrap();
    assert_eq!(
        (acted["data"]["actor"].as_str(), acted["data"]["reason"].as_str()),
        (Some("olga"), Some("the bank is back"))
    );
    assert_eq!((types(&story, "OperatorActed"), acted["metadata"]["actor"].as_str()), (1, Some("operator:olga")));
    let bank = shop.statement().await;
    assert_eq!(bank.totals["EUR"].refunded, bank.totals["EUR"].captured, "once, and all of it");
    let books = shop.adds_up().await;
    assert_eq!(books.stock[&"MUG@main".parse().unwrap()].state.available(), 5);
    assert_eq!(books.orders[&id(&order)].pieces_shipped, 0);
    assert!(desk(&shop, &["saga", "incidents"]).await.done().contains("no saga needs a person"));
    let timeline = desk(&shop, &["order", "timeline", number]).await;
    assert!(timeline.done().contains("operator:olga"), "{}", timeline.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_break_a_rule_is_refused_and_changes_nothing() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("fine", &[("MUG", 1)], "tok_approve").await;
    let saga = format!("order_fulfilment-{}", order.text("id"));
    let before = events(&shop, &format!("saga_{saga}")).await.len();
    let refused = desk(&shop, &["saga", "hand-over", order.text("id"), "--reason", "no", "--yes"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{}", refused.err);
    assert!(refused.err.contains("hint: backstitch saga why"), "{}", refused.err);
    let unknown = desk(
        &shop,
        &["saga", "retry", "order_fulfilment-0198c0de-0000-5000-8000-000000000000", "--reason", "x", "--yes"],
    );
    assert_eq!(unknown.await.code, Some(1));
    let set = desk(&shop, &["saga", "hand-over", "--where", "type=order_fulfilment", "--reason", "no", "--yes"]).await;
    assert_eq!(set.code, Some(1), "{}{}", set.out, set.err);
    assert_eq!(events(&shop, &format!("saga_{saga}")).await.len(), before);
    assert_eq!(settled(&shop, order.text("id")).await.text("status"), "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_stuck_sagas_are_repaired_with_one_command_at_a_rate() {
    let shop = World::start().await;
    shop.product("MUG", 50).await;
    let keys: Vec<String> = (0..22).map(|n| format!("many-{n}")).collect();
    let orders = join_all(keys.iter().map(|key| stuck_refund(&shop, key, "tok_refund_fails_once"))).await;
    let set = "state=needs_attention,type=order_refund,step=refund";
    let incidents = desk(&shop, &["saga", "incidents", "--json"]).await.json();
    assert_eq!((incidents["items"][0]["count"].as_u64(), incidents["items"].as_array().unwrap().len()), (Some(22), 1));
    assert!(incidents["items"][0]["suggested"].as_str().unwrap().starts_with("backstitch saga retry --where "));

    let look = desk(&shop, &["saga", "retry", "--where", set, "--reason", "bank is back", "--dry-run"]).await;
    assert!(look.done().contains("22") && look.out.contains("RequestPaymentRefund"), "{}", look.out);
    let some =
        ["saga", "retry", "--where", set, "--limit", "2", "--rate", "100/s", "--reason", "bank is back", "--yes"];
    assert!(desk(&shop, &some).await.done().contains("2 done, 0 refused"));
    let all = ["saga", "retry", "--where", set, "--rate", "50/s", "--reason", "bank is back", "--yes", "--json"];
    // Some of the first two may still be on the way: they have moved on, or are no longer in the set.
    let done = desk(&shop, &all).await.json();
    assert!(done["done"].as_u64() >= Some(20) && done["refused"] == 0, "{done}");

    let ends = join_all(orders.iter().map(|order| settled(&shop, order.text("id")))).await;
    assert!(ends.iter().all(|end| end.text("status") == "cancelled" && end.text("payment_status") == "refunded"));
    let bank = shop.statement().await;
    assert_eq!((bank.totals["EUR"].refunded, bank.max_effects_per_key), (bank.totals["EUR"].captured, 1));
    for order in &orders {
        let story = events(&shop, &format!("saga_order_refund-{}", order.text("id"))).await;
        assert_eq!(types(&story, "OperatorActed"), 1, "each was acted on once");
    }
    shop.adds_up().await;
}
