//! Numbers for Prometheus: each part of the program records its own through the `metrics` crate; `/metrics` shows them all.

mod described;

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub use described::DESCRIBED;

use crate::clock::Clock;
use crate::tasks::Tasks;

/// Bounds of the buckets of every `…_seconds` histogram: from a cached decision (0.1 ms) to the longest wait (30 s).
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often what histograms have gathered is put into their buckets; without it, samples would wait in memory for
/// somebody to ask.
const UPKEEP: Duration = Duration::from_secs(5);

/// There is one recorder in a process, however often it is asked for.
static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts gathering and gives the route `/metrics`; what is counted before is lost. A second start in one process (tests) shares the first's numbers.
pub fn start(tasks: &Tasks, clock: &Clock) -> Router {
    let handle = HANDLE.get_or_init(install).clone();
    if let Some(handle) = handle.clone() {
        let (stopping, clock) = (tasks.stopping(), clock.clone());
        tasks.spawn("metrics-upkeep", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = clock.sleep(UPKEEP) => handle.run_upkeep(),
                }
            }
        });
    }
    Router::new().route(
        "/metrics",
        get(move || {
            let text = handle.as_ref().map(PrometheusHandle::render).unwrap_or_default();
            async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
        }),
    )
}

/// Has counters without labels be there from the start, at 0: what appears only when it first happens has no increase that
/// an alert could see.
pub fn present(counters: &[&'static str]) {
    for name in counters {
        metrics::counter!(*name).increment(0);
    }
}

/// As [`present`], for a counter with one label whose values are known.
pub fn present_with(counter: &'static str, label: &'static str, values: impl IntoIterator<Item = &'static str>) {
    for value in values {
        metrics::counter!(counter, label => value).increment(0);
    }
}

/// Keeps the gauge `backstitch_log_position` at what `position` gives, whenever `head` changes.
pub fn follow_log<T: Send + Sync + 'static>(
    mut head: tokio::sync::watch::Receiver<T>,
    position: impl Fn(&T) -> u64 + Send + 'static,
    tasks: &Tasks,
) {
    let stopping = tasks.stopping();
    tasks.spawn("log-position", async move {
        loop {
            let seen = position(&head.borrow_and_update());
            #[allow(clippy::cast_precision_loss, reason = "a gauge is a float, and a log has less than 2⁵³ events")]
            metrics::gauge!("backstitch_log_position").set(seen as f64);
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = head.changed() => if changed.is_err() { return },
            }
        }
    });
}

fn install() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned()), SECONDS);
    match builder.and_then(PrometheusBuilder::install_recorder) {
        Ok(handle) => {
            described::describe();
            Some(handle)
        }
        Err(error) => {
            tracing::warn!(%error, "no metrics are gathered: another recorder is there already");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_counted_is_shown_with_times_in_buckets() {
        let tasks = Tasks::new();
        let router = start(&tasks, &Clock::system());
        metrics::counter!("backstitch_test_total", "kind" => "one").increment(2);
        present(&["backstitch_gateway_rounds_total"]);
        metrics::histogram!("backstitch_test_seconds").record(0.003);
        let response = router.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        let text = String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
        assert!(text.contains("backstitch_test_total{kind=\"one\"} 2"), "{text}");
        assert!(text.contains("backstitch_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("# HELP backstitch_gateway_rounds_total "), "{text}");
        assert!(text.contains("backstitch_gateway_rounds_total 0"), "{text}");
        assert!(tasks.shut_down(Duration::from_secs(5)).await);
    }
}
