//! What answers have in common: the position they reflect, an `ETag`, an applied preference; and what they can refuse.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use event_store::Position;
use serde::Serialize;
use service_kit::Problem;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

/// The position that an answer reflects.
pub const X_POSITION: HeaderName = HeaderName::from_static("x-position");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// An answer with its headers.
#[derive(Debug)]
pub struct Answer<T> {
    /// The body of the answer.
    pub body: T,
    /// The position that the answer reflects: it includes everything at or below.
    pub position: Position,
    /// The version of the thing, sent as its `ETag`.
    pub version: Option<u64>,
    /// The seconds that the answer was, or would have been, waited for, if the client asked for that.
    pub waited_s: Option<u64>,
}

impl<T> Answer<T> {
    /// An answer that reflects a position.
    pub fn at(position: Position, body: T) -> Self {
        Self { body, position, version: None, waited_s: None }
    }

    /// Names the thing's version.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Says that `Prefer: wait` was heeded.
    #[must_use]
    pub fn waited(mut self, seconds: Option<u64>) -> Self {
        self.waited_s = seconds;
        self
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(X_POSITION, HeaderValue::from(self.position.0));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(etag) = self.version.and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok()) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(applied) = self.waited_s.and_then(|s| HeaderValue::try_from(format!("wait={s}")).ok()) {
            headers.insert(PREFERENCE_APPLIED, applied);
        }
        response
    }
}

pub use service_kit::api::Money;

/// What a query can refuse, for the OpenAPI document.
pub struct Refusals;

impl utoipa::IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let problem = |(status, description): (&str, &str)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            let response =
                ResponseBuilder::new().description(description).content("application/problem+json", content).build();
            (status.to_owned(), RefOr::T(response))
        };
        [
            ("400", "Not valid; `errors` names the field"),
            ("503", "Not now, or not as new as `X-Min-Position` asks for (`Retry-After`)"),
        ]
        .map(problem)
        .into()
    }
}

/// What a query for one thing can refuse, for the OpenAPI document.
pub struct RefusalsOfOne;

impl utoipa::IntoResponses for RefusalsOfOne {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let missing = ResponseBuilder::new()
            .description("There is no such thing, or not yet at this position (`X-Min-Position` waits for it)")
            .content("application/problem+json", content)
            .build();
        let mut responses = Refusals::responses();
        responses.insert("404".to_owned(), RefOr::T(missing));
        responses
    }
}

/// What only one replica of a cluster can do, for the OpenAPI document.
pub struct Elsewhere;

impl utoipa::IntoResponses for Elsewhere {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let elsewhere = ResponseBuilder::new()
            .description("`misdirected`: in a cluster, another replica has that; ask the others, as the gateway does")
            .content("application/problem+json", content)
            .build();
        [("421".to_owned(), RefOr::T(elsewhere))].into()
    }
}

/// Logs why Postgres did not answer, and says what a client needs to know.
pub fn no_answer(error: &sqlx::Error) -> Problem {
    tracing::warn!(%error, "a query was not answered");
    Problem::unavailable("the read models cannot be asked at the moment; commands are not affected", 1)
}
