//! Events as a client proposes them, and what becomes of them: an event of the log has JSON data and our envelope.

use std::collections::BTreeMap;

use bytes::Bytes;
use eventstore_client::proto;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::events::{machine_time, of_id};
use super::refusal::Refusal;
use crate::port::{APPEND_BYTES, APPEND_EVENTS};
use crate::wire::{self, CONTENT_TYPE, Defaults};
use crate::{NewEvent, StreamName};

/// Bytes of one append as it comes in. The log's own bound ([`APPEND_BYTES`]) counts what it keeps of them, and is looked at
/// when all have come in; this one bounds the memory until then.
const BYTES: usize = 2 * APPEND_BYTES;

/// An event that has all that every event has.
#[derive(Debug, Clone)]
pub(super) struct Proposed {
    pub id: Uuid,
    pub event_type: String,
    pub custom_metadata: Bytes,
    pub data: Bytes,
}

impl Proposed {
    /// An event of the log.
    pub fn into_event(self, stream: &StreamName, actor: &str) -> Result<NewEvent, Refusal> {
        wire::check_metadata(&self.custom_metadata).map_err(|why| {
            Refusal::BadRequest(format!("the custom metadata of event {} (`{}`) {why}", self.id, self.event_type))
        })?;
        let defaults = Defaults { stream: stream.as_str(), event_id: self.id, actor, now: machine_time() };
        let (metadata, schema_version) = wire::metadata_of(&self.custom_metadata, &defaults);
        let data: Box<RawValue> = serde_json::from_slice(&self.data).map_err(|error| {
            Refusal::BadRequest(format!("the data of event {} (`{}`) is not JSON: {error}", self.id, self.event_type))
        })?;
        Ok(NewEvent { id: self.id, event_type: self.event_type.into(), schema_version, data, metadata })
    }
}

/// The events of one append, as they come in.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub events: Vec<Proposed>,
    bytes: usize,
}

impl Collected {
    /// Takes one more in.
    pub fn push(
        &mut self,
        id: Option<&proto::Uuid>,
        metadata: &BTreeMap<String, String>,
        custom_metadata: Bytes,
        data: Bytes,
    ) -> Result<(), Refusal> {
        let id = of_id(id).ok_or_else(|| Refusal::BadRequest("an event's id is not a UUID".to_owned()))?;
        let of = |name: &'static str| metadata.get(name).ok_or(Refusal::MissingProperty(name));
        let (event_type, content_type) = (of("type")?, of("content-type")?);
        if event_type.is_empty() {
            return Err(Refusal::BadRequest(format!("event {id} has an empty type")));
        }
        if content_type != CONTENT_TYPE {
            return Err(Refusal::BadRequest(format!(
                "event {id} (`{event_type}`) has the content type `{content_type}`, but this log takes {CONTENT_TYPE} only"
            )));
        }
        self.bytes += event_type.len() + custom_metadata.len() + data.len();
        if self.events.len() == APPEND_EVENTS {
            return Err(Refusal::BadRequest(format!(
                "one append has at most {APPEND_EVENTS} events; make several of it"
            )));
        }
        if self.bytes > BYTES {
            return Err(Refusal::TooLarge(APPEND_BYTES));
        }
        self.events.push(Proposed { id, event_type: event_type.clone(), custom_metadata, data });
        Ok(())
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
