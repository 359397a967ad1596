//! The proof that a follower misses nothing, whatever was published twice, out of order, or lost. Pure: no Kafka here.
//!
//! A partition's records need not be in the order of their positions: a relay that takes over repeats what the one before
//! had published, `republish` repeats more, and a relay that was paused may wake and repeat something in the midst of its
//! successor's records. So an offset that a binary search finds is a guess. It is proven by the claims: a follower that
//! has everything up to u takes the record whose claim begins at or before u, passes by what ends at or before u, and
//! anything else shows that the guess was wrong: then it looks further ahead of there, in the end from the first record.
//!
//! A follower cannot notice that the topic was deleted and created again if the new one has grown past its offset
//! before it asks: it continues in the middle of the new topic, and the records before its offset look like a gap. So a
//! gap is believed only when the partition was read once more from its first record and still has it.
//!
//! *Invariant:* the records that a follower takes are, in order and without a gap, the log's events of this partition.

use event_store::Position;

use crate::cloudevents::Claim;

/// Number of records that are read rather than searched: they come with one fetch.
pub(crate) const NEAR: i64 = 512;

/// The handling of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The follower had it before, or it claims nothing: skip it.
    PassBy,
    /// It is the next one: take it.
    Take,
    /// It is behind a gap, so reading began too late: search for a place before this offset.
    LookBefore(i64),
}

/// The result at the end of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// Nothing is missing.
    Whole,
    /// A record behind a gap may fit by now, or the gap may be none: search again, anywhere.
    LookAgain,
    /// The partition lacks records; the follower continues after this position.
    Lacking(Position),
}

/// The progress of a follower.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// The follower has everything at or below this position.
    pub up_to: Position,
    /// The offset at which reading began, and the first offset of the partition.
    from: i64,
    low: i64,
    /// The lowest claim seen behind a gap, while reading from the partition's first record.
    beyond: Option<Position>,
    /// After this position there was a gap, and the follower is checking whether it is real.
    doubted: Option<Position>,
}

impl Coverage {
    /// A follower that has everything up to `up_to` and reads from the offset `from` of a partition that begins at
    /// `low`.
    pub fn new(up_to: Position, from: i64, low: i64) -> Self {
        Self { up_to, from, low, beyond: None, doubted: None }
    }

    /// Restarts reading at the offset `from` of a partition that begins at `low`.
    pub fn begin(&mut self, from: i64, low: i64) {
        (self.from, self.low, self.beyond) = (from, low, None);
    }

    /// Decides how to handle the next record, and remembers it.
    pub fn step(&mut self, claim: Claim) -> Step {
        if claim.position <= self.up_to {
            return Step::PassBy;
        }
        // What claims nothing can only be the very next position, and proves no hole.
        let since = claim.since.unwrap_or(Position(claim.position.0.saturating_sub(1)));
        if since <= self.up_to {
            self.up_to = claim.position;
            return Step::Take;
        }
        if claim.since.is_none() {
            return Step::PassBy;
        }
        if self.from > self.low {
            return Step::LookBefore(self.from);
        }
        self.beyond = Some(self.beyond.map_or(since, |beyond| beyond.min(since)));
        Step::PassBy
    }

    /// Decides what to do after the last record.
    pub fn at_end(&mut self) -> AtEnd {
        match self.beyond {
            None => AtEnd::Whole,
            Some(beyond) if beyond <= self.up_to => AtEnd::LookAgain,
            Some(_) if self.doubted.replace(self.up_to) != Some(self.up_to) => AtEnd::LookAgain,
            Some(beyond) => AtEnd::Lacking(beyond),
        }
    }
}

/// Searches for an offset, from `low` to below `high`, from which to read the records after `after`: a good guess.
/// `probe` returns the offset and position of the first readable record at or after an offset; `None` if there is none.
pub(crate) fn search<E>(
    low: i64,
    high: i64,
    after: Position,
    probe: impl FnMut(i64) -> Result<Option<(i64, Position)>, E>,
) -> Result<i64, E> {
    search_within(NEAR, low, high, after, probe)
}

fn search_within<E>(
    near: i64,
    low: i64,
    high: i64,
    after: Position,
    mut probe: impl FnMut(i64) -> Result<Option<(i64, Position)>, E>,
) -> Result<i64, E> {
    // The record at `from` is at or before `after`, or it is the first; those at `to` and above are beyond it.
    let (mut from, mut to) = (low, high);
    // Most followers are near the end: steps backward that grow.
    let mut back = near;
    while high - back > low {
        match probe(high - back)? {
            Some((at, position)) if at < to && position <= after => {
                from = at;
                break;
            }
            _ => to = high - back,
        }
        back *= 8;
    }
    while to - from > near {
        let middle = from + (to - from) / 2;
        match probe(middle)? {
            Some((at, position)) if at < to && position <= after => from = at,
            _ => to = middle,
        }
    }
    Ok(from)
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
