//! The export of a folder's log to a file, beside the process that serves it.
//!
//! The file is made as `<file>.partial`, synced, and renamed when it is complete: a file under the name of the export
//! is complete. The remains of an interrupted export are verified line by line, a last line that was cut off is
//! removed, and the export continues.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::LogFile;
use super::backup::sync_folder_of;
use crate::export::{ExportError, Good, Header, LineReader, LineWriter};
use crate::{OpenError, Position, ReadError};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// The reason why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportFileError {
    /// There is no log to read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A file with the export's name exists already.
    #[error("`{0}` exists already; give the export another name")]
    Exists(PathBuf),
    /// The remains of an interrupted export exist.
    #[error("`{0}` is what an interrupted export left; resume it, or remove it")]
    Interrupted(PathBuf),
    /// The remains of an interrupted export cannot be continued.
    #[error("`{path}` cannot be resumed: {why}; remove it to begin anew")]
    NotResumable {
        /// Path of the unfinished file.
        path: PathBuf,
        /// The reason why the file cannot be continued.
        why: String,
    },
    /// The range has no events in this log.
    #[error("the log goes from position 1 to {head}, so there is nothing from {from} to {to}")]
    Nothing {
        /// First position of the range.
        from: Position,
        /// Last position of the range.
        to: Position,
        /// Position of the log's last event.
        head: Position,
    },
    /// The file cannot be written.
    #[error("`{path}` cannot be written: {reason}")]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// The system's description of the error.
        reason: String,
    },
}

/// A range of positions of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// First position, inclusive; without it the log's first.
    pub from: Option<Position>,
    /// Last position, inclusive; without it the log's last when the export begins.
    pub to: Option<Position>,
}

/// The result of an export.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Path of the file; `-` for an export to a given output.
    pub path: String,
    /// Number of events in the file.
    pub events: u64,
    /// Position of the first event in the file.
    pub first_position: Position,
    /// Position of the last event in the file.
    pub position: Position,
    /// Number of events that an interrupted export had written before.
    pub resumed: u64,
}

