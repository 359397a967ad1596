//! The edge's bounds, on by default: how large a request may be, how long it may take, how many of each class are served at
//! once; and the same shape of error for everything that goes wrong there.
//!
//! *Invariant:* a request that is refused costs next to nothing: its class, its host and the free places are looked at
//! before its body is read and before any work is done. A client that comes back before its `Retry-After` is answered later.

use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::bodies::{Arriving, Bodies, Whole};
use crate::class::Class;
use crate::hosts::{self, Hosts};
use crate::kept::Kept;
use crate::observe::Observed;
use crate::permits::{self, AtOnce, Permits};
use crate::problem::{AskAgain, Problem};
use crate::refusals::Refusals;
use crate::serve::{Peer, network};
use crate::telemetry;

/// `[limits]`: bounds of the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest body, in bytes. The largest order (100 lines, 20 tags) has some 15 kB.
    #[serde(deserialize_with = "crate::config::within::<1024, 67108864, _, _>")]
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or carried out. When they are short, bodies that are still arriving make way
    /// for others: of the address that has most of them, the oldest one.
    #[serde(deserialize_with = "crate::config::within::<65536, 4294967295, _, _>")]
    pub body_memory_bytes: usize,
    /// The longest time until a body has arrived, in milliseconds: 64 KiB over 52 kbit/s.
    #[serde(deserialize_with = "crate::config::within::<100, 600000, _, _>")]
    pub body_timeout_ms: u64,
    /// The longest time until an answer begins, in milliseconds. Longer than any `Prefer: wait` (30 s).
    #[serde(deserialize_with = "crate::config::within::<1, 600000, _, _>")]
    pub request_timeout_ms: u64,
    /// An upper bound for each number in `[limits.at_once]`.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub concurrent_requests: usize,
    /// Number of requests of each class that are served at once; further ones get 503 with `Retry-After`.
    pub at_once: AtOnce,
    /// Connections at once to a port. A connection beyond them is answered about health and metrics only.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub connections: usize,
    /// Connections at once from one address (of IPv6, from one network of 64 bits).
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub connections_per_address: usize,
    /// The longest time until the head of a connection's first request has arrived, in milliseconds.
    #[serde(deserialize_with = "crate::config::within::<100, 600000, _, _>")]
    pub header_timeout_ms: u64,
    /// How long a connection is kept without a request, in milliseconds, and how long the head of a later one may take.
    #[serde(deserialize_with = "crate::config::within::<100, 3600000, _, _>")]
    pub idle_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            body_memory_bytes: 32 << 20,
            body_timeout_ms: 10_000,
            request_timeout_ms: 45_000,
            concurrent_requests: 4096,
            at_once: AtOnce::default(),
            connections: 4096,
            connections_per_address: 2048,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
        }
    }
}

/// On a 503, says that another replica can do better: this one is being stopped. For the gateway, which takes it off.
pub const DRAINING: HeaderName = HeaderName::from_static("x-backstitch-draining");

/// Bodies up to this size are read to their end before they are refused: somebody's mistake, such as a picture in place
/// of an order. Larger ones are cut off.
const DRAINED_MAX_BYTES: u64 = 16 << 20;

/// How long that may take: 16 MB over 30 Mbit/s.
const DRAINED_MAX: Duration = Duration::from_secs(5);

/// What stands around all routes of a port.
#[derive(Debug, Clone)]
pub struct Edge {
    limits: Arc<Limits>,
    permits: Permits,
    bodies: Bodies,
    hosts: Hosts,
    stop: CancellationToken,
    /// When `stop` fired.
    stopped: Arc<OnceLock<Instant>>,
    grace: Duration,
}

/// Puts the bounds around all routes, and problem documents in place of bare errors. To be called last, when all
/// routes are there.
pub fn edge(router: Router, limits: Limits) -> Router {
    Edge::new(limits).around(router)
}

