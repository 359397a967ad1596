//! How long a call may take until its answer begins: as long as the caller says (`grpc-timeout`), and never longer than the
//! edge allows. Source: gRPC over HTTP/2, "Requests", `Timeout`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use tonic::Status;

/// Ends calls whose answer has not begun within `longest`.
pub(super) fn within(router: Router, longest: Duration) -> Router {
    router.layer(middleware::from_fn_with_state(longest, bounded))
}

async fn bounded(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    let within = asked(request.headers()).map_or(longest, |asked| asked.min(longest));
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Status::deadline_exceeded(format!(
            "no answer within {} ms; the command may have been carried out: send it again with the same id",
            within.as_millis()
        ))
        .into_http(),
    }
}

/// The caller's deadline: at most eight digits and a unit.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn a_caller_s_deadline_is_read_in_every_unit() {
        let of = |text: &str| asked(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]));
        assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(of("100m"), Some(Duration::from_millis(100)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for malformed in ["", "5", "S", "123456789S", "-1S", "5X"] {
            assert_eq!(of(malformed), None, "{malformed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_longer_is_ended_with_a_status() {
        let router = within(Router::new().route("/never", post(std::future::pending::<()>)), Duration::from_secs(45));
        let request = Request::post("/never").header("grpc-timeout", "1S").body(Body::empty()).unwrap();
        let begun = tokio::time::Instant::now();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], (tonic::Code::DeadlineExceeded as i32).to_string());
        assert_eq!(begun.elapsed().as_secs(), 1);
    }
}
