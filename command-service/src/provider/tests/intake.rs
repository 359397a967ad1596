//! Webhooks at the edge: believed, matched, durable, acknowledged; in this order.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::payment::{ProviderResult, RecordProviderResult, ResultSource};
use event_store::StreamName;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::http::webhooks;
use crate::provider::port::RequestKey;
use crate::provider::signature::sign;

struct Edge {
    process: Process,
    router: Router,
    _folder: tempfile::TempDir,
}

/// A shop whose bank sends nothing by itself: the test plays the bank.
async fn edge() -> Edge {
    edge_with(Clock::system()).await
}

async fn edge_with(clock: Clock) -> Edge {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open_with(folder.path(), clock);
    let provider = process.start(Arc::new(bank(folder.path())), None);
    let router = webhooks::router(provider).split_for_parts().0;
    Edge { process, router, _folder: folder }
}

impl Edge {
    async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> (StatusCode, String) {
        let mut request = Request::post("/v1/payments/webhooks/simulated");
        request.headers_mut().expect("a valid request").extend(headers);
        self.answer(request.body(Body::from(body)).expect("a valid request")).await
    }

    async fn answer(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn tell(&self, event: &ProviderEvent) -> (StatusCode, String) {
        let body = serde_json::to_vec(event).expect("JSON");
        let headers = sign(&secrets(), &event.event_id, &body, self.process.clock.now());
        self.post(headers, body).await
    }

    async fn inbox(&self, event_id: &str) -> Vec<RecordedEvent> {
        let stream: StreamName = format!("provider_inbox-simulated@{event_id}").parse().expect("a stream's name");
        self.process.store.read_stream(&stream, 0, Direction::Forward, 10).await.expect("the log reads")
    }
}

fn event(payment: u128, request: u128, id: &str, result: ProviderResult) -> ProviderEvent {
    ProviderEvent {
        event_id: id.to_owned(),
        key: RequestKey { payment_id: payment_id(payment), request_id: request_id(request) },
        order_id: OrderId(Uuid::from_u128(payment)),
        provider_ref: "sim_x".to_owned(),
        result,
        at: Timestamp::UNIX_EPOCH,
    }
}

fn authorized() -> ProviderResult {
    let capture_before = Timestamp::from_timestamp(2_000_000_000, 0).expect("a valid time");
    ProviderResult::Authorized { amount: eur(1_000), capture_before }
}

/// Waiting for its customer: nothing but a webhook moves it.
async fn waiting_payment(edge: &Edge) {
    edge.process.send(1, authorize(1, "tok_3ds_approve.manual")).await;
    edge.process.until(1, "waiting", |payment| payment.status == Status::ActionRequired).await;
}

#[tokio::test]
async fn a_webhook_is_acknowledged_when_its_event_is_in_the_log_and_again_without_another() {
    let edge = edge().await;
    waiting_payment(&edge).await;
    for id in ["evt_1", "evt_1", "evt_2"] {
        let (status, body) = edge.tell(&event(1, 1, id, authorized())).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"events":1}"#));
        let types = edge.process.types(1).await;
        assert_eq!(types, ["PaymentAuthorizationRequested", "PaymentActionRequired", "PaymentAuthorized"]);
    }
    let last = edge.process.events(1).await.pop().expect("an event");
    assert_eq!(last.metadata.correlation_id, Uuid::from_u128(77), "it belongs to the order's story");
    edge.process.crash().await;
}

#[tokio::test]
async fn older_news_after_newer_changes_nothing() {
    let edge = edge().await;
    waiting_payment(&edge).await;
    edge.tell(&event(1, 1, "evt_2", authorized())).await;
    let before = edge.process.types(1).await;
    for (id, result) in [
        ("evt_1", ProviderResult::ActionRequired { action_url: "http://bank".into() }),
        ("evt_0", ProviderResult::Declined { code: "late".into() }),
    ] {
        assert_eq!(edge.tell(&event(1, 1, id, result)).await.0, StatusCode::OK);
    }
    assert_eq!(edge.process.types(1).await, before);
    edge.process.crash().await;
}

#[tokio::test]
async fn what_fits_no_request_is_kept_once_and_acknowledged() {
    let edge = edge().await;
    waiting_payment(&edge).await;
    for (id, event) in [
        ("evt_stranger", event(99, 1, "evt_stranger", authorized())),
        ("evt_request", event(1, 55, "evt_request", authorized())),
        ("evt_amount", {
            let capture_before = Timestamp::UNIX_EPOCH;
            event(1, 1, "evt_amount", ProviderResult::Authorized { amount: eur(5_000), capture_before })
        }),
    ] {
        for _ in 0..2 {
            assert_eq!(edge.tell(&event).await.0, StatusCode::OK, "{id}");
        }
        let kept = edge.inbox(id).await;
        assert_eq!(kept.len(), 1, "{id}");
        assert_eq!(&*kept[0].event_type, "ProviderEventReceived");
        assert!(kept[0].data.get().contains(id));
    }
    assert_eq!(edge.process.types(1).await, ["PaymentAuthorizationRequested", "PaymentActionRequired"]);
    edge.process.crash().await;
}

