//! What operators see, over HTTP, from the log alone.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::saga::{Direction, ErrorKind, Event, Failure, SagaNeedsAttention};
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

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.0.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let etag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Reply { status, replayed, etag, body: serde_json::from_slice(&bytes).unwrap() }
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

struct Reply {
    status: StatusCode,
    replayed: bool,
    etag: Option<String>,
    body: Value,
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
            format!(
                "compensate, which goes back: undoes `plan_shipment`, `authorise`, `reserve`, `start`: \
                 backstitch saga compensate {id} --reason …"
            ),
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

const BODY: &str = r#"{"reason":"the customer rang","actor":"alice"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_sees_what_would_happen_and_then_it_happens_once() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    shop.until_settled(order(1)).await;
    let id = format!("order_fulfilment-{}", order(1));
    let before = port.json(&format!("/v1/sagas/{id}")).await["version"].as_u64().unwrap();
    let path = format!("/v1/sagas/{id}/compensate");
    let shown = port.post(&format!("{path}?dry_run=true"), &[("idempotency-key", "k1")], BODY).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
    assert_eq!((&shown.body["dry_run"], &shown.body["version"]), (&true.into(), &before.into()));
    assert_eq!(port.json(&format!("/v1/sagas/{id}")).await["version"], before, "nothing happened");

    let tag = format!("\"{before}\"");
    let done = port.post(&path, &[("idempotency-key", "k1"), ("if-match", &tag)], BODY).await;
    assert_eq!((done.status, done.replayed), (StatusCode::OK, false), "{}", done.body);
    assert_eq!(done.etag, Some(format!("\"{}\"", done.body["version"])));
    for field in ["summary", "sends", "irreversible", "state", "action", "saga"] {
        assert_eq!(done.body[field], shown.body[field], "{field}");
    }
    let void = &done.body["sends"][1];
    let payment = domain::ids::PaymentId::derive(order(1), 0);
    let amount = serde_json::json!({ "amount": 200, "currency": "EUR" });
    let expected = serde_json::json!({ "command": "RequestPaymentVoid", "target": payment.stream(), "amount": amount });
    assert_eq!(void, &expected);
    shop.until(order(1), "over", |view| view.state().is_end()).await;

