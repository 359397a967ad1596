//! A log as a text file: JSON Lines that can be read anywhere, verified line by line, and made into the same log again.
//!
//! # The format
//! * Line 1, the header: `{"backstitch_export":1,"first_position":1,"events":N,"head":P,"first_event_id":"…","crc":"…"}`.
//!   `head` is the position of the last event, `first_event_id` the id of the event at `first_position` (`null` where the file
//!   has no events).
//! * Then one line an event, in the order of the log: `{"position","stream","version","id","type","schema_version",
//!   "metadata","recorded_at","data","crc"}`. `data` is the payload to the byte; where that has a line break (between
//!   tokens: JSON allows it), the line has `"data_text"` in its place, the payload as a JSON string.
//! * The last line: `{"end":P,"events":N,"crc":"…"}`. A file without it is not whole.
//!
//! `crc` is the last field of each line: CRC-32 (IEEE: the log's own, and `zlib`'s), 8 hex
//! digits, over the 4 bytes (big-endian) of the line's predecessor's checksum, 0 for the first, and then the line up to
//! but without `,"crc"`. So a line that was changed, lost, repeated or moved shows at that line.
//!
//! # What makes it valid
//! Each checksum fits; positions rise by one; header and end say what is between them; and each line is exactly what
//! [`LineWriter`] makes of what it says, so that a log that was made of a file gives the same file, to the byte.
//!
//! # What a crash leaves
//! A file whose last line is cut off, or that has no end. All lines before are verified like any others: [`LineReader`]
//! tells how far it is good ([`LineReader::good`]), and a writer goes on from there ([`LineWriter::resume`]).

mod read;
mod write;

use std::io;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

pub use self::read::{LineReader, read};
pub use self::write::{LineWriter, write_store};
use crate::envelope::Timestamp;
use crate::{Metadata, Position, ReadError, RecordedEvent, StreamName};

/// The format that this build writes and reads.
pub const FORMAT: u32 = 1;

/// Why an export cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A line is not what was written. Nothing behind it can be believed.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What does not fit.
        what: String,
    },
    /// The file ends before its end: cut off, or still being written. What stands before is good.
    #[error("line {line}: the file ends here, before its end line; it is cut off, or was not finished")]
    Torn {
        /// The first line that is missing or cut off, from 1.
        line: u64,
    },
    /// The log that is written down cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The file cannot be read or written.
    #[error("the file cannot be read or written: {0}")]
    File(#[from] io::Error),
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    backstitch_export: u32,
    /// The position of its first event.
    pub first_position: Position,
    /// How many events it has.
    pub events: u64,
    /// The position of its last event; of the one before `first_position` where it has none.
    pub head: Position,
    /// The id of its first event: two files of one log begin with the same.
    pub first_event_id: Option<Uuid>,
}

impl Header {
    /// The header of the events from `first` to `head`, both included; without events `head` is the one before `first`.
    pub fn new(first: Position, head: Position, first_event_id: Option<Uuid>) -> Self {
        let events = head.0.saturating_add(1).saturating_sub(first.0);
        Self { backstitch_export: FORMAT, first_position: first, events, head, first_event_id }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: Position,
    events: u64,
}

/// An event as its line says it; the borrowed twin writes without copies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    position: Position,
    stream: StreamName,
    version: u64,
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    schema_version: u16,
    metadata: Metadata,
    recorded_at: Timestamp,
    #[serde(default, deserialize_with = "given")]
    data: Option<Box<RawValue>>,
    data_text: Option<String>,
}

/// A payload that is there, also where it is `null`.
fn given<'a, D: Deserializer<'a>>(input: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(input).map(Some)
}

#[derive(Serialize)]
struct LineOf<'a> {
    position: Position,
    stream: &'a StreamName,
    version: u64,
    id: Uuid,
    #[serde(rename = "type")]
    event_type: &'a str,
    schema_version: u16,
    metadata: &'a Metadata,
    recorded_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_text: Option<&'a str>,
}

/// The covered part of an event's line.
fn text_of(event: &RecordedEvent, into: &mut Vec<u8>) -> serde_json::Result<()> {
    let broken = event.data.get().contains(['\n', '\r']);
    let line = LineOf {
        position: event.position,
        stream: &event.stream,
        version: event.version,
        id: event.id,
        event_type: &event.event_type,
        schema_version: event.schema_version,
        metadata: &event.metadata,
        recorded_at: event.recorded_at,
        data: (!broken).then_some(&*event.data),
        data_text: broken.then_some(event.data.get()),
    };
    covered(&line, into)
}

/// A line without its closing brace: what its checksum covers.
fn covered(line: &impl Serialize, into: &mut Vec<u8>) -> serde_json::Result<()> {
    into.clear();
    serde_json::to_writer(&mut *into, line)?;
    into.pop();
    Ok(())
}

/// The checksum of a line whose predecessor's is `before`.
fn checksum(before: u32, covered: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&before.to_be_bytes());
    crc.update(covered);
    crc.finalize()
}

/// How far a file is good: where a writer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Good {
    /// Bytes of whole, verified lines.
    pub bytes: u64,
    /// The last event among them; the one before the first where there is none.
    pub position: Position,
    /// When the store wrote that event, microseconds since 1970.
    recorded_at: i64,
    crc: u32,
}

fn event_of(line: Line) -> Result<RecordedEvent, String> {
    let data = match (line.data, line.data_text) {
        (Some(data), None) => data,
        (None, Some(text)) => {
            RawValue::from_string(text).map_err(|error| format!("its payload is no JSON: {error}"))?
        }
        (Some(_), Some(_)) | (None, None) => return Err("it has not one payload".to_owned()),
    };
    Ok(RecordedEvent {
        id: line.id,
        stream: line.stream,
        version: line.version,
        position: line.position,
        event_type: line.event_type.into(),
        schema_version: line.schema_version,
        data,
        metadata: line.metadata.into(),
        recorded_at: line.recorded_at,
    })
}

/// Whether two events are the same in everything.
pub(crate) fn same(a: &RecordedEvent, b: &RecordedEvent) -> bool {
    let place =
        |event: &RecordedEvent| (event.position, event.version, event.id, event.schema_version, event.recorded_at);
    place(a) == place(b)
        && (&a.stream, &a.event_type, &a.metadata) == (&b.stream, &b.event_type, &b.metadata)
        && a.data.get() == b.data.get()
}
