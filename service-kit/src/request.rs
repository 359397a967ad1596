//! What a request must carry and how it is refused, whichever service it is for: the headers and the body of a command, texts
//! of people, parameters of the query. And the headers of the answer to a command.

use std::fmt::Display;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{Problem, text};

/// The tenant, until there are several.
pub const TENANT: &str = "default";

/// Who is asking, until there is authentication.
pub const PRINCIPAL: &str = "dev";

/// The longest key, in characters. Source: Stripe's bound for `Idempotency-Key`.
const KEY_MAX_CHARS: usize = 255;

/// The longest name of a person who acts and the longest reason, in characters: what people are called, a sentence or two.
const ACTOR_MAX_CHARS: usize = 64;
const REASON_MAX_CHARS: usize = 500;

/// Says that an answer is the first one again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The headers of a command.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes the headers in the OpenAPI document; the functions below read them")]
pub struct CommandHeaders {
    /// 1 to 255 printable characters, bare or as a quoted string; the same key and body again give the first answer
    /// again, with `Idempotent-Replayed: true`.
    #[param(
        rename = "Idempotency-Key",
        example = "order-4711",
        min_length = 1,
        max_length = 255,
        pattern = r#"^([!#-~][\t -~]*|"([ !#-\[\]-~]|\\["\\])+")$"#
    )]
    idempotency_key: String,
    /// The command is carried out only if the thing is at this version, such as `"3"`.
    #[param(rename = "If-Match", min_length = 3, max_length = 18, pattern = "^\"[0-9]{1,16}\"$", example = "\"3\"")]
    if_match: Option<String>,
    /// A UUID that all consequences of this request carry as their correlation id; without it, the command's own id.
    #[param(rename = "X-Correlation-Id")]
    correlation_id: Option<Uuid>,
    /// W3C trace context.
    #[param(example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    traceparent: Option<String>,
}

/// The headers of a command on something that has no version: `If-Match` is refused, because nothing could be compared.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes the headers in the OpenAPI document; the functions below read them")]
pub struct KeyHeaders {
    /// 1 to 255 printable characters, bare or as a quoted string; the same key and body again give the first answer
    /// again, with `Idempotent-Replayed: true`.
    #[param(
        rename = "Idempotency-Key",
        example = "rebuild-4711",
        min_length = 1,
        max_length = 255,
        pattern = r#"^([!#-~][\t -~]*|"([ !#-\[\]-~]|\\["\\])+")$"#
    )]
    idempotency_key: String,
}

/// The key of a command on something that has no version.
///
/// # Errors
/// A problem: as [`idempotency_key`], or there is an `If-Match`, whose condition would be ignored in silence.
pub fn key_without_version(headers: &HeaderMap) -> Result<String, Problem> {
    if headers.contains_key(header::IF_MATCH) {
        return Err(Problem::invalid("`If-Match` cannot be checked: the target of this command has no version")
            .field("header:If-Match", "leave it out"));
    }
    idempotency_key(headers)
}

/// The key that distinguishes the command from all others; a repeat of it has the same key.
///
/// # Errors
/// A problem: it is missing, there more than once, or cannot be read.
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    const FIELD: &str = "header:Idempotency-Key";
    let bad = |message: &str| Problem::invalid("the key of the request is not valid").field(FIELD, message);
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

/// The version that the thing must have.
///
/// # Errors
/// A problem: it is not an `ETag` of ours.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    match version {
        Some(version) => Ok(Some(version)),
        None => Err(Problem::invalid("the condition cannot be read")
            .field("header:If-Match", "must be one ETag as this server gave it, such as \"3\"")),
    }
}

/// The correlation id of everything that follows from the request.
///
/// # Errors
/// A problem: it is not a UUID.
pub fn correlation_id(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let Some(value) = headers.get("x-correlation-id") else { return Ok(None) };
    match value.to_str().ok().and_then(|text| Uuid::try_parse(text).ok()) {
        Some(id) => Ok(Some(id)),
        None => {
            Err(Problem::invalid("the correlation id cannot be read")
                .field("header:X-Correlation-Id", "must be a UUID"))
        }
    }
}

/// Checks a text of the body that is for people, such as a reason.
///
/// # Errors
/// A problem that names the field: it is blank, or has more than `most` characters.
pub fn check_text(field: &str, value: &str, most: usize) -> Result<(), Problem> {
    check_fits("a text of the body is blank or too long", field, value, most)
}

