//! What the port shows to people: the contract with an offline viewer, and a page for every kind of problem.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use service_kit::Problem;
use utoipa_swagger_ui::SwaggerUi;

/// Declares the table of pages: each is a file of `docs/problems`, compiled in.
macro_rules! pages {
    ($($slug:literal),+ $(,)?) => {
        /// Slugs of problems and their pages.
        pub const PROBLEMS: &[(&str, &str)] =
            &[$(($slug, include_str!(concat!("../../../docs/problems/", $slug, ".md")))),+];
    };
}

pages!(
    "adjustment-too-low",
    "already-exists",
    "amount-mismatch",
    "amount-out-of-range",
    "authorization-exists",
    "beyond-the-log",
    "body-too-large",
    "capture-exceeds-authorized",
    "capture-open",
    "currency-mismatch",
    "dead-letter-refused",
    "dispatch-already-allowed",
    "dispatch-not-allowed",
    "generation-behind",
    "generation-in-use",
    "host-not-allowed",
    "idempotency-key-missing",
    "idempotency-key-reused",
    "internal-error",
    "invalid-delta",
    "invalid-line",
    "invalid-request",
    "invalid-tags",
    "line-count",
    "log-damaged",
    "malformed-json",
    "method-not-allowed",
    "misdirected",
    "name-length",
    "no-previous-generation",
    "not-found",
    "nothing-to-refund",
    "order-cancel-pending",
    "order-cancelled",
    "order-completed",
    "order-held",
    "order-not-pending",
    "order-not-shipped",
    "order-not-under-review",
    "order-pending",
    "order-rejected",
    "order-shipped",
    "order-under-review",
    "out-of-stock",
    "overloaded",
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
    "rebuild-in-progress",
    "refund-exceeds-captured",
    "request-in-flight",
    "request-reused",
    "request-timeout",
    "reservation-committed",
    "reservation-differs",
    "reservation-ended",
    "reservation-not-committed",
    "reservation-not-due",
    "reservation-not-found",
    "reservation-shipped",
    "reserved-sku",
    "restock-exceeds-shipped",
    "result-mismatch",
    "risk-already-assessed",
    "saga-action-refused",
    "several-holds",
    "several-locations",
    "shipment-cancelled",
    "shipment-delivered",
    "shipment-dispatched",
    "shipment-lost",
    "shipment-not-dispatched",
    "shipment-not-ready",
    "timeout",
    "too-late",
    "too-many-pieces",
    "too-many-replays",
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
const ASYNCAPI: &str = include_str!("../../../schemas/asyncapi.json");

const INDEX: &str = "\
Backstitch

/docs          every request, to read and to try
/openapi.json  the same for programs
/asyncapi.json the events, as GET /v1/events sends them
/health        how everything is; /health/ready, /health/live
/metrics       numbers for Prometheus
/settings      what this process was started with, and who said so
/problems      what can go wrong, and the way out
";

/// `/`, `/docs`, `/openapi.json`, `/asyncapi.json`, `/problems`, `/problems/{slug}`.
pub fn router(openapi: Value) -> Router {
    Router::new()
        .route("/", get(async || text(INDEX.to_owned(), "text/plain")))
        .route("/asyncapi.json", get(async || text(ASYNCAPI.to_owned(), "application/json")))
        .route("/problems", get(async || text(list(), "text/plain")))
        .route("/problems/{slug}", get(problem))
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", openapi))
}

/// The page as it was written; as HTML for a browser, which asks for that.
async fn problem(Path(slug): Path<String>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let browser = accepts.flat_map(|kinds| kinds.split(',')).any(|kind| kind.trim().starts_with("text/html"));
    match PROBLEMS.iter().find(|(name, _)| *name == slug) {
        Some((_, page)) if browser => text(html(page), "text/html"),
        Some((_, page)) => text((*page).to_owned(), "text/markdown"),
        None => Problem::not_found("there is no such kind of problem; see /problems").into_response(),
    }
}

fn list() -> String {
    PROBLEMS.iter().map(|(slug, _)| format!("/problems/{slug}\n")).collect()
}

/// The little Markdown that the pages are written in: a heading, paragraphs, bold and code.
fn html(page: &str) -> String {
    let escaped = page.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (title, rest) = escaped.trim_start_matches("# ").split_once('\n').unwrap_or((&escaped, ""));
    let paragraph = |text: &str| format!("<p>{}</p>\n", marked(&marked(text, "**", "strong"), "`", "code"));
    let paragraphs: String = rest.trim().split("\n\n").map(paragraph).collect();
    let head = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">";
    let style = "<style>body { font-family: sans-serif; max-width: 45em; margin: 2em auto; padding: 0 1em }</style>";
    format!(
        "<!doctype html>\n<html lang=\"en\"><head>{head}<title>{title}</title>{style}</head>\n<body><h1>{title}</h1>\n\
         {paragraphs}<p><a href=\"/problems\">All problems</a></p></body></html>\n"
    )
}

/// The text with what stands between two marks put into an element.
fn marked(text: &str, mark: &str, element: &str) -> String {
    let part = |(index, part): (usize, &str)| match index % 2 {
        0 => part.to_owned(),
        _ => format!("<{element}>{part}</{element}>"),
    };
    text.split(mark).enumerate().map(part).collect()
}

fn text(body: String, kind: &str) -> Response {
    ([(header::CONTENT_TYPE, format!("{kind}; charset=utf-8"))], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn every_page_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/problems");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = files.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).collect();
        let served: BTreeSet<String> = PROBLEMS.iter().map(|(slug, _)| (*slug).to_owned()).collect();
        assert_eq!(files, served);
    }

    #[test]
    fn every_page_names_the_cause_and_the_way_out() {
        for (slug, page) in PROBLEMS {
            let parts: Vec<&str> = page.trim_end().split("\n\n").collect();
            assert_eq!(parts[0], format!("# {slug}"), "{slug} begins with its name");
            let (status, what) = parts[1].split_once(". ").unwrap();
            let status: u16 = status.parse().unwrap();
            assert!((400..600).contains(&status) && what.ends_with('.'), "{slug} says its status and what it is");
            let begins = |wanted: &str| parts[2..].iter().any(|part| part.starts_with(wanted) && part.len() > 40);
            assert!(begins("**Cause.** ") && begins("**Way out.** "), "{slug} says why and what to do");
            let whole = page.replace('\n', " ");
            let cause = whole.split("**Cause.** ").nth(1).unwrap().split(" **Way").next().unwrap();
            assert_ne!(cause.trim(), what.trim(), "the cause of {slug} only says again what it is");
        }
    }

    async fn get(path: &str, accept: &str) -> (u16, String, String) {
        let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let answer =
            router(service_kit::api::document(&service_kit::api::description())).oneshot(request).await.unwrap();
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_page_is_served_at_the_type_of_its_problem() {
        for (slug, page) in PROBLEMS {
            let path = Problem::new(StatusCode::CONFLICT, slug, "A title").problem_type;
            let written = (200, "text/markdown; charset=utf-8".to_owned(), (*page).to_owned());
            assert_eq!(get(&path, "*/*").await, written);
            let (status, kind, html) = get(&path, "text/html,application/xhtml+xml").await;
            assert_eq!((status, &*kind), (200, "text/html; charset=utf-8"));
            assert!(html.contains(&format!("<h1>{slug}</h1>")) && html.contains("<strong>Way out.</strong>"), "{html}");
            assert!(!html.contains("**") && !html.contains('`'), "{html}");
        }
        assert_eq!(get("/problems/no-such-problem", "*/*").await.0, 404);
    }

    #[tokio::test]
    async fn the_events_are_described_beside_the_requests() {
        let (status, kind, body) = get("/asyncapi.json", "*/*").await;
        assert_eq!((status, &*kind), (200, "application/json; charset=utf-8"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["asyncapi"], "3.1.0");
    }
}
