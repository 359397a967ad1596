//! What is measured of each request: how many there are, how long they take, how they end.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};

use crate::class::Class;

/// A request that is being served. Dropped without an end, its client has gone away.
#[derive(Debug)]
pub(crate) struct Observed {
    class: &'static str,
    method: &'static str,
    route: String,
    begun: Instant,
    status: Option<StatusCode>,
}

impl Observed {
    /// A request of `class` begins. Its route is the pattern (`/v1/orders/{id}`), never the path: paths are without number.
    pub fn begin(class: Class, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
        let method = method(request.method());
        Self { class: class.name(), method, route, begun: Instant::now(), status: None }
    }

    /// The request has been answered; a body may still be on its way.
    pub fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let status = self.status.map_or_else(|| "gone".to_owned(), |status| status.as_str().to_owned());
        let (class, method, route) = (self.class, self.method, std::mem::take(&mut self.route));
        metrics::histogram!("backstitch_http_request_seconds", "class" => class, "route" => route.clone())
            .record(self.begun.elapsed().as_secs_f64());
        metrics::counter!("backstitch_http_requests_total",
            "class" => class, "method" => method, "route" => route, "status" => status)
        .increment(1);
    }
}

/// The method's name; those that nobody asked for share one, as a client may invent any.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
