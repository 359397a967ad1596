//! The front door: what is sent again, to whom, and what is never sent twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use gateway::{GatewayConfig, Running};
use service_kit::config::Started;
use service_kit::limits::DRAINING;
use service_kit::{Clock, Limits, Problem, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A replica of the test's own: what it was asked, and how it answers.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    tasks: Tasks,
}

impl Fake {
    async fn answering(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let keep = asked.clone();
        let any = move |request: Request| {
            let (keep, answer) = (keep.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                keep.lock().unwrap().push((format!("{} {}", parts.method, parts.uri), parts.headers, body));
                answer()
            }
        };
        let router = Router::new().route("/health/ready", get(|| async { "" })).fallback(any);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
        tasks.spawn("fake", async move { axum::serve(listener, router).await.unwrap() });
        Self { address, asked, tasks }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Takes connections, reads what comes, and closes them without a word: a process that dies over a request.
async fn dying(tasks: &Tasks) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = requests.clone();
    tasks.spawn("dying", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = [0; 4096];
            let bytes = stream.read(&mut read).await.unwrap_or(0);
            if read[..bytes].starts_with(b"POST") {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (address, requests)
}

async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn before(replicas: &[SocketAddr]) -> Running {
    let urls = replicas.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join(",");
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = GatewayConfig {
        listen,
        commands: urls.clone(),
        queries: urls.clone(),
        sagas: urls,
        ..GatewayConfig::default()
    };
    gateway::start(&config, Limits::default(), &Started::default(), Clock::system()).await.unwrap()
}

fn created() -> Response {
    (StatusCode::CREATED, [("x-commit-position", "7")], "made").into_response()
}

/// Asks until the answer has come from the gateway through to a replica, with or without a key.
async fn post(gateway: &Running, path: &str, key: Option<&str>) -> reqwest::Response {
    let request = reqwest::Client::new().post(format!("http://{}{path}", gateway.address)).body("{\"a\":1}");
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_command_whose_replica_dies_over_it_is_sent_to_the_next_with_its_key_and_body() {
    let (tasks, fake) = (Tasks::new(), Fake::answering(created).await);
    let (dead, requests) = dying(&tasks).await;
    let gateway = before(&[nobody().await, dead, fake.address]).await;
    for n in 0..6 {
        let answer = post(&gateway, "/v1/orders", Some(&format!("key-{n}"))).await;
        assert_eq!(
            (answer.status(), &answer.headers()["x-commit-position"]),
            (StatusCode::CREATED, &"7".parse().unwrap())
        );
        assert_eq!(answer.text().await.unwrap(), "made");
    }
    assert!(requests.load(Ordering::SeqCst) > 0, "a request died with its replica");
    assert_eq!(fake.asked(), 6);
    for (n, (line, headers, body)) in fake.asked.lock().unwrap().iter().enumerate() {
        assert_eq!((line.as_str(), &**body), ("POST /v1/orders", b"{\"a\":1}".as_slice()));
        assert_eq!(headers["idempotency-key"], format!("key-{n}"));
    }
    gateway.stop().await;
    tasks.stop();
}

#[tokio::test]
async fn what_has_no_key_is_not_sent_again_once_it_may_have_arrived() {
    let (tasks, fake) = (Tasks::new(), Fake::answering(created).await);
    let (dead, requests) = dying(&tasks).await;
    let gateway = before(&[dead, fake.address]).await;
    let mut refused = 0;
    for _ in 0..20 {
        let sent = requests.load(Ordering::SeqCst) + fake.asked();
        let answer = post(&gateway, "/v1/provider/actions/x/approve", None).await;
        assert_eq!(requests.load(Ordering::SeqCst) + fake.asked(), sent + 1, "sent exactly once");
        refused += usize::from(answer.status() == StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(refused, requests.load(Ordering::SeqCst));
    assert!(refused > 0, "the replica that dies was asked");
    gateway.stop().await;
    tasks.stop();
}

#[tokio::test]
async fn a_replica_that_says_elsewhere_or_is_being_stopped_is_passed_by() {
    let misdirected = Fake::answering(|| StatusCode::MISDIRECTED_REQUEST.into_response()).await;
    let busy = Fake::answering(|| (StatusCode::SERVICE_UNAVAILABLE, [(DRAINING, "true")]).into_response()).await;
    let owner = Fake::answering(|| "done".into_response()).await;
    let gateway = before(&[misdirected.address, busy.address, owner.address]).await;
    for _ in 0..3 {
        let answer = post(&gateway, "/v1/sagas/1/retry", Some("k")).await;
        assert_eq!((answer.status(), answer.text().await.unwrap().as_str()), (StatusCode::OK, "done"));
    }
    assert!(misdirected.asked() > 0 && busy.asked() > 0, "both were asked first");
    assert_eq!(owner.asked(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn what_waits_at_a_replica_that_falls_silent_goes_to_the_next() {
    let (silent, tasks) = (Arc::new(AtomicUsize::new(0)), Tasks::new());
    let paused = {
        // From its first request on it says nothing, not even that it is ready.
        let (asked, ready) = (silent.clone(), silent.clone());
        let any = move || async move {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        };
        let ready = move || async move {
            if ready.load(Ordering::SeqCst) > 0 {
                std::future::pending::<()>().await;
            }
        };
        let router = Router::new().route("/health/ready", get(ready)).fallback(any);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("paused", async move { axum::serve(listener, router).await.unwrap() });
        address
    };
    let other = Fake::answering(|| "read".into_response()).await;
    let gateway = before(&[paused, other.address]).await;
    for _ in 0..2 {
        // A read may wait for 30 s by itself (`Prefer: wait`); nothing but the silence tells that this one waits in vain.
        let read = reqwest::get(format!("http://{}/v1/orders", gateway.address));
        let answer = tokio::time::timeout(Duration::from_secs(20), read).await.expect("not as long as a read may take");
        assert_eq!(answer.unwrap().text().await.unwrap(), "read");
    }
    assert_eq!(silent.load(Ordering::SeqCst), 1, "one read came to the silent replica");
    assert_eq!(other.asked(), 2);
    gateway.stop().await;
    tasks.stop();
}

#[tokio::test]
async fn without_any_replica_the_answer_is_a_problem_that_says_when_to_come_back() {
    let gateway = before(&[nobody().await]).await;
    let answer = reqwest::get(format!("http://{}/v1/orders", gateway.address)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&answer.headers()["retry-after"], &answer.headers()["content-type"]),
        (&"1".parse().unwrap(), &"application/problem+json".parse().unwrap())
    );
    let health: serde_json::Value =
        reqwest::get(format!("http://{}/health", gateway.address)).await.unwrap().json().await.unwrap();
    assert_eq!((&health["ready"], &health["dependencies"]["commands"]["status"]), (&false.into(), &"down".into()));
    gateway.stop().await;
}

#[tokio::test]
async fn server_sent_events_pass_through_as_they_come() {
    let (told, tell) = mpsc::unbounded_channel::<&'static str>();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let live = Fake::answering(move || {
        let tell = tell.lock().unwrap().take().expect("asked once");
        let events = stream::unfold(tell, |mut tell| async move {
            tell.recv().await.map(|text| (Ok::<_, std::io::Error>(Bytes::from(text)), tell))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
    })
    .await;
    let gateway = before(&[live.address]).await;
    let mut answer = reqwest::get(format!("http://{}/v1/events", gateway.address)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    for text in ["one", "two"] {
        told.send(text).unwrap();
        // The next is only sent once this one has come through.
        let chunk = tokio::time::timeout(Duration::from_secs(10), answer.chunk()).await.unwrap().unwrap().unwrap();
        assert_eq!(chunk, text);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_front_door_shows_the_contract_and_refuses_what_is_too_large_by_itself() {
    let fake = Fake::answering(created).await;
    let gateway = before(&[fake.address]).await;
    let contract = reqwest::get(format!("http://{}/openapi.json", gateway.address)).await.unwrap();
    assert!(contract.text().await.unwrap().contains("placeOrder"));
    let large = reqwest::Client::new().post(format!("http://{}/v1/orders", gateway.address)).body("x".repeat(100_000));
    assert_eq!(large.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(fake.asked(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_refusal_is_the_client_s_answer_and_reaches_one_replica_once() {
    let busy = || Problem::overloaded("2 requests of the class `command` are being served", 7).into_response();
    let replicas = [Fake::answering(busy).await, Fake::answering(busy).await, Fake::answering(busy).await];
    let gateway = before(&replicas.each_ref().map(|fake| fake.address)).await;
    for n in 1..=20 {
        let answer = post(&gateway, "/v1/orders", Some(&format!("key-{n}"))).await;
        assert_eq!(
            (answer.status(), &answer.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().unwrap())
        );
        assert!(answer.text().await.unwrap().contains("/problems/overloaded"));
        let read = reqwest::get(format!("http://{}/v1/orders/x", gateway.address)).await.unwrap();
        assert_eq!(read.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(replicas.iter().map(Fake::asked).sum::<usize>(), 2 * n, "each request is sent once");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn replicas_that_die_over_every_request_get_a_fifth_more_of_them_and_no_multiple() {
    let tasks = Tasks::new();
    let (one, first) = dying(&tasks).await;
    let (other, second) = dying(&tasks).await;
    let gateway = before(&[one, other]).await;
    let (begun, requests) = (std::time::Instant::now(), 300);
    let sends = (0..requests).map(|n| {
        let gateway = &gateway;
        async move { post(gateway, "/v1/orders", Some(&format!("key-{n}"))).await.status() }
    });
    let statuses: Vec<StatusCode> = stream::iter(sends).buffer_unordered(50).collect().await;
    assert!(statuses.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
    let sent = first.load(Ordering::SeqCst) + second.load(Ordering::SeqCst);
    // A fifth, the hundred that were saved up, and ten a second.
    let most = requests + requests / 5 + 100 + 10 * (begun.elapsed().as_secs() as usize + 1);
    assert!((requests..=most).contains(&sent), "{requests} requests were sent {sent} times");
    gateway.stop().await;
    tasks.stop();
}

/// What a gateway answers to a request with this path, written as it is.
async fn ask_raw(gateway: &Running, path: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn ambiguous_paths_are_refused_before_they_are_routed() {
    let fake = Fake::answering(|| "internal".into_response()).await;
    let gateway = before(&[fake.address]).await;
    for path in [
        "/v1/%2e%2e/metrics",
        "/v1/../metrics",
        "/v1/..%2fmetrics",
        "/v1/orders/..\\..\\metrics",
        "/v1//metrics",
        "/v1/payments/webhooks/../../orders",
        "/v1/payments/webhooks/%2e%2e/%2E%2E/orders",
        "/v1/orders/a%2Fb",
        "/v1/orders/%5c",
        "/v1/orders/a%00",
    ] {
        let answer = ask_raw(&gateway, path).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert_eq!(fake.asked(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_path_that_is_decided_on_is_the_path_that_is_sent() {
    const PARTS: [&str; 24] = [
        "/", "v1/", "orders", "sagas", "a", ".", "..", "%2e", "%2E%2e", "%2f", "%5C", "\\", "//", "%25", "%", "%g0",
        ";", ":", "?q=%27'|", "&x=[]", "@", "%20", "~", "+",
    ];
    let fake = Fake::answering(|| "answered".into_response()).await;
    let gateway = before(&[fake.address]).await;
    // Drawn by a small generator of our own: the same paths at each run.
    let mut seed = 7_u64;
    let mut draw = |most: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % most
    };
    let mut arrived = 0;
    for _ in 0..400 {
        let path: String = (0..=draw(6)).fold("/v1/".to_owned(), |path, _| path + PARTS[draw(PARTS.len())]);
        let answer = ask_raw(&gateway, &path).await;
        if fake.asked() > arrived {
            arrived += 1;
            assert_eq!(fake.asked.lock().unwrap().last().unwrap().0, format!("GET {path}"));
            let only = path.split('?').next().unwrap().to_lowercase();
            assert!(!["//", "%2f", "%5c", "\\"].iter().any(|bad| only.contains(bad)), "{path}");
        } else {
            assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        }
    }
    assert!(arrived > 50, "{arrived} of 400 came through");
    gateway.stop().await;
}

#[tokio::test]
async fn a_replica_learns_the_caller_from_the_gateway_alone() {
    let fake = Fake::answering(created).await;
    let gateway = before(&[fake.address]).await;
    let request = reqwest::Client::new().post(format!("http://{}/v1/orders", gateway.address));
    let request = request.header("idempotency-key", "k").header("connection", "x-hop").header("x-hop", "1");
    let request = request.header("x-forwarded-for", "6.6.6.6").header("keep-alive", "timeout=5");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
    let headers = fake.asked.lock().unwrap()[0].1.clone();
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-host"], gateway.address.to_string());
    assert!(!headers.contains_key("x-hop") && !headers.contains_key("keep-alive"), "{headers:?}");
    gateway.stop().await;
}
