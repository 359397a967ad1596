//! How a follower knows that it misses nothing, whatever was published again, out of turn, or lost. Pure: no Kafka here.
//!
//! A partition's records need not be in the order of their positions: a relay that takes over repeats what the one before
//! had published, `republish` repeats more, and a relay that was paused may wake and repeat something in the midst of its
//! successor's records. So an offset that a binary search finds is a guess. It is proven by the claims: a follower that
//! has everything up to u takes the record whose claim begins at or before u, passes by what ends at or before u, and
//! anything else shows that the guess was wrong: then it looks further ahead of there, in the end from the first record.
//!
//! Nothing tells a follower that the topic was deleted and made anew, if the new one has grown past its offset before it
//! asks again: it goes on in the midst of the new one, and what lies there before its offset looks like a hole. So a hole is
//! believed only when the partition was read from its first record once more and still has it.
//!
//! *Invariant:* what a follower takes is, in order and without a hole, what the log has in this partition.

use event_store::Position;

use crate::cloudevents::Claim;

/// Records that are rather read than searched: they come with one fetch.
pub(crate) const NEAR: i64 = 512;

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was had before, or claims nothing: pass it by.
    PassBy,
    /// It is the next: take it.
    Take,
    /// It lies beyond a hole, and reading began too late: look for a place before this offset.
    LookBefore(i64),
}

/// What to do at the end of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// All is had.
    Whole,
    /// What lay beyond a hole may fit by now, or the hole may be none: look again, anywhere.
    LookAgain,
    /// The partition lacks something; it goes on behind this position.
    Lacking(Position),
}

/// How far a follower has come.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// Everything at or below is had.
    pub up_to: Position,
    /// Where reading began, and where the partition begins.
    from: i64,
    low: i64,
    /// The lowest claim seen beyond a hole, while reading from the partition's first record.
    beyond: Option<Position>,
    /// Behind this position there was a hole, and it is looked whether there is one indeed.
    doubted: Option<Position>,
}

impl Coverage {
    /// Everything up to `up_to` is had; reading begins at the offset `from` of a partition that begins at `low`.
    pub fn new(up_to: Position, from: i64, low: i64) -> Self {
        Self { up_to, from, low, beyond: None, doubted: None }
    }

    /// Reading begins anew.
    pub fn begin(&mut self, from: i64, low: i64) {
        (self.from, self.low, self.beyond) = (from, low, None);
    }

    /// What to do with the record that follows; takes note of it.
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

    /// What to do when the last record was read.
    pub fn at_end(&mut self) -> AtEnd {
        match self.beyond {
            None => AtEnd::Whole,
            Some(beyond) if beyond <= self.up_to => AtEnd::LookAgain,
            Some(_) if self.doubted.replace(self.up_to) != Some(self.up_to) => AtEnd::LookAgain,
            Some(beyond) => AtEnd::Lacking(beyond),
        }
    }
}

/// An offset, at `low` or above and below `high`, from where to read what follows `after`: a good guess. `probe` tells
/// the offset and position of the first readable record at or after an offset; `None`: there is none.
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
