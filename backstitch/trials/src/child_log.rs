//! What a process that was started here says: a file, and its end for those who ask why the process does not serve.

use std::fs::File;
use std::path::Path;

/// Lines that are shown of a process that failed.
const LINES: usize = 20;

/// Opens the file for a process that is started, behind what processes before it said.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The last lines of the file; none if there is no file.
pub(crate) fn end(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
