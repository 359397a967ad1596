//! An export becomes a log again: the same positions, versions, ids, times and checksums.
//!
//! Each line is verified before it is written. What the folder has already is compared and passed by, so an import that was
//! interrupted is done again and goes on; a folder with another log is left as it is.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::load::{LoadError, Loader};
use crate::export::{ExportError, LineReader};
use crate::{OpenError, Position, ReadError, RecordedEvent};

/// Events between two calls of `progress`.
const EVENTS_PER_STEP: u64 = 512;

/// Why an import has not ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not what was written; what stands before that line was imported.
    #[error("{error}; the events before it are imported, up to position {position}")]
    File {
        /// The line, and what does not fit.
        error: ExportError,
        /// The last event that was imported.
        position: Position,
    },
    /// The file does not begin with the first event of its log.
    #[error("it begins at position {0}: only a file that begins with the first event can be imported")]
    NotFromTheStart(Position),
    /// The folder has a log, and it is not this one.
    #[error(
        "`{path}` is another log: the event at position {position} is not that of line {line}; import into an empty folder"
    )]
    AnotherLog {
        /// The log of the folder.
        path: PathBuf,
        /// The first event that differs.
        position: Position,
        /// Its line in the file.
        line: u64,
    },
    /// The log of the folder cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The log of the folder cannot be filled.
    #[error("line {line}: {error}")]
    Load {
        /// The line.
        line: u64,
        /// What is wrong with the line.
        error: LoadError,
    },
    /// The folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Path of the log's file.
    pub path: String,
    /// Number of events that were written.
    pub events: u64,
    /// Number of events that the folder had already.
    pub there: u64,
    /// Position of the last event of the file.
    pub position: Position,
    /// Position of the last event of the folder's log. It is beyond the file's where the log has grown since.
    pub head: Position,
}

/// Imports a file into a folder: a new one, or one with the beginning of the same log. `progress` gets the number of
/// events that are done and the number of all events.
///
/// # Errors
/// [`ImportError`]. What was imported before stays; the same import again goes on behind it.
pub fn import(input: impl BufRead, dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Imported, ImportError> {
    // The header is verified before the folder is touched.
    let file = |error, position| ImportError::File { error, position };
    let mut lines = LineReader::open(input).map_err(|error| file(error, Position::START))?;
    let header = lines.header().clone();
    if header.first_position != Position(1) {
        return Err(ImportError::NotFromTheStart(header.first_position));
    }
    let mut log = Loader::open(dir)?;
    let mut found = There { head: log.position(), next: Vec::new().into_iter(), at: Position::START };
    let (mut events, there) = (0, log.position().0.min(header.events));
    loop {
        let event = match lines.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                log.flush().map_err(|error| ImportError::Load { line: lines.line(), error })?;
                return Err(file(error, log.position()));
            }
        };
        let (position, line) = (event.position, lines.line());
        if position.0 % EVENTS_PER_STEP == 0 {
            progress(position.0, header.events);
        }
        if position <= found.head {
            if !found.is_next(&log, &event)? {
                return Err(ImportError::AnotherLog { path: log.path().to_owned(), position, line });
            }
            continue;
        }
        log.push(event).map_err(|error| ImportError::Load { line, error })?;
        events += 1;
    }
    progress(header.events, header.events);
    let path = log.path().display().to_string();
    let head = log.finish().map_err(|error| ImportError::Load { line: lines.line(), error })?;
    Ok(Imported { path, events, there, position: header.head, head })
}

/// The events that the folder has already, page by page.
struct There {
    /// The last of them.
    head: Position,
    next: std::vec::IntoIter<RecordedEvent>,
    at: Position,
}

impl There {
    /// Whether the next event of the folder is this one, wholly.
    fn is_next(&mut self, log: &Loader, event: &RecordedEvent) -> Result<bool, ReadError> {
        let mut next = self.next.next();
        if next.is_none() {
            self.next = log.page(self.at)?.into_iter();
            next = self.next.next();
        }
        let Some(next) = next else { return Ok(false) };
        self.at = next.position;
        Ok(crate::export::same(&next, event))
    }
}
