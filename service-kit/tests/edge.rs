//! A port under clients that do not behave, under more than it can carry, and at its end. What is asserted are answers and
//! counts; nothing here depends on how fast the machine is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get, post};
use futures_util::{Stream, StreamExt as _, stream};
use service_kit::class::Class;
use service_kit::config::Started;
use service_kit::limits::Edge;
use service_kit::permits::AtOnce;
use service_kit::serve::{self, Options, Port, Protocols};
use service_kit::{Clock, Health, HttpConfig, Limits, Problem, Tasks, health};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Long enough for any machine; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough for a test that waits for it.
const SHORT: Duration = Duration::from_millis(200);

/// A port with handlers that answer at once, and handlers that wait until the test opens a gate.
struct Server {
    address: SocketAddr,
    entered: Arc<AtomicUsize>,
    gate: watch::Sender<bool>,
    tasks: Tasks,
}

impl Server {
    async fn start(limits: Limits, change: impl FnOnce(&mut Options)) -> Self {
        let (tasks, gate, entered) = (Tasks::new(), watch::Sender::new(false), Arc::new(AtomicUsize::new(0)));
        let mut options = Options::new("test", &limits, SHORT);
        change(&mut options);
        let (opens, enters) = (gate.subscribe(), Arc::clone(&entered));
        let waits = any(move || {
            let mut opens = opens.clone();
            enters.fetch_add(1, Ordering::SeqCst);
            async move {
                opens.wait_for(|open| *open).await.unwrap();
                "done"
            }
        });
        let live = get(|| async { Sse::new(stream::pending::<Result<Event, std::convert::Infallible>>()) });
        let router = Router::from(health::router(Health::new(Clock::system())))
            .route("/metrics", get(|| async { "numbers" }))
            .route("/v1/at-once/{id}", any(|| async { "at once" }))
            .route("/v1/orders/{id}", waits.clone())
            .route("/v1/orders", waits.clone())
            .route("/v1/large", get(|| async { vec![b'x'; 1 << 20] }))
            .route("/v1/reports/{id}", waits)
            .route("/v1/events", live)
            .route("/v1/events/threads", get(|| async { Sse::new(threads()) }))
            .route("/v1/echo", post(|body: Bytes| async move { body }));
        let router = Edge::new(limits).until(tasks.stopping(), options.grace).around(router);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("test", serve::run(listener, router, options, None, tasks.stopping()));
        Self { address, entered, gate, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request and returns the connection; the answer is read later.
    async fn send(&self, line: &str, headers: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Status and whole text of the answer to one request on a connection of its own.
    async fn ask(&self, line: &str, headers: &str) -> (u16, String) {
        answer(self.send(line, &format!("connection: close\r\n{headers}")).await).await
    }

    /// Waits until so many requests are with handlers that wait.
    async fn until_entered(&self, requests: usize) {
        let entered = async {
            while self.entered.load(Ordering::SeqCst) < requests {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, entered).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// The names of the threads on which an answer is written, for as long as somebody reads it.
fn threads() -> impl Stream<Item = Result<Event, std::convert::Infallible>> {
    stream::unfold(tokio::time::interval(Duration::from_millis(1)), |mut ticks| async {
        ticks.tick().await;
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        Some((Ok(Event::default().data(thread)), ticks))
    })
}

/// Reads to the end of the connection.
async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the connection ends").unwrap();
    let text = String::from_utf8(text).unwrap();
    let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, text)
}

fn problem(text: &str) -> Problem {
    serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

fn few() -> AtOnce {
    AtOnce { commands: 2, one_row: 2, lists: 2, long_waits: 2, streams: 2, heavy: 2 }
}

/// A request of each class: its line, and a header.
fn of(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Command => ("POST /v1/orders", ""),
        Class::OneRow => ("GET /v1/orders/x", ""),
        Class::List => ("GET /v1/orders", ""),
        Class::LongWait => ("GET /v1/orders/x", "prefer: wait=20\r\n"),
        Class::Stream => ("GET /v1/events", "accept: text/event-stream\r\n"),
        Class::Heavy => ("GET /v1/reports/x", ""),
    }
}

#[tokio::test]
async fn clients_that_say_nothing_or_half_a_request_are_closed() {
    let server = Server::start(Limits::default(), |options| {
        (options.header_timeout, options.idle_timeout) = (SHORT, SHORT);
    })
    .await;
    let mut open = Vec::new();
    for said in ["", "G", "PRI * HTTP/2", "GET /v1/at-once/1 HTTP/1.1\r\nhost: localhost\r\nx-slow"] {
        let mut stream = server.connect().await;
        stream.write_all(said.as_bytes()).await.unwrap();
        open.push(stream);
    }
    for stream in open {
        assert_ne!(answer(stream).await.0, 200);
    }
    // One that has had its answer and keeps the connection without asking for more.
    let (status, _) = answer(server.send("GET /v1/at-once/1", "").await).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn connections_beyond_a_bound_are_answered_health_and_metrics_only() {
    for (connections, per_address) in [(2, 100), (100, 2)] {
        let server = Server::start(Limits::default(), |options| {
            (options.connections, options.per_address) = (connections, per_address);
        })
        .await;
        let held = [server.send("GET /v1/orders/x", "").await, server.send("GET /v1/orders/x", "").await];
        server.until_entered(2).await;
        for _ in 0..5 {
            let (status, text) = server.ask("GET /v1/at-once/1", "").await;
            assert_eq!((status, problem(&text).slug()), (503, "overloaded"));
            assert!(text.contains("retry-after: ") && text.contains("connection: close"), "{text}");
            assert_eq!(server.ask("GET /health/live", "").await.0, 204);
            assert_eq!(server.ask("GET /health/ready", "").await.0, 200);
            assert_eq!(server.ask("GET /metrics", "").await.0, 200);
        }
        server.gate.send_replace(true);
        drop(held);
    }
}

#[tokio::test]
async fn silent_connections_beyond_the_bound_keep_no_probe_out() {
    let server = Server::start(Limits::default(), |options| options.connections = 1).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(server.connect().await);
    }
    for _ in 0..20 {
        assert_eq!(server.ask("GET /health/live", "").await.0, 204);
    }
}

#[tokio::test]
async fn a_full_class_refuses_its_own_requests_and_no_other_class_or_health() {
    for &full in Class::ALL {
        let server = Server::start(Limits { at_once: few(), ..Limits::default() }, |_| {}).await;
        let (line, headers) = of(full);
        let held = [server.send(line, headers).await, server.send(line, headers).await];
        if full != Class::Stream {
            server.until_entered(2).await;
        }
        // A stream has its place once its answer has begun.
        for mut stream in held {
            if full == Class::Stream {
                stream.read_exact(&mut [0; 12]).await.unwrap();
            }
            std::mem::forget(stream); // Open until the test ends.
        }
        for _ in 0..20 {
            let (status, text) = server.ask(line, headers).await;
            assert_eq!((status, problem(&text).slug()), (503, "overloaded"), "{full}");
            assert!(text.contains("retry-after: "), "{text}");
            for path in ["/health/live", "/health/ready", "/health", "/metrics"] {
                assert!(server.ask(&format!("GET {path}"), "").await.0 < 300, "{path} while {full} is full");
            }
        }
        for other in Class::ALL.iter().copied().filter(|other| *other != full) {
            let line = match other {
                Class::Command => "POST /v1/at-once/1",
                Class::OneRow | Class::LongWait => "GET /v1/at-once/1",
                Class::List => "GET /v1/no-such-list",
                Class::Heavy => "GET /v1/reports/x/y",
                Class::Stream => "GET /v1/events",
            };
            for _ in 0..10 {
                let mut stream = server.send(line, &format!("connection: close\r\n{}", of(other).1)).await;
                let mut status = [0; 12];
                stream.read_exact(&mut status).await.unwrap();
                assert_ne!(&status[9..], b"503", "{other} while {full} is full");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_its_body_slowly_takes_nobody_s_place_and_is_told_so() {
    let limits = Limits { at_once: few(), body_timeout_ms: 300, ..Limits::default() };
    let server = Server::start(limits, |_| {}).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut stream = server.send("POST /v1/echo", "connection: close\r\ncontent-length: 10\r\n").await;
        stream.write_all(b"12345").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(server.ask("POST /v1/at-once/1", "content-length: 0\r\n").await.0, 200);
    for stream in slow {
        let (status, text) = answer(stream).await;
        assert_eq!((status, problem(&text).slug()), (408, "request-timeout"));
    }
}

#[tokio::test]
async fn bodies_take_so_much_memory_together_and_no_more() {
    let limits = Limits { body_memory_bytes: 100_000, ..Limits::default() };
    let server = Server::start(limits, |_| {}).await;
    let body = "x".repeat(60_000);
    let request = |line| (line, format!("connection: close\r\ncontent-length: {}\r\n", body.len()));
    let (line, headers) = request("POST /v1/orders");
    let mut first = server.send(line, &headers).await;
    first.write_all(body.as_bytes()).await.unwrap();
    server.until_entered(1).await;
    let (line, headers) = request("POST /v1/echo");
    let mut second = server.send(line, &headers).await;
    second.write_all(body.as_bytes()).await.unwrap();
    let (status, text) = answer(second).await;
    assert_eq!((status, problem(&text).slug()), (503, "overloaded"));
    server.gate.send_replace(true);
    assert_eq!(answer(first).await.0, 200, "what was taken is carried out");
    let mut third = server.send(line, &headers).await;
    third.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(answer(third).await.0, 200, "memory is given back");
}

#[tokio::test]
async fn at_the_end_everybody_gets_an_answer() {
    let server = Server::start(Limits::default(), |options| options.grace = PATIENCE).await;
    let waits = server.send("GET /v1/orders/x", "prefer: wait=20\r\n").await;
    let works = server.send("POST /v1/orders", "content-length: 0\r\n").await;
    let mut live = server.send("GET /v1/events", "accept: text/event-stream\r\n").await;
    live.read_exact(&mut [0; 12]).await.unwrap();
    server.until_entered(2).await;
    server.tasks.stop();
    let (status, text) = answer(waits).await;
    assert_eq!(status, 503, "a wait is over");
    assert!(!text.contains("command"), "it was none: {text}");
    assert!(text.contains("retry-after: ") && text.contains("x-backstitch-draining: true"), "{text}");
    let (_, events) = answer(live).await;
    assert!(events.ends_with("0\r\n\r\n"), "live events end in order: {events}");
    server.gate.send_replace(true);
    assert_eq!(answer(works).await.0, 200, "a command that was begun is answered");
    assert!(server.tasks.shut_down(PATIENCE).await);
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_told_to_come_back() {
    let server = Server::start(Limits::default(), |_| {}).await;
    let never = server.send("POST /v1/orders", "content-length: 0\r\n").await;
    server.until_entered(1).await;
    server.tasks.stop();
    let (status, text) = answer(never).await;
    assert_eq!((status, problem(&text).retry_after_s), (503, Some(1)));
    assert!(problem(&text).detail.is_some_and(|detail| detail.contains("Idempotency-Key")), "{text}");
    assert!(server.tasks.shut_down(PATIENCE).await, "and the port closes");
}

#[tokio::test]
async fn a_body_that_is_on_its_way_at_the_end_is_served_within_the_grace() {
    let server = Server::start(Limits::default(), |options| options.grace = PATIENCE).await;
    let mut half = begun_at(&server, 10, 5).await;
    server.tasks.stop();
    half.write_all(b"67890").await.unwrap();
    let (status, text) = answer(half).await;
    assert_eq!((status, text.ends_with("1234567890")), (200, true), "{text}");
    assert!(server.tasks.shut_down(PATIENCE).await);
}

#[tokio::test]
async fn a_body_that_does_not_come_within_the_grace_is_told_that_nothing_was_done() {
    let server = Server::start(Limits::default(), |_| {}).await;
    let half = begun_at(&server, 10, 5).await;
    server.tasks.stop();
    let (status, text) = answer(half).await;
    assert_eq!((status, problem(&text).retry_after_s), (503, Some(1)), "{text}");
    assert!(problem(&text).detail.is_some_and(|detail| detail.contains("nothing was done")), "{text}");
    assert!(text.contains("connection: close") && text.contains("x-backstitch-draining: true"), "{text}");
    assert!(server.tasks.shut_down(PATIENCE).await, "and the port closes");
}

/// A request of which the server has the head and has read a part of the body: it has asked for the body.
async fn begun_at(server: &Server, announced: usize, bytes: usize) -> TcpStream {
    let headers = format!("content-length: {announced}\r\nexpect: 100-continue\r\n");
    let mut stream = server.send("POST /v1/echo", &headers).await;
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&b"1234567890"[..bytes]).await.unwrap();
    stream
}

#[tokio::test]
async fn http_2_is_served_where_clients_begin_with_it_and_grpc_ports_refuse_http_1() {
    use http_body_util::{BodyExt as _, Full};
    let client: hyper_util::client::legacy::Client<_, Full<Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).http2_only(true).build_http();
    for protocols in [Protocols::Http, Protocols::Grpc { streams: 4 }] {
        let server = Server::start(Limits::default(), |options| options.protocols = protocols).await;
        let uri = format!("http://{}/v1/at-once/1", server.address).parse().unwrap();
        let answered = tokio::time::timeout(PATIENCE, client.get(uri)).await.unwrap().unwrap();
        assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), "at once");
        let status = server.ask("GET /v1/at-once/1", "").await.0;
        assert_eq!(status, if protocols == Protocols::Http { 200 } else { 505 });
    }
}

/// The test blocks the one thread of its runtime: nothing that is served there goes on.
#[tokio::test]
async fn the_port_for_health_answers_while_everything_else_stands_still() {
    use std::io::{Read as _, Write as _};
    let (tasks, health, limits) = (Tasks::new(), Health::new(Clock::system()), Limits::default());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = HttpConfig { listen: any, admin_listen: Some(any), ..HttpConfig::default() };
    let ports = config.bind(String::new).await.unwrap();
    let port = Port { config: &config, limits: &limits, started: &Started::default(), health: &health, grace: SHORT };
    let admin = port.serve(ports, Router::new(), Router::new(), &tasks).unwrap().unwrap();
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    assert!(tasks.shut_down(PATIENCE).await);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_and_frame_nothing() {
    let server = Server::start(Limits::default(), |_| {}).await;
    for path in ["/v1/at-once/1", "/health", "/nowhere"] {
        let (_, text) = server.ask(&format!("GET {path}"), "").await;
        for header in ["x-content-type-options: nosniff", "frame-ancestors 'none'", "x-frame-options: DENY"] {
            assert!(text.contains(header), "{path} without {header}: {text}");
        }
    }
}

#[tokio::test]
async fn more_clients_than_places_are_all_answered_with_200_or_503() {
    let limits = Limits { at_once: few(), ..Limits::default() };
    let server = Server::start(limits, |options| options.connections = 20).await;
    let asks = (0..200).map(|_| server.ask("POST /v1/at-once/1", "content-length: 0\r\n"));
    let statuses: Vec<u16> = stream::iter(asks).buffer_unordered(60).map(|(status, _)| status).collect().await;
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200));
}

/// A request whose body has begun to arrive, from this address of the loopback network.
async fn begun(server: &Server, from: [u8; 4], announced: usize, bytes: usize) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; bytes]).await.unwrap();
    stream
}

#[tokio::test]
async fn bodies_that_arrive_slowly_make_way_for_those_that_come_whole() {
    let limits = Limits { body_memory_bytes: 100_000, body_timeout_ms: 600_000, ..Limits::default() };
    let server = Server::start(limits, |_| {}).await;
    let (other, greedy) = ([127, 0, 0, 2], [127, 0, 0, 1]);
    let mut patient = begun(&server, other, 6_000, 5_000).await;
    // Three of them do not fit beside each other: the one that has been arriving for longest is out.
    let oldest = begun(&server, greedy, 60_000, 40_000).await;
    let _second = begun(&server, greedy, 60_000, 40_000).await;
    let _third = begun(&server, greedy, 60_000, 40_000).await;
    let (status, text) = answer(oldest).await;
    assert_eq!((status, problem(&text).slug()), (503, "overloaded"));
    assert!(text.contains("retry-after: "), "{text}");
    for _ in 0..5 {
        for address in [other, greedy] {
            assert_eq!(answer(begun(&server, address, 30_000, 30_000).await).await.0, 200);
        }
    }
    patient.write_all(&[b'x'; 1_000]).await.unwrap();
    assert_eq!(answer(patient).await.0, 200, "an address that takes little keeps it");
}

/// A client of HTTP/2 that answers every ping: how requests are sent, and what ends with its connection.
async fn http2(server: &Server) -> (Sender, tokio::task::JoinSet<()>) {
    let stream = hyper_util::rt::TokioIo::new(server.connect().await);
    let made = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), stream).await;
    let (sender, connection) = made.unwrap();
    let mut open = tokio::task::JoinSet::new();
    open.spawn(async move { drop(connection.await) });
    (sender, open)
}