    let again = port.post(&path, &[("idempotency-key", "k1"), ("if-match", &tag)], BODY).await;
    assert_eq!((again.status, again.replayed, &again.body), (StatusCode::OK, true, &done.body));
    let other = port.post(&path, &[("idempotency-key", "k1")], r#"{"reason":"another"}"#).await;
    assert_eq!(
        (other.status, &other.body["type"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &"/problems/idempotency-key-reused".into())
    );
    let timeline = port.json(&format!("/v1/sagas/{id}/timeline")).await;
    let acts: Vec<_> =
        timeline["items"].as_array().unwrap().iter().filter(|item| item["type"] == "OperatorActed").collect();
    assert_eq!(acts.len(), 1);
    assert_eq!(acts[0]["summary"], "compensate by alice: the customer rang");
    let stream: event_store::StreamName = format!("saga_{id}").parse().unwrap();
    let events =
        event_store::EventStore::read_stream(&*shop.store, &stream, before + 1, event_store::Direction::Forward, 3);
    let events = events.await.unwrap();
    assert!(events.iter().all(|event| event.metadata.actor == "operator:alice"));
    assert_eq!(events[0].metadata.causation_id.to_string(), acts[0]["causation_id"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_action_is_refused_with_the_allowed_ones_and_leaves_no_trace() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    shop.until_settled(order(1)).await;
    let id = format!("order_fulfilment-{}", order(1));
    let before = port.json(&format!("/v1/sagas/{id}")).await["version"].clone();
    for (n, dry) in ["", "?dry_run=true"].into_iter().enumerate() {
        for action in ["retry", "skip", "resume", "hand-over"] {
            let key = format!("{action} {n}");
            let path = format!("/v1/sagas/{id}/{action}{dry}");
            let refused = port.post(&path, &[("idempotency-key", &key)], BODY).await;
            assert_eq!(refused.status, StatusCode::CONFLICT, "{path}: {}", refused.body);
            assert_eq!(refused.body["type"], "/problems/saga-action-refused");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.ends_with("; what would be accepted now: compensate"), "{detail}");
        }
    }
    let stale = port
        .post(&format!("/v1/sagas/{id}/compensate"), &[("idempotency-key", "s"), ("if-match", "\"0\"")], BODY)
        .await;
    assert_eq!(
        (stale.status, &stale.body["type"]),
        (StatusCode::PRECONDITION_FAILED, &"/problems/version-mismatch".into())
    );
    let unknown = format!("order_fulfilment-{}", order(77));
    for (path, key, body, status, field) in [
        (format!("/v1/sagas/{unknown}/retry"), "k", BODY, StatusCode::NOT_FOUND, ""),
        (format!("/v1/sagas/{id}/dance"), "k", BODY, StatusCode::NOT_FOUND, ""),
        ("/v1/sagas/nonsense/retry".to_owned(), "k", BODY, StatusCode::BAD_REQUEST, "path:id"),
        (format!("/v1/sagas/{id}/retry"), "", BODY, StatusCode::BAD_REQUEST, "header:Idempotency-Key"),
        (format!("/v1/sagas/{id}/retry"), "k", r#"{"reason":" "}"#, StatusCode::BAD_REQUEST, "/reason"),
        (format!("/v1/sagas/{id}/retry"), "k", "{}", StatusCode::BAD_REQUEST, "/reason"),
        (format!("/v1/sagas/{id}/retry"), "k", r#"{"reason":"x","actor":""}"#, StatusCode::BAD_REQUEST, "/actor"),
        (format!("/v1/sagas/{id}/retry?now=1"), "k", BODY, StatusCode::BAD_REQUEST, "query:dry_run"),
    ] {
        let reply = port.post(&path, &[("idempotency-key", key)], body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        assert_eq!(reply.body["errors"][0]["field"].as_str().unwrap_or_default(), field, "{path}: {}", reply.body);
    }
    assert_eq!(port.json(&format!("/v1/sagas/{id}")).await["version"], before, "nothing was written");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_sagas_do_not_run_people_can_look_but_not_act() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    shop.until_settled(order(1)).await;
    let path = format!("/v1/sagas/order_fulfilment-{}/compensate", order(1));
    let elsewhere = saga_orchestrator::Handle::new(shop.store.clone(), start_of_time(), Default::default());
    let elsewhere = Port(saga_orchestrator::router(elsewhere).split_for_parts().0);
    let shown = elsewhere.post(&format!("{path}?dry_run=true"), &[("idempotency-key", "k")], BODY).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
    let acted = elsewhere.post(&path, &[("idempotency-key", "k")], BODY).await;
    assert_eq!(acted.status, StatusCode::SERVICE_UNAVAILABLE, "{}", acted.body);
    // The commit fails: there is no answer, nothing is half done, and the same request again is carried out.
    shop.faults.fail_commits(1);
    let failed = port.post(&path, &[("idempotency-key", "k")], BODY).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", failed.body);
    assert!(shop.view(order(1)).await.actions.is_empty());
    let patience = std::time::Instant::now();
    let again = loop {
        let again = port.post(&path, &[("idempotency-key", "k")], BODY).await;
        if again.status != StatusCode::SERVICE_UNAVAILABLE || patience.elapsed().as_secs() > 60 {
            break again;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    let over = shop.until(order(1), "over", |view| view.state().is_end()).await;
    assert_eq!((over.actions.len(), over.reason.as_deref()), (1, Some("operator")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_shows_each_compensation_with_its_amount() {
    let (_dir, shop, port) = shop_with("tok_approve").await;
    shop.until_settled(order(1)).await;
    let id = format!("order_fulfilment-{}", order(1));
    let plan = port.json(&format!("/v1/sagas/{id}/plan")).await;
    assert_eq!((&plan["if_fails"], &plan["next"][0]["kind"]), (&Value::Null, &"pivot".into()));
    let plan = port.json(&format!("/v1/sagas/{id}/plan?if_fails=true")).await;
    let fails = &plan["if_fails"];
    assert_eq!((&plan["at"][0], &fails["way"]), (&"plan_shipment".into(), &"compensate".into()));
    let steps: Vec<_> = fails["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["plan_shipment", "authorise", "reserve", "start"]);
    assert_eq!(fails["steps"][1]["sends"][0]["amount"]["amount"], 200);
    shop.close().await;
}

/// While no program can follow the saga of order 1, its shipment gets ready, and the feed passes by.
async fn pass_by(dir: &std::path::Path) {
    use event_store::{EventStore, Position, StreamSnapshot};
    let clock = start_of_time();
    let store = event_store::sqlite::SqliteStore::open(dir, Default::default()).unwrap();
    let stream = saga_orchestrator::sagas::stream("order_fulfilment", order(1)).parse().unwrap();
    let mut state = saga_runner::stream::load::<saga_orchestrator::shop::ShopSagas>(&*store, &stream).await.unwrap();
    let (code, detail) = ("unknown-definition".to_owned(), "run the release that does".to_owned());
    let failure = Failure { kind: ErrorKind::Unsupported, code, detail };
    let (step, group, direction) = (String::new(), 0, Direction::Do);
    let attention = SagaNeedsAttention { step, group, direction, failure, stuck: true, source: None };
    let id = state.correlation_id;
    let cause = saga_runner::stream::Cause { id, correlation_id: id, traceparent: None, person: None };
    let epoch = *store.epoch().borrow();
    let events = [Event::SagaNeedsAttention(attention)];
    let ticket = saga_runner::stream::append((&*store, epoch), &mut state, &events, &cause, clock.now()).await;
    ticket.unwrap().durable().await.unwrap();
    let bus = world::mini_bus::MiniBus::new(store.clone(), clock);
    let shipment = domain::ids::ShipmentId::derive(order(1), 0);
    let ready = domain::shipment::Command::MarkShipmentReady(domain::shipment::MarkShipmentReady {});
    let about = world::mini_bus::About::client(uuid::Uuid::from_u128(77));
    let done = bus.send(domain::Command::Shipment { id: shipment, command: ready }, about).await;
    assert_eq!(done, saga_orchestrator::Outcome::Done);
    let name = saga_orchestrator::CHECKPOINT_STREAM.parse().unwrap();
    let saved = store.load_snapshot(&name).await.unwrap().unwrap();
    let mut checkpoint: Value = serde_json::from_str(&saved.state).unwrap();
    let head: Position = *store.head().borrow();
    checkpoint["position"] = serde_json::to_value(head).unwrap();
    let snapshot = StreamSnapshot { version: head.0, state: checkpoint.to_string(), ..saved };
    store.save_snapshot(&name, snapshot).await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_is_resumed_takes_in_what_passed_it_by() {
    let (dir, shop, _) = shop_with("tok_approve").await;
    shop.until_settled(order(1)).await;
    shop.close().await;
    pass_by(dir.path()).await;
    let shop = Shop::open(dir.path(), &start_of_time());
    let port = Port::of(&shop);
    let id = format!("order_fulfilment-{}", order(1));
    let why = port.json(&format!("/v1/sagas/{id}/why")).await;
    assert_eq!(why["state"], "needs_attention");
    let retry = port.post(&format!("/v1/sagas/{id}/retry?dry_run=true"), &[("idempotency-key", "k")], BODY).await;
    assert!(retry.body["detail"].as_str().unwrap().ends_with("accepted now: resume"), "{}", retry.body);
    let path = format!("/v1/sagas/{id}/resume");
    // The sagas may not be there yet: then the answer is 503, and the same request is sent again.
    let patience = std::time::Instant::now();
    let resumed = loop {
        let resumed = port.post(&path, &[("idempotency-key", "k")], BODY).await;
        if resumed.status != StatusCode::SERVICE_UNAVAILABLE || patience.elapsed().as_secs() > 60 {
            break resumed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(resumed.status, StatusCode::OK, "{}", resumed.body);
    shop.until(order(1), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    shop.close().await;
}