/// Checks what the body says of a person who acts: the reason and the name.
///
/// # Errors
/// A problem that names the field: it is blank or too long.
pub fn check_act(actor: &str, reason: &str) -> Result<(), Problem> {
    let detail = "`actor` or `reason` is blank or too long";
    check_fits(detail, "/reason", reason, REASON_MAX_CHARS)?;
    check_fits(detail, "/actor", actor, ACTOR_MAX_CHARS)
}

fn check_fits(detail: &str, field: &str, value: &str, most: usize) -> Result<(), Problem> {
    if text::fits(value, most) {
        return Ok(());
    }
    let message = format_args!("must have 1 to {most} characters, at least one of them visible");
    Err(Problem::invalid(detail).field(field, message))
}

/// The refusal of a query parameter.
pub fn refuse_parameter(name: &str, message: impl Display) -> Problem {
    Problem::invalid(format_args!("the query parameter `{name}` is not valid")).field(format!("query:{name}"), message)
}

/// The query of a request whose only parameter is `name`.
///
/// # Errors
/// A problem that names the parameter, with `message`: it has another value, or there is another parameter.
pub fn only_parameter<T>(query: Result<Query<T>, QueryRejection>, name: &str, message: &str) -> Result<T, Problem> {
    let refused = |error: QueryRejection| {
        let message = format_args!("{message}; there is no other parameter");
        Problem::invalid(error.body_text()).field(format!("query:{name}"), message)
    };
    query.map(|Query(query)| query).map_err(refused)
}

/// The headers of the answer to a command: the version of its target as the `ETag`, the position of the log, and whether it is
/// the first answer again.
pub fn reply_headers(version: Option<u64>, position: u64, replayed: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(tag) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(HeaderName::from_static("x-commit-position"), HeaderValue::from(position));
    mark_replayed(&mut headers, replayed);
    headers
}

/// Says in the headers of an answer that it is the first one again, if it is.
pub fn mark_replayed(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

/// A body, parsed: JSON of exactly this shape. No body at all is read as `{}`.
#[derive(Debug, Clone)]
pub struct Body<T> {
    /// The content of the body, as its type.
    pub value: T,
    /// SHA-256 (hex) of the content in a canonical form: spaces, the order of fields and defaults make no difference.
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
                "The content type of the body is not supported",
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
    if let Some((pointer, flaw)) = text::flaw_in(bytes) {
        return Err(Problem::invalid("a text of the body has characters that it may not have").field(pointer, flaw));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| unparsed(&error))?;
    json.end().map_err(|error| malformed(&error))?;
    if let Some(pointer) = positional(bytes, &value).map_err(|error| malformed(&error))? {
        return Err(Problem::invalid("a field of the body has a value that is not valid")
            .field(pointer, "must be an object with named fields, not a list"));
    }
    let canonical = serde_json::to_vec(&value).map_err(|error| malformed(&error))?;
    Ok(Body { value, hash: hex::encode(Sha256::digest(&canonical)) })
}

/// Where the body has a list in the place of an object, as a JSON pointer: serde reads the fields of a struct from a list
/// too, in the order in which they are declared, which is no part of the contract.
fn positional<T: Serialize>(bytes: &[u8], read: &T) -> Result<Option<String>, serde_json::Error> {
    fn find(given: &Value, read: &Value, pointer: &str) -> Option<String> {
        match (given, read) {
            (Value::Array(_), Value::Object(_)) => Some(pointer.to_owned()),
            (Value::Array(given), Value::Array(read)) => {
                let mut pairs = given.iter().zip(read).enumerate();
                pairs.find_map(|(index, (given, read))| find(given, read, &format!("{pointer}/{index}")))
            }
            (Value::Object(given), Value::Object(read)) => given.iter().find_map(|(name, given)| {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                find(given, read.get(name)?, &format!("{pointer}/{escaped}"))
            }),
            _ => None,
        }
    }
    if !bytes.contains(&b'[') {
        return Ok(None); // Most bodies: nothing is parsed a second time.
    }
    Ok(find(&serde_json::from_slice(bytes)?, &serde_json::to_value(read)?, ""))
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
    Problem::invalid("a field of the body has a value that is not valid").field(pointer, message)
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