type Sender = hyper::client::conn::http2::SendRequest<http_body_util::Empty<Bytes>>;

async fn get_over(sender: &mut Sender, path: &str) -> hyper::Response<hyper::body::Incoming> {
    let request = hyper::Request::get(format!("http://localhost{path}")).header("accept", "text/event-stream");
    let answer = sender.send_request(request.body(http_body_util::Empty::new()).unwrap());
    tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()
}

#[tokio::test]
async fn connections_of_http_2_on_which_nothing_is_asked_end_although_they_answer_pings() {
    use http_body_util::BodyExt as _;
    for protocols in [Protocols::Http, Protocols::Grpc { streams: 4 }] {
        let server = Server::start(Limits::default(), |options| {
            (options.header_timeout, options.idle_timeout, options.protocols) = (SHORT, SHORT * 2, protocols);
        })
        .await;
        let (mut busy, _open) = http2(&server).await;
        let live = get_over(&mut busy, "/v1/events").await;
        let (mut asked, mut idle) = http2(&server).await;
        let answered = get_over(&mut asked, "/v1/at-once/1").await;
        assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), "at once");
        let (_kept, mut silent) = http2(&server).await;
        tokio::time::timeout(PATIENCE, silent.join_next()).await.expect("nothing was ever asked on it");
        if protocols == Protocols::Http {
            tokio::time::timeout(PATIENCE, idle.join_next()).await.expect("nothing is asked on it any more");
        } else {
            assert_eq!(
                get_over(&mut asked, "/v1/at-once/2").await.status(),
                200,
                "gRPC clients keep their connections"
            );
        }
        assert_eq!(get_over(&mut busy, "/v1/at-once/3").await.status(), 200, "an answer is still under way on it");
        drop(live);
    }
}