impl Edge {
    /// These bounds, for any host, without an end.
    pub fn new(limits: Limits) -> Self {
        Self {
            permits: Permits::new(&limits.at_once, limits.concurrent_requests),
            bodies: Bodies::new(limits.body_memory_bytes),
            hosts: Hosts::any(),
            stop: CancellationToken::new(),
            stopped: Arc::default(),
            grace: Duration::ZERO,
            limits: Arc::new(limits),
        }
    }

    /// Answers only to these names.
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Once `stop` fires, waiting requests get an answer to ask again, and after `grace` all requests that are still
    /// open.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken, grace: Duration) -> Self {
        (self.stop, self.grace) = (stop, grace);
        self
    }

    /// The work beside the requests, to be run with the port until `stop` fires: it notes when that was, from which moment
    /// the grace counts, and logs what was refused since the last line about it.
    pub(crate) fn beside(&self) -> impl Future<Output = ()> + Send + use<> {
        let edge = self.clone();
        async move {
            tokio::select! {
                () = edge.stop.cancelled() => {}
                () = edge.permits.tell_refusals() => {}
            }
            edge.stopped.get_or_init(Instant::now);
            edge.permits.tell_all();
        }
    }

    /// Puts the bounds around all routes.
    pub fn around(self, router: Router) -> Router {
        router
            .fallback(no_such_path)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(self.limits.body_bytes))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn(telemetry::span))
            .layer(middleware::from_fn_with_state(self, bounded))
    }

    async fn serve(&self, class: Class, request: Request, next: Next) -> Result<Response, Problem> {
        self.hosts.check(&request)?;
        if !self.permits.has_room(class) {
            return Err(self.permits.refuse(class, permits::FULL));
        }
        // The place is taken when the body is there, and its memory makes way for others until then: clients that send slowly
        // keep nobody else out.
        let (request, bytes) = tokio::select! {
            biased;
            collected = self.collected(class, request) => collected?,
            () = self.grace_over() => return Ok(stopping("the body had not arrived; nothing was done, send the request again")),
        };
        let permit = self.permits.enter(class)?;
        let after = if request.method().is_safe() { READ_ENDED } else { COMMAND_ENDED };
        let response = self.in_time(class, after, next.run(request)).await;
        drop(bytes);
        if response.extensions().get::<AskAgain>().is_some() {
            return Ok(response); // Its handler had no place for it: none is kept while the answer is held back.
        }
        // An answer that is read slowly still has its place: memory is bounded by the places, whatever clients do.
        // Server-sent events end with the process.
        let stop = (class == Class::Stream).then(|| self.stop.clone());
        Ok(response.map(|body| Body::new(Kept::new(body, permit).until(stop))))
    }

    /// The request with its whole body, and the memory that the body may take.
    async fn collected(&self, class: Class, request: Request) -> Result<(Request, Option<Whole>), Problem> {
        let most = self.limits.body_bytes;
        // What announces itself as too large is refused before it is read; what does not, while it is read.
        let announced: Option<u64> =
            request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(bytes) = announced
            && bytes > most as u64
        {
            if bytes <= DRAINED_MAX_BYTES {
                drain(request).await;
            }
            return Err(too_large(most));
        }
        if request.body().is_end_stream() {
            return Ok((request, None));
        }
        let (parts, body) = request.into_parts();
        let from = parts.extensions.get::<Peer>().map(|Peer(address)| network(address.ip()));
        let arriving = self.bodies.begin(from);
        let (within, given_up) = (Duration::from_millis(self.limits.body_timeout_ms), arriving.given_up());
        let (bytes, memory) = tokio::select! {
            biased;
            read = self.read(class, body, arriving) => read?,
            () = given_up => return Err(self.permits.refuse(class, permits::MEMORY)),
            () = tokio::time::sleep(within) => return Err(too_slow(within)),
        };
        Ok((Request::from_parts(parts, Body::from(bytes)), Some(memory)))
    }

    async fn read(&self, class: Class, body: Body, mut arriving: Arriving) -> Result<(Bytes, Whole), Problem> {
        let most = self.limits.body_bytes;
        let (mut body, mut whole) = (body.into_data_stream(), BytesMut::new());
        let full = |_| self.permits.refuse(class, permits::MEMORY);
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| Problem::invalid("the body did not arrive whole; nothing was done"))?;
            if whole.len() + chunk.len() > most {
                return Err(too_large(most));
            }
            arriving.grow(chunk.len()).map_err(full)?;
            whole.extend_from_slice(&chunk);
        }
        Ok((whole.freeze(), arriving.whole().map_err(full)?))
    }

    /// The answer, if it begins in time; else one that says `after`, what the client can do.
    async fn in_time(&self, class: Class, after: &str, answer: impl Future<Output = Response>) -> Response {
        let timeout = Duration::from_millis(self.limits.request_timeout_ms);
        tokio::select! {
            biased;
            response = answer => response,
            () = self.ends(class) => stopping(after),
            () = tokio::time::sleep(timeout) => {
                Problem::unavailable(format_args!("there was no answer in time; {after}"), 1).into_response()
            }
        }
    }

    /// Waits until a request of this class is answered for it, because the process ends.
    async fn ends(&self, class: Class) {
        self.stop.cancelled().await;
        if class != Class::LongWait {
            self.grace_over().await;
        }
    }

    /// Waits until the process ends and the grace is over.
    async fn grace_over(&self) {
        self.stop.cancelled().await;
        let stopped = *self.stopped.get_or_init(Instant::now);
        tokio::time::sleep_until(stopped + self.grace).await;
    }
}

