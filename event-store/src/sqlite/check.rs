//! Verifies a log.
use std::path::Path;

use rusqlite::Connection;

use crate::port::Direction;
use crate::{OpenError, Position};

/// Events verified at every start.
const EVENTS_AT_OPEN: usize = 256;

/// Verifies the newest events.
pub(super) fn check_end(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    super::reader::all(connection, path, Position(u64::MAX), Direction::Backward, EVENTS_AT_OPEN)
        .map(drop)
        .map_err(|error| OpenError::Damaged { path: path.display().to_string(), what: error.to_string() })
}
