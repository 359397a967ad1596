//! What operators see, over HTTP, from the log alone.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use world::running::{Shop, order, start_of_time};

struct Port(Router);

impl Port {
    fn of(shop: &Shop) -> Self {
        Self(saga_orchestrator::router(shop.handle.clone()).split_for_parts().0)
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn golden(&self, path: &str, name: &str) {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        let file = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &body).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), body, "UPDATE_GOLDEN=1 writes {file}");
    }
}

async fn shop_with(token: &str) -> (tempfile::TempDir, Shop, Port) {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    shop.place(order(1), token).await;
    let port = Port::of(&shop);
    (dir, shop, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_saga_says_what_it_waits_for_and_what_can_be_done() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    shop.until_settled(order(1)).await;
    let id = format!("order_fulfilment-{}", order(1));
    let saga = port.json(&format!("/v1/sagas/{id}")).await;
    let expected = ["waiting", "plan_shipment", "order_fulfilment"];
    assert_eq!([&saga["state"], &saga["step"], &saga["type"]], expected);
    assert_eq!(
        (&saga["settled"], &saga["waits_for"][0]),
        (&true.into(), &"plan_shipment: ShipmentReady from the warehouse".into())
    );
    let why = port.json(&format!("/v1/sagas/{id}/why")).await;
    assert_eq!(why["summary"], "`plan_shipment` waits for ShipmentReady from the warehouse");
    let shipment = domain::ids::ShipmentId::derive(order(1), 0);
    let can_do: Vec<String> = serde_json::from_value(why["can_do"].clone()).unwrap();
    assert_eq!(
        can_do,
        [
            format!("mark the shipment ready: POST /v1/shipments/{shipment}/ready"),
            format!("or give it up: POST /v1/shipments/{shipment}/cancel"),
            format!("cancel the order: POST /v1/orders/{}/cancel", order(1)),
        ]
    );
    port.golden(&format!("/v1/sagas/{id}/graph"), "waiting.mermaid").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_shows_the_way_forward_and_the_way_back() {
    let (_dir, shop, port) = shop_with("tok_decline").await;
    shop.until(order(1), "over", |view| view.state().is_end()).await;
    let id = format!("order_fulfilment-{}", order(1));
    let timeline = port.json(&format!("/v1/sagas/{id}/timeline")).await;
    let told: Vec<String> = timeline["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["direction"].as_str().unwrap(),
                entry["type"].as_str().unwrap(),
                entry["step"].as_str().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "forward SagaStarted -",
            "forward StepStarted reserve",
            "forward StepSucceeded reserve",
            "forward StepStarted assess_risk",
            "forward StepSucceeded assess_risk",
            "forward StepStarted authorise",
            "forward StepFailed authorise",
            "back CompensationStarted -",
            "back UndoStarted reserve",
            "back UndoSucceeded reserve",
            "back UndoStarted start",
            "back UndoSucceeded start",
            "back SagaCompensated -",
        ]
    );
    let failed = &timeline["items"][6];
    assert_eq!(failed["summary"], "failed (payment_declined: no)");
    assert!(failed["cause"].as_str().unwrap().ends_with("1 PaymentDeclined"), "{failed}");
    port.golden(&format!("/v1/sagas/{id}/graph?format=dot"), "compensated.dot").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_are_drawn() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    port.golden("/v1/saga-types/order_fulfilment/graph?format=mermaid", "order_fulfilment.mermaid").await;
    port.golden("/v1/saga-types/order_refund/graph?format=dot", "order_refund.dot").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_404_and_what_is_no_saga_is_400() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    let unknown = format!("order_fulfilment-{}", order(77));
    for (path, status, field) in [
        (format!("/v1/sagas/{unknown}"), StatusCode::NOT_FOUND, ""),
        (format!("/v1/sagas/{unknown}/graph"), StatusCode::NOT_FOUND, ""),
        ("/v1/saga-types/nonsense/graph".to_owned(), StatusCode::NOT_FOUND, ""),
        ("/v1/sagas/nonsense".to_owned(), StatusCode::BAD_REQUEST, "path:id"),
        ("/v1/sagas/nonsense/why".to_owned(), StatusCode::BAD_REQUEST, "path:id"),
        ("/v1/saga-types/order_refund/graph?format=png".to_owned(), StatusCode::BAD_REQUEST, "query:format"),
        ("/v1/saga-types/order_refund/graph?colour=red".to_owned(), StatusCode::BAD_REQUEST, "query:format"),
    ] {
        let (got, body) = port.get(&path).await;
        assert_eq!(got, status, "{path}: {body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["errors"][0]["field"].as_str().unwrap_or_default(), field, "{path}: {body}");
    }
    shop.close().await;
}
