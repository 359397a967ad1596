//! What a command's request must carry, read once: its headers, the names in its path, its body.

use std::collections::HashMap;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use domain::ids::{ClientKey, OrderId, ShipmentId, Sku, StockId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::{Problem, telemetry};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::bus::{CommandMeta, Origin};

/// The tenant, until there are several.
const TENANT: &str = "default";

/// Who is asking, until there is authentication.
const PRINCIPAL: &str = "dev";

/// The longest key. Source: Stripe's bound for `Idempotency-Key`.
const KEY_MAX_CHARS: usize = 255;

/// The headers of a command.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes the headers in the OpenAPI document; `About` reads them")]
pub struct CommandHeaders {
    /// 1 to 255 printable characters, bare or as a quoted string; the same key and body again give the first answer
    /// again, with `Idempotent-Replayed: true`.
    #[param(rename = "Idempotency-Key", example = "order-4711")]
    idempotency_key: String,
    /// Do it only if the thing is at this version, such as `"3"`.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// A UUID that all that follows from this request carries; else the command's own id.
    #[param(rename = "X-Correlation-Id")]
    correlation_id: Option<Uuid>,
    /// W3C trace context.
    traceparent: Option<String>,
}

/// What a request says about itself.
#[derive(Debug, Clone)]
pub struct About {
    operation: String,
    key: String,
    if_match: Option<u64>,
    correlation_id: Option<Uuid>,
    traceparent: Option<String>,
}

impl About {
    /// The id of the order that this request places: a retry must find the same stream, there is no side table.
    pub fn order_id(&self) -> OrderId {
        self.client_key().order_id()
    }

    /// What goes with the command whose body has this hash.
    pub fn meta(&self, hash: String) -> CommandMeta {
        let command_id = self.client_key().command_id();
        if self.correlation_id.is_none() {
            telemetry::correlated(command_id);
        }
        CommandMeta {
            command_id,
            command_hash: Some(hash),
            correlation_id: self.correlation_id.unwrap_or(command_id),
            causation_id: command_id,
            traceparent: self.traceparent.clone(),
            actor: PRINCIPAL.to_owned(),
            origin: Origin::Client,
            not_after: None,
            if_match: self.if_match,
        }
    }

    fn client_key(&self) -> ClientKey<'_> {
        ClientKey { tenant: TENANT, principal: PRINCIPAL, operation: &self.operation, idempotency_key: &self.key }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for About {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let headers = &parts.headers;
        Ok(Self {
            operation: format!("{} {}", parts.method, parts.uri.path()),
            key: idempotency_key(headers)?,
            if_match: if_match(headers)?,
            correlation_id: correlation_id(headers)?,
            traceparent: telemetry::traceparent(headers).map(str::to_owned),
        })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    const FIELD: &str = "header:Idempotency-Key";
    let bad = |message: &str| Problem::invalid("the request cannot be told from others").field(FIELD, message);
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "idempotency-key-missing",
            "The request has no Idempotency-Key",
        )
        .detail("send a key of your own with each new command, and the same one when you repeat it")
        .field(FIELD, "is missing"));
    };
    if values.next().is_some() {
        return Err(bad("is there more than once"));
    }
    let text = value.to_str().map_err(|_| bad("has characters that are not printable ASCII"))?;
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or_else(|| bad("is not a well-formed quoted string (RFC 9651 §3.3.3)"))?,
        None => text.to_owned(),
    };
    if key.is_empty() || key.len() > KEY_MAX_CHARS {
        return Err(bad("must have 1 to 255 characters"));
    }
    Ok(key)
}

/// What stands between the quotes of a structured field's string, whose opening quote is gone already.
fn unquoted(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => text.push(other),
        }
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    match version {
        Some(version) => Ok(Some(version)),
        None => Err(Problem::invalid("the condition cannot be read")
            .field("header:If-Match", "must be one ETag as this server gave it, such as \"3\"")),
    }
}

fn correlation_id(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let Some(value) = headers.get("x-correlation-id") else { return Ok(None) };
    match value.to_str().ok().and_then(|text| Uuid::try_parse(text).ok()) {
        Some(id) => Ok(Some(id)),
        None => {
            Err(Problem::invalid("the correlation id cannot be read")
                .field("header:X-Correlation-Id", "must be a UUID"))
        }
    }
}

/// A thing that is named in a path.
pub trait Named: Sized {
    /// Reads the name from the path's parameters.
    ///
    /// # Errors
    /// A problem that names the parameter.
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem>;
}

/// The thing that the path names.
#[derive(Debug, Clone)]
pub struct Of<T>(pub T);

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Of<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("the path cannot be read: it is not UTF-8"))?;
        T::read(&params.iter().collect()).map(Self)
    }
}

fn parameter<T: FromStr<Err: std::fmt::Display>>(params: &HashMap<&str, &str>, name: &str) -> Result<T, Problem> {
    let text = params.get(name).copied().unwrap_or_default();
    text.parse()
        .map_err(|error| Problem::invalid("the path names nothing that could be").field(format!("path:{name}"), error))
}

impl Named for Sku {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        parameter(params, "sku")
    }
}

impl Named for StockId {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        Ok(Self { sku: parameter(params, "sku")?, location: parameter(params, "location")? })
    }
}

impl Named for OrderId {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        parameter(params, "id")
    }
}

impl Named for ShipmentId {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        parameter(params, "id")
    }
}

/// A body, parsed: JSON of exactly this shape. No body at all is read as `{}`.
#[derive(Debug, Clone)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    /// SHA-256 (hex) of what it says, written in one way: spaces, the order of fields and defaults make no difference.
    pub hash: String,
}

impl<S: Send + Sync, T: DeserializeOwned + Serialize> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        if !is_json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body is of a kind that is not read here",
            )
            .field("header:Content-Type", "must be application/json"));
        }
        parse(&bytes)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unread(rejection: BytesRejection) -> Problem {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(status, "body-too-large", "The body is too large").detail("nothing was done");
    }
    Problem::invalid("the body did not arrive whole; nothing was done")
}

fn parse<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<Body<T>, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| unparsed(&error))?;
    json.end().map_err(|error| malformed(&error))?;
    let canonical = serde_json::to_vec(&value).map_err(|error| malformed(&error))?;
    Ok(Body { value, hash: hex::encode(Sha256::digest(&canonical)) })
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "The body is not JSON")
        .detail(error)
        .field("", format_args!("cannot be read at line {}, column {}", error.line(), error.column()))
}

fn unparsed(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() || inner.is_io() {
        return malformed(inner);
    }
    let text = inner.to_string();
    // What serde_json adds tells of the text, not of the field: " at line 1 column 12".
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let mut pointer = pointer(error.path());
    // A field that is missing has no place; the message names it: missing field `sku`.
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        pointer.push('/');
        pointer.push_str(name);
    }
    Problem::invalid("a field of the body has no value that could be").field(pointer, message)
}

/// A path as a JSON pointer. Source: RFC 6901 §3.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |mut pointer, segment| {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {} // Not a place in the document.
        }
        pointer
    })
}
