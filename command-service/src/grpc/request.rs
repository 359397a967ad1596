//! A request read once: what it asks, and what comes with it. Each fault names its field.

use chrono::DateTime;
use domain::Timestamp;
use domain::ids::ClientKey;
use event_store::trace;
use http::{HeaderMap, HeaderValue};
use service_kit::request::{PRINCIPAL, TENANT};
use service_kit::{telemetry, text};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use uuid::Uuid;

use super::proto::command_request::Sender;
use super::proto::{Client, CommandRequest, Machine};
use super::status::invalid;
use crate::bus::{CommandMeta, Origin};

/// The longest name of who asks.
const ACTOR_MAX_BYTES: usize = 200;

/// The longest key. Source: Stripe's bound for `Idempotency-Key`, as over HTTP.
const KEY_MAX_CHARS: usize = 255;

/// Reads the command and its metadata from a request.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming the field.
pub(super) fn read(request: &CommandRequest) -> Result<(domain::Command, CommandMeta), Status> {
    let command: domain::Command = serde_json::from_slice(&request.body)
        .map_err(|error| invalid("body", format_args!("is no command that this release knows: {error}")))?;
    if request.name != command.name() {
        return Err(invalid("name", format_args!("the body is `{}`", command.name())));
    }
    let actor = &request.actor;
    if actor.is_empty() || actor.len() > ACTOR_MAX_BYTES || !actor.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid("actor", format_args!("has 1 to {ACTOR_MAX_BYTES} printable ASCII characters")));
    }
    let meta = match &request.sender {
        Some(Sender::Machine(machine)) => of_machine(machine)?,
        Some(Sender::Client(client)) => of_client(client, &command)?,
        None => return Err(invalid("sender", "is `machine` or `client`")),
    };
    let correlation_id = match request.correlation_id.as_str() {
        "" => meta.command_id,
        text => uuid("correlation_id", text)?,
    };
    let meta =
        CommandMeta { correlation_id, traceparent: traceparent(&request.traceparent)?, actor: actor.clone(), ..meta };
    Ok((command, meta))
}

fn of_machine(machine: &Machine) -> Result<CommandMeta, Status> {
    let command_id = uuid("machine.command_id", &machine.command_id)?;
    let causation_id = uuid("machine.causation_id", &machine.causation_id)?;
    let moment_of = |field: &'static str, at: &Option<_>| at.as_ref().map(|at| moment(field, at)).transpose();
    let not_after = moment_of("machine.not_after", &machine.not_after)?;
    let stream_not_after = moment_of("machine.stream_not_after", &machine.stream_not_after)?;
    Ok(CommandMeta { not_after, stream_not_after, ..CommandMeta::machine(command_id, command_id, causation_id, "") })
}

/// The same key for the same command of the same thing has the same id; its hash tells another body.
fn of_client(client: &Client, command: &domain::Command) -> Result<CommandMeta, Status> {
    let key = client.idempotency_key.as_str();
    if !(1..=KEY_MAX_CHARS).contains(&key.len()) || !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        let what = format_args!("has 1 to {KEY_MAX_CHARS} printable ASCII characters");
        return Err(invalid("client.idempotency_key", what));
    }
    let operation = format!("Execute {} {}", command.name(), command.stream());
    let key = ClientKey { tenant: TENANT, principal: PRINCIPAL, operation: &operation, idempotency_key: key };
    let command_id = key.command_id();
    // Written in one way: spaces, the order of fields and defaults make no difference.
    let canonical = serde_json::to_vec(command).map_err(|error| invalid("body", error))?;
    if let Some((pointer, flaw)) = text::flaw_in(&canonical) {
        return Err(invalid(&format!("body{pointer}"), flaw));
    }
    Ok(CommandMeta {
        command_hash: Some(hex::encode(Sha256::digest(&canonical))),
        origin: Origin::Client,
        if_match: client.if_match,
        ..CommandMeta::machine(command_id, command_id, command_id, "")
    })
}

fn uuid(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text).map_err(|_| invalid(field, "must be a UUID"))
}

fn moment(field: &str, at: &prost_types::Timestamp) -> Result<Timestamp, Status> {
    let nanos = u32::try_from(at.nanos).ok();
    let found = nanos.and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos));
    found.ok_or_else(|| invalid(field, "is no moment"))
}

/// As over HTTP: what is not well formed is not passed on, here with a word about it.
fn traceparent(text: &str) -> Result<Option<String>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let (parent, state) = trace::split(text);
    let header = |name: &'static str, value: &str| {
        Some((http::HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
    };
    let headers = [header("traceparent", parent), state.and_then(|state| header("tracestate", state))];
    let headers = HeaderMap::from_iter(headers.into_iter().flatten());
    match telemetry::traceparent(&headers) {
        Some(parent) => Ok(Some(trace::join(&parent, telemetry::tracestate(&headers).as_deref()))),
        None => Err(invalid("traceparent", "is not `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context)")),
    }
}
