//! What a person on call asks first: which sagas stand still, and why; and one by one those of one kind.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use support::Shop;
use support::stories::{order_id, saga_stuck, saga_waits};

/// Three stuck refunds of version 1, one of version 2, and a saga that waits for the warehouse.
async fn trouble() -> Shop {
    let shop = Shop::start().await;
    for (number, version) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
        let (stream, key) = (format!("saga_order_refund-{}", order_id(number)), order_id(number).to_string());
        shop.log.append_for(&stream, &key, saga_stuck(number, version), 100 * number as i64).await;
    }
    shop.log.append(&format!("saga_order_fulfilment-{}", order_id(5)), saga_waits(5), 9).await;
    shop.caught_up().await;
    shop
}

#[tokio::test]
async fn incidents_are_counted_by_what_stands_against_them_the_most_frequent_first() {
    let shop = trouble().await;
    let incidents = shop.get("/v1/sagas/incidents").await.ok();
    let items = incidents["items"].as_array().unwrap();
    let said: Vec<_> = items
        .iter()
        .map(|item| (item["definition_version"].as_i64().unwrap(), item["count"].as_i64().unwrap()))
        .collect();
    assert_eq!(said, [(1, 3), (2, 1)], "the saga that waits for the warehouse needs nobody");
    let first = &items[0];
    assert_eq!((first["type"].as_str(), first["step"].as_str()), (Some("order_refund"), Some("refund")));
    assert_eq!((first["error_kind"].as_str(), first["error_code"].as_str()), (Some("failed"), Some("refund_failed")));
    assert_eq!((first["direction"].as_str(), first["stuck"].as_bool()), (Some("do"), Some(true)));
    assert_eq!(first["example"], format!("order_refund-{}", order_id(1)), "the one that has waited longest");
    assert_eq!(first["last_error"], "refund_failed: account_closed");
    assert!(first["since"].as_str().unwrap() < first["latest"].as_str().unwrap());
    assert_eq!(shop.get("/v1/sagas/incidents?type=order_fulfilment").await.ok()["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn sagas_are_found_by_the_same_words_that_name_an_incident() {
    let shop = trouble().await;
    let found = async |filter: &str| {
        let body = shop.get(&format!("/v1/sagas?{filter}")).await.ok();
        body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("state=needs_attention&definition_version=2").await, [format!("order_refund-{}", order_id(3))]);
    assert_eq!(found("step=refund&error_kind=failed&error_code=refund_failed&direction=do").await.len(), 4);
    assert_eq!(found("error_kind=rejected").await.len(), 0);
    assert_eq!(found("step=plan_shipment").await.len(), 1);
    for (path, field) in [
        ("/v1/sagas?error_kind=odd", "query:error_kind"),
        ("/v1/sagas?direction=up", "query:direction"),
        ("/v1/sagas?definition_version=x", "query:definition_version"),
        ("/v1/sagas/incidents?state=running", "query:state"),
        ("/v1/sagas/incidents?limit=0", "query:limit"),
    ] {
        assert_eq!(shop.get(path).await.refused_field(), field, "{path}");
    }
}

#[tokio::test]
async fn a_saga_that_goes_on_is_an_incident_no_more() {
    use domain::saga::{Event, SagaCompleted};
    let shop = trouble().await;
    let (stream, key) = (format!("saga_order_refund-{}", order_id(3)), order_id(3).to_string());
    shop.log.append_for(&stream, &key, vec![Event::SagaCompleted(SagaCompleted {}).encode()], 900).await;
    shop.caught_up().await;
    assert_eq!(shop.get("/v1/sagas/incidents").await.ok()["items"].as_array().unwrap().len(), 1);
    let rows = shop.rows("saga_view").await;
    let ended = rows.iter().find(|row| row["saga_id"] == format!("order_refund-{}", order_id(3))).unwrap();
    assert_eq!((ended["stuck"].as_bool(), ended["attention_since"].is_null()), (Some(false), true));
}
