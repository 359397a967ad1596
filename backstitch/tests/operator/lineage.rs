//! Where everything came from: no event of an order is without a cause that leads to somebody's request.

use std::collections::HashSet;

use projection_service::lineage::{Graph, Kind};
use serde_json::Value;

use crate::desk::{desk, settled, stuck_refund};
use crate::world::{Shopper, World};

fn graph(said: &Value) -> Graph {
    serde_json::from_value(said.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_an_order_comes_from_somebodys_request() {
    let shop = World::start().await;
    shop.product("MUG", 50).await;
    let tokens = ["tok_approve", "tok_3ds_approve", "tok_decline", "tok_webhook_first", "tok_timeout_charged"];
    let mut orders = Vec::new();
    for token in tokens {
        let order = shop.placed_and_settled(token, &[("MUG", 1)], token).await;
        orders.push(if order.text("status") == "confirmed" {
            shop.deliver(&shop.ready(&order).await).await
        } else {
            order
        });
    }
    let stuck = stuck_refund(&shop, "stuck", "tok_refund_fails_once").await;
    let retry = ["saga", "retry", stuck.text("id"), "--reason", "again", "--yes"];
    desk(&shop, &retry).await.done();
    orders.push(settled(&shop, stuck.text("id")).await);
    for order in &orders {
        let said = desk(&shop, &["lineage", order.text("number"), "--json"]).await.json();
        let graph = graph(&said);
        let roots = graph.roots();
        let strays: Vec<_> = roots.iter().filter(|root| root.kind != Kind::Request).collect();
        assert!(strays.is_empty(), "{}: {strays:#?}", order.body);
        assert!(graph.nodes.iter().any(|node| node.kind == Kind::ProviderCall));
        let ids: HashSet<_> = graph.nodes.iter().map(|node| node.id).collect();
        assert_eq!(ids.len(), graph.nodes.len(), "each is told once");
        assert!(graph.edges.iter().all(|edge| ids.contains(&edge.from) && ids.contains(&edge.to)));
        // Every event that the log has of the order's own streams is there.
        for stream in [format!("order-{}", order.text("id")), format!("saga_order_fulfilment-{}", order.text("id"))] {
            let path = format!("/v1/streams/{stream}?limit=200");
            let page = shop.client.get(&path).await.unwrap().good().unwrap();
            for event in page.body["items"].as_array().unwrap() {
                let known = |id: &Value| ids.contains(&id.as_str().unwrap().parse().unwrap());
                assert!(known(&event["id"]), "{event}");
                let of_saga = stream.starts_with("saga_");
                assert!(
                    !of_saga || known(&event["metadata"]["causation_id"]),
                    "its cause is part of the story: {event}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_shows_its_way_up_to_the_request_and_down_to_all_effects() {
    let shop = World::start().await;
    shop.product("MUG", 5).await;
    let order = shop.placed_and_settled("way", &[("MUG", 1)], "tok_approve").await;
    let whole = graph(&desk(&shop, &["lineage", order.text("id"), "--json"]).await.json());
    let node = |name: &str| whole.nodes.iter().find(|node| node.label == name).unwrap();
    let (placed, authorised) = (node("OrderPlaced"), node("PaymentAuthorized"));
    let by_event = desk(&shop, &["lineage", &authorised.id.to_string(), "--format", "json"]).await.json();
    let by_position = desk(&shop, &["lineage", &authorised.position.unwrap().to_string(), "--json"]).await.json();
    let around = graph(&by_event);
    assert_eq!(around, graph(&by_position), "an event is found by its id and by its position");
    assert_eq!(around.roots().len(), 1);
    assert!(around.nodes.iter().any(|node| node.id == placed.id), "the request that placed the order is above it");
    assert!(around.nodes.iter().any(|node| node.label == "OrderConfirmed"), "what followed is below it");
    assert!(!around.nodes.iter().any(|node| node.label == "StockReserved" && node.position > authorised.position));
    for format in ["mermaid", "dot", "table"] {
        let said = desk(&shop, &["lineage", order.text("number"), "--format", format]).await;
        assert!(said.done().contains("PaymentAuthorized") && said.out.contains("ReserveStock"), "{}", said.out);
    }
    let command = whole.nodes.iter().find(|node| node.kind == Kind::Command).unwrap();
    desk(&shop, &["lineage", &command.id.to_string()]).await.done();
    assert_eq!(desk(&shop, &["lineage", "0198c0de-0000-5000-8000-000000000000"]).await.code, Some(1));
}