#[tokio::test]
async fn what_is_not_signed_in_time_with_the_secret_is_refused_before_it_is_read() {
    let edge = edge().await;
    waiting_payment(&edge).await;
    let body = serde_json::to_vec(&event(1, 1, "evt_1", authorized())).expect("JSON");
    let now = edge.process.clock.now();
    let mut changed = body.clone();
    changed.push(b' ');
    let secret = secrets();
    for (headers, body) in [
        (HeaderMap::new(), body.clone()),
        (
            sign(&WebhookSecrets::new("another secret of these tests").expect("long enough"), "evt_1", &body, now),
            body.clone(),
        ),
        (sign(&secret, "evt_1", &body, now), changed),
        (sign(&secret, "evt_1", &body, now - Duration::from_secs(400)), body.clone()),
        (sign(&secret, "evt_1", &body, now + Duration::from_secs(400)), body.clone()),
        (HeaderMap::new(), b"not even JSON".to_vec()),
    ] {
        let (status, problem) = edge.post(headers, body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(problem.contains("/problems/webhook-signature"), "{problem}");
    }
    assert_eq!(edge.process.types(1).await, ["PaymentAuthorizationRequested", "PaymentActionRequired"]);
    edge.process.crash().await;
}

#[tokio::test]
async fn what_is_signed_and_cannot_be_read_is_a_bad_request() {
    let edge = edge().await;
    let secret = secrets();
    let long = serde_json::to_vec(&event(1, 1, &"x".repeat(129), authorized())).expect("JSON");
    let spaced = serde_json::to_vec(&event(1, 1, "evt 1", authorized())).expect("JSON");
    for body in [b"".to_vec(), b"{}".to_vec(), b"{\"event_id\":1}".to_vec(), vec![0xff; 20], long, spaced] {
        let headers = sign(&secret, "evt_1", &body, edge.process.clock.now());
        let (status, problem) = edge.post(headers, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    }
    let huge = vec![b' '; 65 * 1024];
    let headers = sign(&secret, "evt_1", &huge, edge.process.clock.now());
    assert_eq!(edge.post(headers, huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let stranger = Request::post("/v1/payments/webhooks/stripe").body(Body::empty()).expect("a valid request");
    assert_eq!(edge.answer(stranger).await.0, StatusCode::NOT_FOUND);
    edge.process.crash().await;
}

#[tokio::test]
async fn the_bank_shows_its_own_account_page_by_page() {
    let edge = edge().await;
    for payment in 1..=3 {
        edge.process.send(payment, authorize(payment, "tok_approve")).await;
        edge.process.until(payment, "authorized", is_authorized).await;
    }
    let get = |path: String| edge.answer(Request::get(path).body(Body::empty()).expect("a valid request"));
    let (status, body) = get("/v1/provider".into()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains(r#""name":"simulated","mode":"in_process""#), "{body}");
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let (status, body) = get(format!("/v1/provider/ledger?limit=2{after}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let page: Statement = serde_json::from_str(&body).expect("a statement");
        assert_eq!((page.totals["EUR"].authorized, page.payments, page.effects), (3_000, 3, 3));
        seen.extend(page.entries.iter().map(|entry| entry.payment_id));
        after = format!("&after={}", seen.last().expect("an entry"));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3].map(payment_id));
    assert_eq!(get("/v1/provider/ledger?after=x".into()).await.0, StatusCode::BAD_REQUEST);
    edge.process.crash().await;
}

impl Edge {
    /// Waits until the inbox says that the event is in its payment.
    async fn until_recorded(&self, event_id: &str) {
        let mut head = self.process.store.head();
        let wait = async {
            while self.inbox(event_id).await.len() < 2 {
                head.changed().await.expect("the log is open");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the inbox is drained");
        let last = self.inbox(event_id).await.pop().expect("an event");
        assert_eq!(&*last.event_type, "ProviderEventRecorded");
    }

    async fn listed(&self) -> String {
        let request = Request::get("/v1/provider-inbox").body(Body::empty()).expect("a valid request");
        let (status, body) = self.answer(request).await;
        assert_eq!(status, StatusCode::OK);
        body
    }
}

#[tokio::test]
async fn what_came_too_early_is_recorded_once_it_fits_and_what_never_fits_is_shown() {
    let edge = edge().await;
    assert_eq!(edge.tell(&event(99, 1, "evt_stranger", authorized())).await.0, StatusCode::OK);
    assert_eq!(edge.tell(&event(1, 1, "evt_early", authorized())).await.0, StatusCode::OK);
    assert_eq!(edge.inbox("evt_early").await.len(), 1, "it fitted nothing");
    edge.process.send(1, authorize(1, "tok_3ds_approve.manual")).await;
    // Something new in the inbox: all of it is tried again.
    assert_eq!(edge.tell(&event(98, 1, "evt_trigger", authorized())).await.0, StatusCode::OK);
    edge.process.until(1, "authorized", is_authorized).await;
    edge.until_recorded("evt_early").await;
    let listed = edge.listed().await;
    assert!(listed.contains("evt_stranger") && listed.contains("no-such-payment"), "{listed}");
    let types = edge.process.types(1).await;
    assert_eq!(types.iter().filter(|name| *name == "PaymentAuthorized").count(), 1, "{types:?}");
    edge.process.crash().await;
}

#[tokio::test]
async fn the_inbox_is_tried_every_minute_on_a_busy_log_too() {
    let clock = Clock::manual(Timestamp::from_timestamp(1_767_614_400, 0).expect("a valid time"));
    let edge = edge_with(clock.clone()).await;
    assert_eq!(edge.tell(&event(1, 1, "evt_early", authorized())).await.0, StatusCode::OK);
    edge.process.send(1, authorize(1, "tok_3ds_approve.manual")).await;
    for second in 0..70u128 {
        edge.process.send(100 + second, authorize(100 + second, "tok_3ds_approve.manual")).await;
        clock.advance(Duration::from_secs(1));
        edge.process.until(100 + second, "asked", |payment| payment.status == Status::ActionRequired).await;
    }
    edge.until_recorded("evt_early").await;
    edge.process.crash().await;
}

#[tokio::test]
async fn the_page_at_an_action_url_shows_what_the_customer_can_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    let simulator = bank(folder.path());
    let provider = process.start(Arc::new(simulator.clone()), Some(simulator));
    let edge = Edge { process, router: webhooks::router(provider).split_for_parts().0, _folder: folder };
    waiting_payment(&edge).await;
    let get = |payment: u128| {
        let path = format!("/v1/provider/actions/{}", payment_id(payment));
        edge.answer(Request::get(path).body(Body::empty()).expect("a valid request"))
    };
    let (status, page) = get(1).await;
    assert!(status == StatusCode::OK && page.contains("/approve") && page.contains("/abandon"), "{page}");
    assert_eq!(get(2).await.0, StatusCode::NOT_FOUND);
    // A browser sends the page's forms, and with an origin of its own.
    let path = format!("/v1/provider/actions/{}", payment_id(1));
    let request = Request::get(&path).body(Body::empty()).expect("a valid request");
    let mut headers = edge.router.clone().oneshot(request).await.expect("never fails").headers().clone();
    service_kit::hosts::protect(&mut headers, false);
    assert!(headers["content-security-policy"].to_str().expect("text").ends_with("form-action 'self'"), "{headers:?}");
    assert_eq!(headers["referrer-policy"], "same-origin");
    let approve = format!("{path}/approve");
    assert_eq!(edge.answer(Request::post(approve).body(Body::empty()).expect("valid")).await.0, StatusCode::OK);
    assert!(!get(1).await.1.contains("/approve"), "it is done");
    edge.process.crash().await;
}

#[tokio::test]
async fn a_crash_before_the_inbox_was_told_is_repaired_at_the_start_without_doubles() {
    let edge = edge().await;
    assert_eq!(edge.tell(&event(1, 1, "evt_early", authorized())).await.0, StatusCode::OK);
    let Edge { process, router, _folder: folder } = edge;
    drop(router);
    process.crash().await;
    let mut process = Process::open(folder.path());
    // The payment has it, the inbox does not know: as if the process had died between the two appends.
    process.send(1, authorize(1, "tok_approve")).await;
    let (request_id, result, source) = (request_id(1), authorized(), ResultSource::Webhook);
    let record = RecordProviderResult { request_id, result, provider_ref: Some("sim_x".to_owned()), source };
    process.send(1, Command::RecordProviderResult(record)).await;
    let before = process.types(1).await;
    assert_eq!(before, ["PaymentAuthorizationRequested", "PaymentAuthorized"]);
    let provider = process.start(Arc::new(bank(folder.path())), None);
    let edge = Edge { process, router: webhooks::router(provider).split_for_parts().0, _folder: folder };
    edge.until_recorded("evt_early").await;
    assert_eq!(edge.process.types(1).await, before);
    edge.process.crash().await;
}
