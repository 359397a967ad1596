//! What the port shows to people: the contract with an offline viewer, and a page for every kind of problem.

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use service_kit::Problem;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

/// Declares the table of pages: each is a file of `docs/problems`, compiled in.
macro_rules! pages {
    ($($slug:literal),+ $(,)?) => {
        /// Slugs of problems and their pages.
        pub const PROBLEMS: &[(&str, &str)] =
            &[$(($slug, include_str!(concat!("../../docs/problems/", $slug, ".md")))),+];
    };
}

pages!(
    "adjustment-too-low",
    "already-exists",
    "amount-mismatch",
    "amount-out-of-range",
    "authorization-exists",
    "body-too-large",
    "capture-exceeds-authorized",
    "capture-open",
    "currency-mismatch",
    "dispatch-already-allowed",
    "dispatch-not-allowed",
    "idempotency-key-missing",
    "idempotency-key-reused",
    "internal-error",
    "invalid-delta",
    "invalid-line",
    "invalid-request",
    "invalid-tags",
    "line-count",
    "malformed-json",
    "method-not-allowed",
    "name-length",
    "not-found",
    "order-cancel-pending",
    "order-cancelled",
    "order-completed",
    "order-held",
    "order-not-pending",
    "order-not-shipped",
    "order-pending",
    "order-rejected",
    "order-shipped",
    "out-of-stock",
    "payment-authorized",
    "payment-captured",
    "payment-method-length",
    "payment-not-authorized",
    "payment-not-captured",
    "payment-succeeded-late",
    "payment-voided",
    "price-changed",
    "price-out-of-range",
    "product-not-for-sale",
    "reason-length",
    "refund-exceeds-captured",
    "request-in-flight",
    "request-reused",
    "reservation-committed",
    "reservation-differs",
    "reservation-ended",
    "reservation-not-committed",
    "reservation-not-due",
    "reservation-not-found",
    "reservation-shipped",
    "restock-exceeds-shipped",
    "result-mismatch",
    "risk-already-assessed",
    "saga-action-refused",
    "shipment-cancelled",
    "shipment-delivered",
    "shipment-dispatched",
    "shipment-lost",
    "shipment-not-dispatched",
    "shipment-not-ready",
    "timeout",
    "too-late",
    "too-many-pieces",
    "too-many-requests",
    "too-much-stock",
    "total-out-of-range",
    "totals-mismatch",
    "unavailable",
    "unknown-request",
    "unsupported-media-type",
    "version-mismatch",
    "void-open",
    "webhook-signature",
);

/// Generated and checked in, as the events are the log's own contract.
const ASYNCAPI: &str = include_str!("../../schemas/asyncapi.json");

const INDEX: &str = "\
Backstitch

/docs          every request, to read and to try
/openapi.json  the same for programs
/asyncapi.json the events, as GET /v1/events sends them
/health        how everything is; /health/ready, /health/live
/metrics       numbers for Prometheus
/problems      what can go wrong, and the way out
";

/// `/`, `/docs`, `/openapi.json`, `/asyncapi.json`, `/problems`, `/problems/{slug}`.
pub fn router(openapi: OpenApi) -> Router {
    Router::new()
        .route("/", get(async || text(INDEX.to_owned(), "text/plain")))
        .route("/asyncapi.json", get(async || text(ASYNCAPI.to_owned(), "application/json")))
        .route("/problems", get(async || text(list(), "text/plain")))
        .route("/problems/{slug}", get(problem))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", openapi))
}

async fn problem(Path(slug): Path<String>) -> Response {
    match PROBLEMS.iter().find(|(name, _)| *name == slug) {
        Some((_, page)) => text((*page).to_owned(), "text/markdown"),
        None => Problem::not_found("there is no such kind of problem; see /problems").into_response(),
    }
}

fn list() -> String {
    PROBLEMS.iter().map(|(slug, _)| format!("/problems/{slug}\n")).collect()
}

fn text(body: String, kind: &str) -> Response {
    ([(header::CONTENT_TYPE, format!("{kind}; charset=utf-8"))], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_page_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = files.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).collect();
        let served: BTreeSet<String> = PROBLEMS.iter().map(|(slug, _)| (*slug).to_owned()).collect();
        assert_eq!(files, served);
    }

    #[test]
    fn every_page_names_the_cause_and_the_way_out() {
        for (slug, page) in PROBLEMS {
            assert!(page.starts_with(&format!("# {slug}\n")), "{slug} begins with its name");
            assert!(page.contains("**Cause.**") && page.contains("**Way out.**"), "{slug} says why and what to do");
        }
    }
}
