//! The edge's bounds, on by default: how large a request may be, how long it may take, how many are served at once;
//! and the same shape of error for everything that goes wrong there.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::Problem;
use crate::telemetry;

/// Bounds of the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest body, in bytes. The largest order (100 lines, 20 tags) has some 15 kB.
    #[serde(deserialize_with = "crate::config::within::<1024, 67108864, _, _>")]
    pub body_bytes: usize,
    /// The longest time until an answer begins, in milliseconds. Longer than any `Prefer: wait` (30 s).
    #[serde(deserialize_with = "crate::config::within::<1, 600000, _, _>")]
    pub request_timeout_ms: u64,
    /// Requests at once; those beyond are told to come back. Waiting ones (`until=settled`) count too.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub concurrent_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 64 * 1024, request_timeout_ms: 45_000, concurrent_requests: 4096 }
    }
}

/// Bodies up to this size are read to their end before they are refused: somebody's mistake, such as a picture in place
/// of an order. Larger ones are cut off.
const DRAINED_MAX_BYTES: u64 = 16 << 20;

/// How long that may take: 16 MB over 30 Mbit/s.
const DRAINED_MAX: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Bounds {
    limits: Limits,
    free: Arc<Semaphore>,
}

/// Puts the bounds around all routes, and problem documents in place of bare errors. To be called last, when all
/// routes are there.
pub fn edge(router: Router, limits: Limits) -> Router {
    let bounds = Bounds { free: Arc::new(Semaphore::new(limits.concurrent_requests)), limits };
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(bounds.limits.body_bytes))
        .layer(middleware::from_fn_with_state(bounds, bounded))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(telemetry::span))
}

/// The answer to a body that is too large.
pub fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
        .detail(format_args!("a body has at most {limit_bytes} bytes; nothing was done"))
}

async fn bounded(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    // What announces itself as too large is refused before it is read; what does not, while it is read.
    let announced: Option<u64> =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(bytes) = announced
        && bytes > bounds.limits.body_bytes as u64
    {
        if bytes <= DRAINED_MAX_BYTES {
            drain(request).await;
        }
        return too_large(bounds.limits.body_bytes).into_response();
    }
    let Ok(_permit) = bounds.free.try_acquire() else {
        metrics::counter!("backstitch_http_shed_total").increment(1);
        return Problem::unavailable("too many requests are being served; nothing was done, try again", 1)
            .into_response();
    };
    let timeout = Duration::from_millis(bounds.limits.request_timeout_ms);
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable(
            "no answer in time; a command may have been carried out: send it again with the same Idempotency-Key",
            1,
        )
        .into_response(),
    }
}

/// Reads a body and throws it away: a client that is still writing when the connection is closed would see a broken
/// connection in place of the answer.
async fn drain(request: Request) {
    let mut body = request.into_body().into_data_stream();
    let all = async { while let Some(Ok(_)) = body.next().await {} };
    // Whoever takes longer gets the answer, or the broken connection, now.
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
