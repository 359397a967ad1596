//! The row buffer: what a batch reads, folds and writes. Rows stay for the next batch, so that a hot row is read once.
//!
//! *Invariant:* a row in here is what Postgres holds, or will hold when the running transaction commits. When it does
//! not commit, the whole buffer is thrown away with its projection.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use event_store::{Position, RecordedEvent, StreamName};

/// Rows kept beyond their batch, per projection and twice over: 8 192 rows of some 500 bytes are 8 MB, and hold every
/// row that changes again and again for some seconds (thousands at the same moment).
const KEPT: usize = 8_192;

/// Up to where a row has followed its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The version of the last event in it.
    pub version: u64,
    /// The position of that event.
    pub position: Position,
    /// When that event occurred: nothing in a row comes from the wall clock.
    pub updated_at: DateTime<Utc>,
}

impl Head {
    /// The head after an event.
    pub fn of(event: &RecordedEvent) -> Self {
        Self { version: event.version, position: event.position, updated_at: event.metadata.occurred_at }
    }

    /// From the columns `stream_version`, `global_position`, `updated_at`.
    pub fn stored(version: i64, position: i64, updated_at: DateTime<Utc>) -> Self {
        Self { version: unsigned(version), position: Position(unsigned(position)), updated_at }
    }

    /// For the column `stream_version`.
    pub fn version_column(&self) -> i64 {
        signed(self.version)
    }

    /// For the column `global_position`.
    pub fn position_column(&self) -> i64 {
        signed(self.position.0)
    }
}

/// A number for a `bigint` column. Positions and versions stay below 2⁶³ for as long as anybody counts.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from a `bigint` column that we wrote with [`signed`].
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// One column of a multi-row upsert.
pub fn column<'r, R: 'r, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Text that Postgres can keep: it has no U+0000, which JSON allows.
pub fn text(from: &str) -> String {
    from.replace('\0', "\u{fffd}")
}

/// A head row with its value.
#[derive(Debug, Clone)]
pub struct Row<R> {
    /// Up to where it has followed its stream.
    pub head: Head,
    /// What the row says beside its head.
    pub value: R,
}

/// The head rows of one projection, by source stream.
#[derive(Debug)]
pub struct Changes<R> {
    /// Used in this batch or lately.
    hot: HashMap<StreamName, Row<R>>,
    /// Used before that; thrown away when `hot` is full.
    cold: HashMap<StreamName, Row<R>>,
    changed: HashSet<StreamName>,
    kept: usize,
}

impl<R> Default for Changes<R> {
    fn default() -> Self {
        Self::keeping(KEPT)
    }
}

impl<R> Changes<R> {
    /// A buffer that keeps up to so many rows beyond their batch, twice over.
    pub fn keeping(kept: usize) -> Self {
        Self { hot: HashMap::new(), cold: HashMap::new(), changed: HashSet::new(), kept }
    }
}

impl<R: Default> Changes<R> {
    /// The streams of these events whose rows are not in here, each once: they must be looked up.
    pub fn missing<'e>(&mut self, events: impl IntoIterator<Item = &'e RecordedEvent>) -> Vec<StreamName> {
        let mut missing = HashSet::new();
        for event in events {
            if self.hot.contains_key(&event.stream) || missing.contains(&event.stream) {
                continue;
            }
            match self.cold.remove_entry(&event.stream) {
                Some((stream, row)) => _ = self.hot.insert(stream, row),
                None => _ = missing.insert(event.stream.clone()),
            }
        }
        missing.into_iter().collect()
    }

    /// Takes in a row that was looked up.
    pub fn loaded(&mut self, stream: StreamName, head: Head, value: R) {
        self.hot.insert(stream, Row { head, value });
    }

    /// The version up to which a stream has been followed; `None`: not at all.
    pub fn version(&self, stream: &StreamName) -> Option<u64> {
        self.hot.get(stream).map(|row| row.head.version)
    }

    /// The row of the event's stream, to be changed; its head moves to the event.
    pub fn row(&mut self, event: &RecordedEvent) -> &mut R {
        let head = Head::of(event);
        self.changed.insert(event.stream.clone());
        let row = self.hot.entry(event.stream.clone()).or_insert_with(|| Row { head, value: R::default() });
        row.head = head;
        &mut row.value
    }

    /// Moves the head past an event that changes nothing, in memory only. Where the row is written for another reason the
    /// head goes with it; where it is forgotten first, the events in between are read from the log again, as any gap is.
    pub fn pass(&mut self, event: &RecordedEvent) -> &mut R {
        let head = Head::of(event);
        let row = self.hot.entry(event.stream.clone()).or_insert_with(|| Row { head, value: R::default() });
        row.head = head;
        &mut row.value
    }

    /// The rows changed in this batch.
    pub fn changed(&self) -> Vec<(&StreamName, &Row<R>)> {
        self.changed.iter().filter_map(|stream| self.hot.get_key_value(stream)).collect()
    }

    /// Each row changed in this batch, to drop from it what is written once only.
    pub fn changed_mut(&mut self, mut visit: impl FnMut(&mut R)) {
        for stream in &self.changed {
            if let Some(row) = self.hot.get_mut(stream) {
                visit(&mut row.value);
            }
        }
    }

    /// Forgets a row, which is then looked up again if its stream goes on.
    pub fn forget(&mut self, stream: &StreamName) {
        self.hot.remove(stream);
    }

    /// The batch is written: nothing is changed any more, and what was not used lately may go.
    pub fn written(&mut self) {
        self.changed.clear();
        if self.hot.len() > self.kept {
            self.cold = std::mem::take(&mut self.hot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_a_zero_character_can_be_kept() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
    }
}
