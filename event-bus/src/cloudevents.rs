//! An event as a Kafka record: CloudEvents 1.0 in binary mode, and back without loss.
//!
//! Key: `partition_key`. Value: the event's data to the byte. Headers, each UTF-8 text:
//!
//! | header | is |
//! |---|---|
//! | `ce_specversion` | `1.0` |
//! | `ce_id`, `ce_source`, `ce_type`, `ce_subject` | event id, `[bus] source`, event type, stream |
//! | `ce_time` | `metadata.occurred_at`, RFC 3339 |
//! | `content-type` | `application/json` |
//! | `ce_sequence` | position in the log, decimal |
//! | `ce_since` | the record's *claim*: of its partition, the log has nothing between `ce_since` and `ce_sequence` (both excluded) |
//! | `ce_streamversion`, `ce_schemaversion` | version in the stream, version of the schema |
//! | `ce_partitionkey`, `ce_correlationid`, `ce_causationid`, `ce_commandid`, `ce_actor` | of the metadata |
//! | `ce_commandhash`, `ce_traceparent`, `ce_tracestate` | of the metadata, where it has them |
//! | `ce_recordedtime` | when the store wrote it, RFC 3339 |
//!
//! A *watermark* has only `ce_type` = `backstitch.watermark`, `ce_sequence` and `ce_since`, no key and no value: an event
//! that did not happen. The claims are what a follower trusts: it goes on from position u only with a record whose claim
//! begins at or before u. So it can neither miss an event nor take a repeat for new, whichever relay wrote which record.
//! What was published out of context (one category again) has no `ce_since` and is passed by.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use event_store::{Metadata, Position, RecordedEvent, StreamName, trace};
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use serde_json::value::RawValue;

/// The `ce_type` of a watermark.
pub const WATERMARK: &str = "backstitch.watermark";

/// A record of our topic, decoded.
#[derive(Debug, Clone)]
pub struct Record {
    /// The position of the record in the log, and its claim.
    pub claim: Claim,
    /// The event; `None` for a watermark.
    pub event: Option<RecordedEvent>,
}

/// The claim of a record about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Position of the record in the log.
    pub position: Position,
    /// The log has nothing of the partition between `since` and `position`; `None` claims nothing.
    pub since: Option<Position>,
}

/// The reason why a record is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record has no CloudEvents headers.
    #[error("it is no CloudEvent in binary mode: there is no header `ce_specversion`")]
    NotCloudEvent,
    /// The record is a CloudEvent of a later version.
    #[error("it is a CloudEvent of version `{0}`; this program reads 1.0")]
    SpecVersion(String),
    /// A header is missing that every record of ours has.
    #[error("the header `{0}` is missing: it was not published by Backstitch")]
    Missing(&'static str),
    /// A header has a value that cannot be read.
    #[error("the header `{header}` is `{value}`: {reason}")]
    Header {
        /// Name of the header.
        header: &'static str,
        /// The value of the header.
        value: String,
        /// The reason why the value is not valid.
        reason: String,
    },
    /// The names of the headers are not valid text.
    #[error("the headers cannot be read")]
    Headers,
    /// The value of the record is not valid JSON.
    #[error("the data is no JSON: {0}")]
    Data(String),
}

/// Makes the headers of an event.
pub fn headers(event: &RecordedEvent, source: &str, since: Option<Position>) -> OwnedHeaders {
    let metadata = &event.metadata;
    let mut all: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(20);
    all.push(("ce_specversion", "1.0".into()));
    all.push(("ce_id", event.id.to_string().into()));
    all.push(("ce_source", source.into()));
    all.push(("ce_type", (*event.event_type).into()));
    all.push(("ce_time", time(&metadata.occurred_at).into()));
    all.push(("ce_subject", event.stream.as_str().into()));
    all.push(("content-type", "application/json".into()));
    all.push(("ce_sequence", event.position.to_string().into()));
    all.extend(since.map(|since| ("ce_since", since.to_string().into())));
    all.push(("ce_streamversion", event.version.to_string().into()));
    all.push(("ce_schemaversion", event.schema_version.to_string().into()));
    all.push(("ce_partitionkey", metadata.partition_key.as_str().into()));
    if let Some((parent, state)) = metadata.traceparent.as_deref().map(trace::split) {
        all.push(("ce_traceparent", parent.into()));
        all.extend(state.map(|state| ("ce_tracestate", state.into())));
    }
    all.push(("ce_correlationid", metadata.correlation_id.to_string().into()));
    all.push(("ce_causationid", metadata.causation_id.to_string().into()));
    all.push(("ce_commandid", metadata.command_id.to_string().into()));
    all.extend(metadata.command_hash.as_deref().map(|hash| ("ce_commandhash", hash.into())));
    all.push(("ce_actor", metadata.actor.as_str().into()));
    all.push(("ce_recordedtime", time(&event.recorded_at).into()));
    all.iter().fold(OwnedHeaders::new_with_capacity(all.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(&**value) })
    })
}

