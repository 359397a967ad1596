//! What a command's answer looks like.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use service_kit::api::LogPosition;
use service_kit::request::reply_headers;
use utoipa::ToSchema;

use crate::bus::Reply;

/// The answer to a command: what it was done to, and where that stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandReply {
    /// The id of what the command was done to.
    #[schema(example = "7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11")]
    pub id: String,
    /// Its version after the command; also the `ETag`. Null where nothing of it is in the log.
    #[schema(example = 3)]
    pub version: Option<u64>,
    /// The position of the log when the command was durable; also `X-Commit-Position`. Give it as `X-Min-Position` to read
    /// what the command did.
    #[schema(value_type = LogPosition)]
    pub position: u64,
}

impl CommandReply {
    /// The answer for the thing with this id.
    pub fn new(id: impl ToString, reply: &Reply) -> Self {
        Self { id: id.to_string(), version: reply.version, position: reply.position.0 }
    }
}

/// An answer to be sent.
#[derive(Debug)]
pub struct Answer<T> {
    status: StatusCode,
    location: Option<String>,
    reply: Reply,
    body: T,
}

impl Answer<CommandReply> {
    /// 200: it was done to the thing with this id.
    pub fn done(id: impl ToString, reply: Reply) -> Self {
        Self { status: StatusCode::OK, location: None, reply, body: CommandReply::new(id, &reply) }
    }
}

impl<T: Serialize> Answer<T> {
    /// 201: `location` is there now.
    pub fn created(location: String, reply: Reply, body: T) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), reply, body }
    }

    /// 202: `location` carries it on.
    pub fn accepted(location: String, reply: Reply, body: T) -> Self {
        Self { status: StatusCode::ACCEPTED, location: Some(location), reply, body }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let Reply { version, position, replayed, .. } = self.reply;
        let mut headers = reply_headers(version, position.0, replayed);
        // A path of ours made of ids is plain ASCII; what is not is better left out than answered with a 500.
        if let Some(location) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            headers.insert(header::LOCATION, location);
        }
        (self.status, headers, Json(self.body)).into_response()
    }
}
