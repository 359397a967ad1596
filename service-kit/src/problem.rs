//! A problem document, the one form of an error over HTTP. Source: RFC 9457.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem document: what went wrong and what to do, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem, for ever: `/problems/<slug>`, a page with its cause and its solution.
    #[schema(example = "/problems/out-of-stock")]
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind of problem in a few words, the same for every problem of the type.
    #[schema(example = "There are too few pieces")]
    pub title: String,
    /// Status code of the HTTP response, 400 to 599.
    #[schema(example = 409, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What went wrong in this case, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields with errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which to retry; also sent as the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

/// After how long a client is to ask again for which there was no place. In the extensions of the answer that says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskAgain(pub Duration);

/// A field with an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProblemField)]
pub struct FieldError {
    /// Where the field is: a JSON pointer (RFC 6901) into the body such as `/lines/0/quantity`, or `header:…`,
    /// `query:…`, `path:…`.
    pub field: String,
    /// What is wrong with the field.
    pub message: String,
}

impl Problem {
    /// A problem of the type `/problems/<slug>`.
    pub fn new(status: StatusCode, slug: &str, title: &str) -> Self {
        Self {
            problem_type: format!("/problems/{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Says what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Names a field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl std::fmt::Display) -> Self {
        self.errors.push(FieldError { field: field.into(), message: message.to_string() });
        self
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The last part of the type's URI.
    pub fn slug(&self) -> &str {
        self.problem_type.rsplit('/').next().unwrap_or_default()
    }

    /// 400: the request cannot be understood or has a value that no rule allows.
    pub fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", "The request is not valid").detail(detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing").detail(what)
    }

    /// 412: the target is not at the version that `If-Match` names; `message` says what to do.
    pub fn version_mismatch(detail: impl std::fmt::Display, message: &str) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "version-mismatch", "The version does not match")
            .detail(detail)
            .field("header:If-Match", message)
    }

    /// 422: the key was used before with another body.
    pub fn key_reused() -> Self {
        let title = "The Idempotency-Key belongs to another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title)
            .field("header:Idempotency-Key", "was used before with another body")
    }

    /// 409: the same request is still being carried out; ask again for its answer.
    pub fn in_flight() -> Self {
        Self::new(StatusCode::CONFLICT, "request-in-flight", "The same request is being carried out").retry_after(1)
    }

    /// 421: another replica has what this is about; ask that one. Source: RFC 9110, 15.5.20.
    pub fn misdirected(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "Another replica has that").detail(detail)
    }

    /// 503: more is asked for at once than is served at once; nothing was done.
    pub fn overloaded(detail: impl std::fmt::Display, retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at the moment")
            .detail(detail)
            .retry_after(retry_after_s)
    }

    /// 503 without a time after which to try again: the event log is damaged, and that does not pass by itself.
    pub fn log_damaged(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "log-damaged", "The event log is damaged").detail(detail)
    }

    /// 503: it cannot be answered now; nothing was lost, try again.
    pub fn unavailable(detail: impl std::fmt::Display, retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available at the moment")
            .detail(detail)
            .retry_after(retry_after_s)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let (retry_after, overloaded) = (self.retry_after_s, self.slug() == "overloaded");
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            if overloaded {
                response.extensions_mut().insert(AskAgain(Duration::from_secs(seconds.into())));
            }
        }
        response
    }
}