/// Writes the log of a folder to a new file. With `resume` it continues the remains of an interrupted export of the
/// same log, up to the position that was the last when that began; without such remains it begins.
///
/// # Errors
/// [`ExportFileError`].
pub fn export(
    dir: &Path,
    to: &Path,
    range: Range,
    resume: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, ExportFileError> {
    let log = LogFile::open(dir)?;
    if to.exists() {
        return Err(ExportFileError::Exists(to.to_owned()));
    }
    let draft = draft_of(to);
    let unwritable = |error: io::Error| ExportFileError::Unwritable { path: draft.clone(), reason: error.to_string() };
    let left = match (draft.exists(), resume) {
        (true, true) => left_by(&draft, &log, range)?,
        (true, false) => return Err(ExportFileError::Interrupted(draft)),
        (false, _) => None,
    };
    let (writer, header, resumed) = match left {
        Some((header, good)) => {
            let mut file = OpenOptions::new().write(true).open(&draft).map_err(unwritable)?;
            file.set_len(good.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(unwritable)?;
            let resumed = (good.position.0 + 1).saturating_sub(header.first_position.0);
            let out = BufWriter::with_capacity(BUFFER, file);
            (LineWriter::resume(out, header.clone(), &good), header, resumed)
        }
        None => {
            let header = header_of(&log, range)?;
            let file = File::create(&draft).map_err(unwritable)?;
            let out = BufWriter::with_capacity(BUFFER, file);
            (LineWriter::begin(out, header.clone()).map_err(unwritable)?, header, 0)
        }
    };
    let out = copy(&log, writer, &header, progress, &draft)?;
    let file = out.into_inner().map_err(|error| unwritable(error.into_error()))?;
    file.sync_all().and_then(|()| fs::rename(&draft, to)).and_then(|()| sync_folder_of(to)).map_err(unwritable)?;
    Ok(exported(to.display().to_string(), &header, resumed))
}

/// Writes the log of a folder to any output that takes bytes, such as a pipe.
///
/// # Errors
/// [`ExportFileError`].
pub fn export_to(
    dir: &Path,
    out: impl Write,
    range: Range,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, ExportFileError> {
    let log = LogFile::open(dir)?;
    let header = header_of(&log, range)?;
    let to = Path::new("-");
    let unwritable = |error: io::Error| ExportFileError::Unwritable { path: to.to_owned(), reason: error.to_string() };
    let out = BufWriter::with_capacity(BUFFER, out);
    let writer = LineWriter::begin(out, header.clone()).map_err(unwritable)?;
    copy(&log, writer, &header, progress, to)?;
    Ok(exported("-".to_owned(), &header, 0))
}

fn exported(path: String, header: &Header, resumed: u64) -> Exported {
    let Header { events, first_position, head: position, .. } = *header;
    Exported { path, events, first_position, position, resumed }
}

/// The path of an unfinished export.
fn draft_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn header_of(log: &LogFile, range: Range) -> Result<Header, ExportFileError> {
    let head = log.head()?;
    let (from, to) = (range.from.unwrap_or(Position(1)), range.to.unwrap_or(head));
    let whole = range.from.is_none() && range.to.is_none();
    if !whole && (from.0 == 0 || to > head || from > to) {
        return Err(ExportFileError::Nothing { from, to, head });
    }
    Ok(Header::new(from, to, log.event(from)?.map(|event| event.id)))
}

fn copy<W: Write>(
    log: &LogFile,
    mut writer: LineWriter<W>,
    header: &Header,
    progress: &mut dyn FnMut(u64, u64),
    to: &Path,
) -> Result<W, ExportFileError> {
    let unwritable = |error: io::Error| ExportFileError::Unwritable { path: to.to_owned(), reason: error.to_string() };
    while writer.position() < header.head {
        progress((writer.position().0 + 1).saturating_sub(header.first_position.0), header.events);
        for event in log.page(writer.position(), header.head)? {
            writer.event(&event).map_err(unwritable)?;
        }
    }
    progress(header.events, header.events);
    writer.end().map_err(unwritable)
}

/// Reads how far an unfinished file is valid, if it has a complete header; refuses one that is not the beginning of
/// this export.
fn left_by(draft: &Path, log: &LogFile, range: Range) -> Result<Option<(Header, Good)>, ExportFileError> {
    let refused = |why: String| ExportFileError::NotResumable { path: draft.to_owned(), why };
    let file = File::open(draft).map_err(|error| refused(error.to_string()))?;
    let mut lines = match LineReader::open(BufReader::with_capacity(BUFFER, file)) {
        Ok(lines) => lines,
        Err(ExportError::Torn { .. }) => return Ok(None),
        Err(error) => return Err(refused(error.to_string())),
    };
    let header = lines.header().clone();
    let differs = |asked: Option<Position>, found: Position| asked.is_some_and(|asked| asked != found);
    if range.from.unwrap_or(Position(1)) != header.first_position || differs(range.to, header.head) {
        return Err(refused(format!("it goes from {} to {}", header.first_position, header.head)));
    }
    let head = log.head()?;
    if head < header.head {
        return Err(refused(format!("it goes to {}, the log only to {head}", header.head)));
    }
    let mut last: Option<(Position, Uuid)> = None;
    loop {
        let before = lines.good();
        match lines.next_event() {
            Ok(Some(event)) => last = Some((event.position, event.id)),
            // Only its last sync or its renaming is missing; its end is written again.
            Ok(None) => return same_log(log, &header, last).map_err(refused).map(|()| Some((header, before))),
            Err(ExportError::Torn { .. }) => {
                return same_log(log, &header, last).map_err(refused).map(|()| Some((header, before)));
            }
            Err(error) => return Err(refused(error.to_string())),
        }
    }
}

/// Checks that the first and the last event of the file are those of the log; those between are chained to them.
fn same_log(log: &LogFile, header: &Header, last: Option<(Position, Uuid)>) -> Result<(), String> {
    let first = header.first_event_id.map(|id| (header.first_position, id));
    for (position, id) in [first, last].into_iter().flatten() {
        let found = log.event(position).map_err(|error| error.to_string())?.map(|event| event.id);
        if found != Some(id) {
            return Err(format!("it is of another log: that at {position} is not the same event"));
        }
    }
    Ok(())
}
