//! The clients' commands of a stream that do not fit into its window any more: kept so small that a million of them has 16 MB,
//! because what is known of each stands in the log. Only where its events stand must be remembered.
//!
//! An entry is the beginning of the command's id, which is as good as random, and the version of the command's last event.
//! Entries come in the order of time, in segments that are each sorted by id; a segment is forgotten as a whole, once its
//! newest entry is a day old. Two ids may begin alike, so the event that is found decides.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use eventsourcing::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of an entry, in memory and in a snapshot: the beginning of the id and the version, there big-endian.
pub(crate) const ENTRY_BYTES: usize = 16;

/// Entries of about the same time, sorted.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    /// When the newest of them was decided.
    until: Timestamp,
    entries: Vec<(u64, u64)>,
}

/// A segment as it stands in a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    until: Timestamp,
    /// Its entries, in base64.
    entries: String,
}

/// The older commands of one stream, the oldest segment first. Clones share the segments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Older {
    segments: std::collections::VecDeque<Arc<Segment>>,
    count: usize,
}

fn beginning_of(id: Uuid) -> u64 {
    (id.as_u128() >> 64) as u64
}

impl Older {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Takes commands in: their ids and the versions of their last events. The newest was decided at `until`.
    pub fn push(&mut self, until: Timestamp, commands: impl IntoIterator<Item = (Uuid, u64)>) {
        let mut entries: Vec<_> = commands.into_iter().map(|(id, version)| (beginning_of(id), version)).collect();
        entries.sort_unstable();
        self.add(Segment { until, entries });
    }

    fn add(&mut self, segment: Segment) {
        self.count += segment.entries.len();
        self.segments.push_back(Arc::new(segment));
    }

    /// The versions at which the events of a command may stand, the newest first.
    pub fn versions(&self, id: Uuid) -> Vec<u64> {
        let wanted = beginning_of(id);
        let of_segment = |segment: &Arc<Segment>| {
            let from = segment.entries.partition_point(|(found, _)| *found < wanted);
            let fits = segment.entries[from..].iter().take_while(|(found, _)| *found == wanted);
            fits.map(|(_, version)| *version).collect::<Vec<_>>()
        };
        self.segments.iter().rev().flat_map(of_segment).collect()
    }

    /// Forgets the segments whose newest command was decided at `before` or earlier.
    pub fn forget(&mut self, before: Timestamp) {
        while let Some(oldest) = self.segments.front().filter(|oldest| oldest.until <= before) {
            self.count -= oldest.entries.len();
            self.segments.pop_front();
        }
    }

    /// When the newest command of the oldest segment was decided: a day later there is room again.
    pub fn oldest_until(&self) -> Option<Timestamp> {
        self.segments.front().map(|oldest| oldest.until)
    }

    /// All of it, for a snapshot.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |segment: &Arc<Segment>| {
            let mut bytes = Vec::with_capacity(segment.entries.len() * ENTRY_BYTES);
            for (id, version) in &segment.entries {
                bytes.extend_from_slice(&id.to_be_bytes());
                bytes.extend_from_slice(&version.to_be_bytes());
            }
            Kept { until: segment.until, entries: STANDARD_NO_PAD.encode(bytes) }
        };
        self.segments.iter().map(kept).collect()
    }

    /// What a snapshot has; `None` if it cannot be read.
    pub fn of(kept: Vec<Kept>) -> Option<Self> {
        let mut older = Self::default();
        for Kept { until, entries } in kept {
            let bytes = STANDARD_NO_PAD.decode(entries).ok()?;
            let (pairs, rest) = bytes.as_chunks::<ENTRY_BYTES>();
            let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let entries = pairs.iter().map(|entry| (number(&entry[..8]), number(&entry[8..]))).collect();
            rest.is_empty().then(|| older.add(Segment { until, entries }))?;
        }
        Some(older)
    }
}

#[cfg(test)]
mod tests {
    use eventsourcing::testing::at;

    use super::*;

    fn id(number: u64) -> Uuid {
        eventsourcing::Namespace::new(1).derive(&["older", &number.to_string()])
    }

    #[test]
    fn each_command_is_found_by_its_id_until_its_segment_is_a_day_old() {
        let mut older = Older::default();
        for segment in 0..10 {
            let commands = (0..100).map(|number| (id(segment * 100 + number), segment * 100 + number));
            older.push(at(i64::try_from(segment).unwrap() * 60), commands);
        }
        let whole = Older::of(serde_json::from_str(&serde_json::to_string(&older.kept()).unwrap()).unwrap()).unwrap();
        for older in [&older, &whole] {
            assert_eq!(older.len(), 1_000);
            assert!((0..1_000).all(|number| older.versions(id(number)) == [number]));
            assert!(older.versions(id(1_000)).is_empty());
        }
        older.forget(at(120));
        assert_eq!((older.len(), older.oldest_until()), (700, Some(at(180))));
        assert!(older.versions(id(299)).is_empty() && older.versions(id(300)) == [300]);
    }

    #[test]
    fn ids_that_begin_alike_are_both_given() {
        let (one, two) = (Uuid::from_u128(7 << 64 | 1), Uuid::from_u128(7 << 64 | 2));
        let mut older = Older::default();
        older.push(at(0), [(one, 4), (two, 9)]);
        older.push(at(1), [(one, 12)]);
        assert_eq!(older.versions(two), [12, 4, 9]);
    }
}