/// The answer to a body that is too large.
pub fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
        .detail(format_args!("a body has at most {limit_bytes} bytes; nothing was done"))
}

fn too_slow(within: Duration) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request did not arrive in time")
        .detail(format_args!("the body did not arrive within {} ms; nothing was done", within.as_millis()))
}

/// What a client can do about a command that was not answered.
const COMMAND_ENDED: &str = "the command may have been carried out: send it again with the same Idempotency-Key";
/// What a client can do about a read that was not answered.
const READ_ENDED: &str = "send the request again";

/// The answer to a request that the end of the process overtakes; `after`: what was done of it, and what to do.
fn stopping(after: &str) -> Response {
    let mut response = Problem::unavailable(format_args!("the server is being stopped; {after}"), 1).into_response();
    response.headers_mut().insert(DRAINING, HeaderValue::from_static("true"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn bounded(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let docs = path.starts_with("/docs");
    let mut response = match Class::of(request.method(), path, request.headers()) {
        // Health and metrics: read from memory, never refused.
        None => next.run(request).await,
        Some(class) => {
            let observed = Observed::begin(class, &request);
            let (refusals, arrived) = (request.extensions().get::<Refusals>().cloned(), Instant::now());
            let response = edge.serve(class, request, next).await.unwrap_or_else(IntoResponse::into_response);
            observed.end(response.status());
            if let (Some(AskAgain(after)), Some(refusals)) = (response.extensions().get(), refusals)
                && let Some(until) = refusals.another(class, arrived, *after)
            {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = edge.stop.cancelled() => {}
                }
            }
            response
        }
    };
    hosts::protect(response.headers_mut(), docs);
    response
}

/// Reads a body and throws it away: a client that is still writing when the connection is closed would see a broken
/// connection in place of the answer.
async fn drain(request: Request) {
    let mut body = request.into_body().into_data_stream();
    let all = async { while let Some(Ok(_)) = body.next().await {} };
    // A client that takes longer gets the answer, or the broken connection, now.
    let _ = tokio::time::timeout(DRAINED_MAX, all).await;
}

async fn no_such_path(request: Request) -> Problem {
    Problem::not_found(format_args!("there is nothing at {}; see /docs", request.uri().path()))
}

async fn wrong_method(request: Request) -> Problem {
    let what = format_args!("{} cannot be done to {}; see `Allow`", request.method(), request.uri().path()).to_string();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "That cannot be done here").detail(what)
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("not a text"), "a request's handler panicked");
    Problem::unavailable("this request could not be served; it has been logged", 1).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    async fn problem(router: Router, request: Request) -> Problem {
        let response = router.oneshot(request).await.unwrap();
        let (status, kind) = (response.status(), response.headers()[header::CONTENT_TYPE].clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let problem: Problem = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((problem.status, kind.as_bytes()), (status.as_u16(), &b"application/problem+json"[..]));
        problem
    }

    fn routes() -> Router {
        Router::new()
            .route("/echo", post(|body: Bytes| async move { body }))
            .route("/enough", get(|| async { Problem::overloaded("you have enough of these", 5) }))
            .route("/panic", get(|| async { panic!("a secret of ours") as () }))
            .route("/never", get(std::future::pending::<()>))
    }

    fn get_(path: &str) -> Request {
        Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn what_is_not_there_and_what_cannot_be_done_are_problem_documents() {
        let router = edge(routes(), Limits::default());
        assert_eq!(problem(router.clone(), get_("/nowhere")).await.slug(), "not-found");
        assert_eq!(problem(router, get_("/echo")).await.slug(), "method-not-allowed");
    }

    #[tokio::test]
    async fn a_body_that_announces_itself_too_large_is_refused_before_any_of_it_is_kept() {
        let request = Request::post("/echo").header("content-length", "10000000").body(Body::empty()).unwrap();
        assert_eq!(problem(edge(routes(), Limits::default()), request).await.status, 413);
    }

    #[tokio::test]
    async fn a_panic_is_a_503_that_tells_nothing_of_the_inside() {
        let problem = problem(edge(routes(), Limits::default()), get_("/panic")).await;
        assert_eq!(problem.status, 503);
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_in_time_is_a_503_to_retry() {
        let problem = problem(edge(routes(), Limits::default()), get_("/never")).await;
        assert_eq!((problem.status, problem.retry_after_s), (503, Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ignores_retry_after_is_held_back_on_its_own_connection_only() {
        let router = edge(routes(), Limits { concurrent_requests: 1, ..Limits::default() });
        let held = tokio::task::JoinSet::from_iter([router.clone().oneshot(get_("/never"))]);
        tokio::task::yield_now().await;
        let (one, other) = (Refusals::default(), Refusals::default());
        let refused = async |connection: &Refusals| {
            let mut request = get_("/nowhere");
            request.extensions_mut().insert(connection.clone());
            let begun = Instant::now();
            assert_eq!(problem(router.clone(), request).await.slug(), "overloaded");
            let took = begun.elapsed();
            tokio::time::advance(Duration::from_millis(1)).await;
            took
        };
        assert_eq!(refused(&one).await, Duration::ZERO);
        assert!(refused(&one).await > Duration::from_millis(900), "it was told to stay away for a second");
        assert_eq!(refused(&other).await, Duration::ZERO);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn who_ignores_a_handler_s_refusal_is_held_back_without_a_place() {
        let router = edge(routes(), Limits { concurrent_requests: 1, ..Limits::default() });
        let connection = Refusals::default();
        let asked = || {
            let mut request = get_("/enough");
            request.extensions_mut().insert(connection.clone());
            router.clone().oneshot(request)
        };
        assert_eq!(asked().await.unwrap().status(), 503);
        tokio::time::advance(Duration::from_millis(1)).await;
        let begun = Instant::now();
        let held = tokio::task::JoinSet::from_iter([asked()]);
        tokio::task::yield_now().await;
        assert_eq!(problem(router.clone(), get_("/nowhere")).await.status, 404, "the one place is free");
        assert_eq!(held.join_all().await.remove(0).unwrap().status(), 503);
        assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn requests_beyond_the_bound_are_told_to_come_back_and_room_is_given_back() {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (enter, left) = (entered.clone(), leave.clone());
        let slow = get(move || async move {
            enter.notify_one();
            left.notified().await;
        });
        let router = edge(routes().route("/slow", slow), Limits { concurrent_requests: 1, ..Limits::default() });
        let first = tokio::task::JoinSet::from_iter([router.clone().oneshot(get_("/slow"))]);
        entered.notified().await;
        assert_eq!(problem(router.clone(), get_("/slow")).await.status, 503);
        leave.notify_one();
        assert_eq!(first.join_all().await.remove(0).unwrap().status(), 200);
        assert_eq!(problem(router, get_("/nowhere")).await.status, 404);
    }
}