/// Makes the headers of a watermark.
pub fn watermark(claim: Claim) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(3)
        .insert(Header { key: "ce_type", value: Some(WATERMARK) })
        .insert(Header { key: "ce_sequence", value: Some(&claim.position.to_string()) });
    match claim.since {
        Some(since) => headers.insert(Header { key: "ce_since", value: Some(&since.to_string()) }),
        None => headers,
    }
}

/// Reads a record of our topic.
///
/// # Errors
/// [`DecodeError`], naming the header.
pub fn decode(message: &impl Message) -> Result<Record, DecodeError> {
    let found = Found::of(message)?;
    if found.get("ce_type") == Some(WATERMARK.as_bytes()) {
        return Ok(Record { claim: found.claim()?, event: None });
    }
    match found.text("ce_specversion") {
        Ok("1.0") => {}
        Ok(other) => return Err(DecodeError::SpecVersion(other.to_owned())),
        Err(DecodeError::Missing(_)) => return Err(DecodeError::NotCloudEvent),
        Err(error) => return Err(error),
    }
    let claim = found.claim()?;
    let data = serde_json::from_slice::<Box<RawValue>>(message.payload().unwrap_or_default())
        .map_err(|error| DecodeError::Data(error.to_string()))?;
    let metadata = Metadata {
        partition_key: found.text("ce_partitionkey")?.to_owned(),
        correlation_id: found.parse("ce_correlationid")?,
        causation_id: found.parse("ce_causationid")?,
        command_id: found.parse("ce_commandid")?,
        command_hash: found.optional("ce_commandhash")?,
        traceparent: match found.optional("ce_traceparent")? {
            Some(parent) => Some(trace::join(&parent, found.optional("ce_tracestate")?.as_deref())),
            None => None,
        },
        actor: found.text("ce_actor")?.to_owned(),
        occurred_at: found.time("ce_time")?,
    };
    let event = RecordedEvent {
        id: found.parse("ce_id")?,
        stream: found.parse::<StreamName>("ce_subject")?,
        version: found.parse("ce_streamversion")?,
        position: claim.position,
        event_type: found.text("ce_type")?.into(),
        schema_version: found.parse("ce_schemaversion")?,
        data,
        metadata: Arc::new(metadata),
        recorded_at: found.time("ce_recordedtime")?,
    };
    Ok(Record { claim, event: Some(event) })
}

/// The claim of a record, even if the rest of it cannot be read; `None` if the record is not ours.
pub fn claim(message: &impl Message) -> Option<Claim> {
    Found::of(message).ok()?.claim().ok()
}

fn time(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The headers of a record.
struct Found<'a>(Vec<Header<'a, &'a [u8]>>);

impl<'a> Found<'a> {
    fn of(message: &'a impl Message) -> Result<Self, DecodeError> {
        let Some(headers) = message.headers() else { return Err(DecodeError::NotCloudEvent) };
        // rdkafka panics at a header whose name is not UTF-8. A foreign writer must not end the consumer.
        let read = catch_unwind(AssertUnwindSafe(|| headers.iter().collect()));
        read.map(Self).map_err(|_| DecodeError::Headers)
    }

    /// The last one of the name counts, as in Kafka's `Headers.lastHeader`.
    fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|header| header.key == name).and_then(|header| header.value)
    }

    fn text(&self, header: &'static str) -> Result<&'a str, DecodeError> {
        let value = self.get(header).ok_or(DecodeError::Missing(header))?;
        std::str::from_utf8(value).map_err(|error| DecodeError::Header {
            header,
            value: String::from_utf8_lossy(value).into_owned(),
            reason: error.to_string(),
        })
    }

    fn optional(&self, header: &'static str) -> Result<Option<String>, DecodeError> {
        match self.text(header) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(DecodeError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse<T: FromStr<Err: std::fmt::Display>>(&self, header: &'static str) -> Result<T, DecodeError> {
        let value = self.text(header)?;
        value.parse().map_err(|error: T::Err| DecodeError::Header {
            header,
            value: value.to_owned(),
            reason: error.to_string(),
        })
    }

    fn time(&self, header: &'static str) -> Result<DateTime<Utc>, DecodeError> {
        self.parse::<DateTime<chrono::FixedOffset>>(header).map(|at| at.to_utc())
    }

    fn claim(&self) -> Result<Claim, DecodeError> {
        let since = match self.parse("ce_since") {
            Ok(since) => Some(since),
            Err(DecodeError::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Claim { position: self.parse("ce_sequence")?, since })
    }
}

#[cfg(test)]
#[path = "cloudevents_tests.rs"]
mod tests;
