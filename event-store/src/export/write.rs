//! Writes an export.

use std::io::{self, Write};

use super::{End, ExportError, Good, Header, checksum, covered, text_of};
use crate::{Direction, EventStore, Filter, Position, RecordedEvent};

/// Events read at once from a store.
const PAGE: usize = 1_024;

/// Writes an export, line by line. What it is written to is buffered and synced by the caller.
#[derive(Debug)]
pub struct LineWriter<W> {
    out: W,
    header: Header,
    position: Position,
    crc: u32,
    text: Vec<u8>,
}

impl<W: Write> LineWriter<W> {
    /// Begins a file with its header.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written.
    pub fn begin(out: W, header: Header) -> io::Result<Self> {
        let position = Position(header.first_position.0.saturating_sub(1));
        let mut writer = Self { out, header, position, crc: 0, text: Vec::new() };
        covered(&writer.header, &mut writer.text)?;
        writer.line()?;
        Ok(writer)
    }

    /// Goes on with a file that is good up to `good`; `out` writes behind that.
    pub fn resume(out: W, header: Header, good: &Good) -> Self {
        Self { out, header, position: good.position, crc: good.crc, text: Vec::new() }
    }

    /// The last event that was written; the one before the first where there is none.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Writes the next event.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written, or is not the next one.
    pub fn event(&mut self, event: &RecordedEvent) -> io::Result<()> {
        if event.position.0 != self.position.0 + 1 || event.position > self.header.head {
            let what = format!("the event at {} does not follow the one at {}", event.position, self.position);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        text_of(event, &mut self.text)?;
        self.line()?;
        self.position = event.position;
        Ok(())
    }

    /// Ends the file and gives back what it was written to.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be written, or events are missing.
    pub fn end(mut self) -> io::Result<W> {
        if self.position != self.header.head {
            let what = format!("it goes up to {} only, not to {}", self.position, self.header.head);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        covered(&End { end: self.header.head, events: self.header.events }, &mut self.text)?;
        self.line()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self) -> io::Result<()> {
        self.crc = checksum(self.crc, &self.text);
        writeln!(self.text, ",\"crc\":\"{:08x}\"}}", self.crc)?;
        self.out.write_all(&self.text)
    }
}

/// Writes down what a store holds now, from its first event to its head.
///
/// # Errors
/// [`ExportError`]: the store cannot be read, or the file not written.
pub async fn write_store<W: Write>(store: &dyn EventStore, out: W) -> Result<W, ExportError> {
    let head = *store.head().borrow();
    let (mut position, all) = (Position::START, Filter::default());
    let first = store.read_all(position, Direction::Forward, 1, &all).await?;
    let mut writer = LineWriter::begin(out, Header::new(Position(1), head, first.first().map(|event| event.id)))?;
    while position < head {
        let page = store.read_all(position, Direction::Forward, PAGE, &all).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        page.iter().filter(|event| event.position <= head).try_for_each(|event| writer.event(event))?;
    }
    Ok(writer.end()?)
}