/// A client of HTTP/2 that gives each answer so much room and no more, and takes none of it.
async fn stingy(server: &Server, window: u32) -> (Sender, tokio::task::JoinSet<()>) {
    let stream = hyper_util::rt::TokioIo::new(server.connect().await);
    let mut client = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (sender, connection) = client.initial_stream_window_size(window).handshake(stream).await.unwrap();
    let mut open = tokio::task::JoinSet::new();
    open.spawn(async move { drop(connection.await) });
    (sender, open)
}

#[tokio::test]
async fn an_answer_without_flow_control_window_keeps_its_place_for_a_while_only() {
    use http_body_util::BodyExt as _;
    for window in [0, 1, 20_000] {
        for stalled in [PATIENCE, SHORT] {
            let limits = Limits { at_once: few(), ..Limits::default() };
            let server = Server::start(limits, |options| options.stalled = stalled).await;
            let (mut mean, _open) = stingy(&server, window).await;
            let kept = [get_over(&mut mean, "/v1/large").await, get_over(&mut mean, "/v1/large").await];
            assert!(kept.iter().all(|answer| answer.status() == 200));
            if stalled == PATIENCE {
                let (status, _) = server.ask("GET /v1/large", "").await;
                assert_eq!(status, 503, "what is not sent is in memory, and both places are taken: {window}");
                continue;
            }
            let free = async {
                while server.ask("GET /v1/large", "").await.0 != 200 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, free).await.expect("the places are given back");
            // Who takes its answers is sent all of them, however large they are.
            let (mut fair, _open) = http2(&server).await;
            let whole = get_over(&mut fair, "/v1/large").await.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(whole.len(), 1 << 20);
            drop(kept);
        }
    }
}

#[tokio::test]
async fn only_a_connection_whose_answer_lasts_moves_to_the_threads_that_give_way() {
    let aside = Tasks::with_aside().aside();
    assert!(aside.is_some());
    let server = Server::start(Limits::default(), |options| options.aside = aside).await;
    let mut stream = server.send("GET /v1/at-once/x", "").await;
    stream.write_all(b"GET /v1/events/threads HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    let moves = async {
        while !String::from_utf8_lossy(&text).contains("data: aside") {
            assert!(stream.read_buf(&mut text).await.unwrap() > 0);
        }
    };
    tokio::time::timeout(PATIENCE, moves).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains("at once"));
    // It ends with the port, as all others.
    server.tasks.stop();
    let rest = async { while stream.read_buf(&mut text).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, rest).await.unwrap();
}
