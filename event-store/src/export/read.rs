//! Reads an export, and believes nothing of it that does not fit.

use std::io::{self, BufRead, Read as _};

use serde::Deserialize;

use super::{End, ExportError, FORMAT, Good, Header, Line, checksum, covered, event_of, text_of};
use crate::{Position, RecordedEvent};

/// The longest line that is read: an append has at most 4 MiB, and escaping can make a payload six times as long.
const LONGEST_LINE: u64 = 64 << 20;
/// What follows the covered part of a line: `,"crc":"` 8 digits `"}`.
const CRC_BYTES: usize = 18;
const CRC_KEY: &[u8] = b",\"crc\":\"";

/// The one field of a header that every format has.
#[derive(Deserialize)]
struct Format {
    backstitch_export: u32,
}

/// Reads and verifies an export, line by line. *Invariant:* what it has given is what was written, however the file goes on.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    header: Header,
    good: Good,
    /// Lines taken.
    lines: u64,
    ended: bool,
    line: Vec<u8>,
    again: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    /// Reads and verifies the header.
    ///
    /// # Errors
    /// [`ExportError`]: not an export, one of a newer format, or a damaged one.
    pub fn open(input: R) -> Result<Self, ExportError> {
        let header = Header::new(Position(1), Position::START, None);
        let good = Good { bytes: 0, position: Position::START, recorded_at: i64::MIN, crc: 0 };
        let mut reader = Self { input, header, good, lines: 0, ended: false, line: Vec::new(), again: Vec::new() };
        if !reader.fill()? {
            return Err(ExportError::Torn { line: 1 });
        }
        let length = reader.verified().map_err(|what| reader.bad(format!("{what}; is it an export at all?")))?;
        let Format { backstitch_export: format } = reader.parsed(length).map_err(|what| reader.bad(what))?;
        if format != FORMAT {
            return Err(reader.bad(format!("it has format {format}, this version knows {FORMAT}")));
        }
        reader.header = reader.parsed(length).map_err(|what| reader.bad(what))?;
        let Header { first_position, events, head, .. } = reader.header;
        let counted = head.0.checked_add(1).and_then(|next| next.checked_sub(first_position.0));
        if first_position.0 == 0 || counted != Some(events) {
            return Err(reader.bad("its positions and its count of events do not fit"));
        }
        covered(&reader.header, &mut reader.again).map_err(io::Error::from)?;
        reader.canonical(length)?;
        reader.accept(length, Position(first_position.0 - 1), i64::MIN);
        Ok(reader)
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How far it is good; grows with each line.
    pub fn good(&self) -> Good {
        self.good
    }

    /// The number of the last line that was read, from 1.
    pub fn line(&self) -> u64 {
        self.lines
    }

    /// The next event; `None` behind the last, when the end line has been verified, too.
    ///
    /// # Errors
    /// [`ExportError::Line`]: the line is not what was written. [`ExportError::Torn`]: the file ends too early.
    pub fn next_event(&mut self) -> Result<Option<RecordedEvent>, ExportError> {
        if self.ended {
            return Ok(None);
        }
        if !self.fill()? {
            return Err(ExportError::Torn { line: self.lines + 1 });
        }
        let length = self.verified().map_err(|what| self.explained(what))?;
        if self.good.position == self.header.head {
            return self.take_end(length).map(|()| None);
        }
        let event = self.parsed::<Line>(length).and_then(event_of).map_err(|what| self.bad(what))?;
        self.fits(&event).map_err(|what| self.bad(what))?;
        text_of(&event, &mut self.again).map_err(io::Error::from)?;
        self.canonical(length)?;
        self.accept(length, event.position, event.recorded_at.timestamp_micros());
        Ok(Some(event))
    }

    fn take_end(&mut self, length: usize) -> Result<(), ExportError> {
        let End { end, events } = self.parsed(length).map_err(|what| self.bad(what))?;
        if (end, events) != (self.header.head, self.header.events) {
            return Err(self.bad("the end is not the one that the header says"));
        }
        covered(&End { end, events }, &mut self.again).map_err(io::Error::from)?;
        self.canonical(length)?;
        self.accept(length, end, self.good.recorded_at);
        self.ended = true;
        if self.fill()? || !self.line.is_empty() {
            return Err(ExportError::Line { line: self.lines + 1, what: "something stands behind the end".to_owned() });
        }
        Ok(())
    }

    /// Reads a line; `false`: none is left, or the last one is cut off.
    fn fill(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        Ok(self.line.last() == Some(&b'\n') || self.line.len() as u64 == LONGEST_LINE)
    }

    /// Verifies the checksum of the line in hand; how many bytes of it are covered.
    fn verified(&mut self) -> Result<usize, &'static str> {
        let line = self.line.strip_suffix(b"\n").ok_or("it is longer than any line that is written")?;
        let length = line.len().checked_sub(CRC_BYTES).ok_or("it has no checksum")?;
        let digits = line[length..].strip_prefix(CRC_KEY).and_then(|rest| rest.strip_suffix(b"\"}"));
        if digits.ok_or("it has no checksum")? == format!("{:08x}", checksum(self.good.crc, &line[..length])).as_bytes()
        {
            self.line[length] = b'}'; // The brace that closes what is covered, in place of the comma.
            Ok(length)
        } else {
            Err("its checksum does not fit")
        }
    }

    /// What the covered part of the line says.
    fn parsed<T: for<'a> Deserialize<'a>>(&self, length: usize) -> Result<T, String> {
        serde_json::from_slice(&self.line[..=length]).map_err(|error| format!("it is not what a line says: {error}"))
    }

    fn fits(&self, event: &RecordedEvent) -> Result<(), String> {
        let next = self.good.position.0 + 1;
        if event.position.0 != next {
            return Err(format!("it has position {}, where {next} comes next", event.position));
        }
        if event.position == self.header.first_position && Some(event.id) != self.header.first_event_id {
            return Err("it is not the event that the header calls the first".to_owned());
        }
        if event.recorded_at.timestamp_micros() < self.good.recorded_at {
            return Err("it was recorded before the event before it".to_owned());
        }
        Ok(())
    }

    /// The line is as we would write it.
    fn canonical(&self, length: usize) -> Result<(), ExportError> {
        if self.again == self.line[..length] { Ok(()) } else { Err(self.bad("it is not written as an export is")) }
    }

    fn accept(&mut self, length: usize, position: Position, recorded_at: i64) {
        let crc = checksum(self.good.crc, &self.line[..length]);
        let bytes = self.good.bytes + self.line.len() as u64;
        self.good = Good { bytes, position, recorded_at, crc };
        self.lines += 1;
    }

    /// A checksum that does not fit, and what probably happened.
    fn explained(&mut self, what: &str) -> ExportError {
        let next = self.good.position.0 + 1;
        let length = self.line.len().saturating_sub(CRC_BYTES + 1);
        if let Some(comma) = self.line.get_mut(length) {
            *comma = b'}';
        }
        match self.parsed::<Line>(length) {
            Ok(line) if line.position.0 != next => {
                let at = line.position;
                self.bad(format!("it has position {at}, where {next} comes next: lines are missing, repeated or moved"))
            }
            Ok(_) | Err(_) => self.bad(format!("{what}: it was changed, or lines are missing, repeated or moved")),
        }
    }

    fn bad(&self, what: impl Into<String>) -> ExportError {
        ExportError::Line { line: self.lines + 1, what: what.into() }
    }
}

/// All events of a verified export.
///
/// # Errors
/// [`ExportError`] at the first line that is not what was written.
pub fn read<R: BufRead>(input: R) -> Result<Vec<RecordedEvent>, ExportError> {
    let mut reader = LineReader::open(input)?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        events.push(event);
    }
    Ok(events)
}
