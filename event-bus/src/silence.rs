//! Whether a reader that brings nothing is to be believed.
//!
//! A client can stop fetching for good where a topic was deleted and made anew: what it remembers of the partition's leader
//! looks newer than what the new topic says (librdkafka #3009, #3255; Kafka's own client had it, KAFKA-12257). Nothing tells
//! of it. So who has heard nothing for a while asks where the partition ends, and takes another reader where that does not
//! fit.

use std::time::{Duration, Instant};

/// After so long without a record, and again after as long, the partition is asked where it ends.
const QUIET_FOR: Duration = Duration::from_secs(3);

/// How long nothing was heard, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    /// At the last look: the offset that was waited for, and where the partition ended.
    seen: Option<(i64, i64)>,
    /// What another reader did not bring either: it is nothing that is shown to readers, such as marks of transactions.
    hidden: Option<(i64, i64)>,
}

impl Silence {
    /// Something was heard just now.
    pub fn new() -> Self {
        Self { since: Instant::now(), seen: None, hidden: None }
    }

    /// A record came, or the word that there are no more.
    pub fn ends(&mut self) {
        (self.since, self.seen) = (Instant::now(), None);
    }

    /// Whether it is time to ask.
    pub fn is_long(&self) -> bool {
        self.since.elapsed() >= QUIET_FOR
    }

    /// The partition ends at `end` while `next` is waited for. Whether the reader hangs: twice in a row it was not at the
    /// end (once only, and what is there is on its way), and no other reader has found that there is nothing to be had.
    pub fn is_a_hang(&mut self, next: i64, end: i64) -> bool {
        self.since = Instant::now();
        let before = self.seen.replace((next, end));
        let again = next != end && before.is_some_and(|(waited_for, ended)| waited_for == next && ended != next);
        let hangs = again && self.hidden != Some((next, end));
        if hangs {
            (self.seen, self.hidden) = (None, Some((next, end)));
        }
        hangs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_at_the_end_is_believed_for_ever() {
        let mut silence = Silence::new();
        assert!((0..5).all(|_| !silence.is_a_hang(7, 7)));
    }

    #[test]
    fn what_was_there_twice_and_did_not_come_is_a_hang() {
        let mut silence = Silence::new();
        assert!(!silence.is_a_hang(7, 9), "it may be on its way");
        assert!(silence.is_a_hang(7, 12));
        // The topic that was made anew is shorter than the one that was read.
        let mut silence = Silence::new();
        assert!(!silence.is_a_hang(700, 0));
        assert!(silence.is_a_hang(700, 30));
    }

    #[test]
    fn what_comes_between_two_looks_is_no_hang() {
        let mut silence = Silence::new();
        assert!(!silence.is_a_hang(7, 9));
        silence.ends();
        assert!(!silence.is_a_hang(9, 12));
        assert!(!silence.is_a_hang(12, 12));
        assert!(!silence.is_a_hang(12, 13), "it has only just come");
    }

    #[test]
    fn what_another_reader_did_not_bring_either_is_not_asked_for_again() {
        let mut silence = Silence::new();
        assert!(!silence.is_a_hang(7, 8) && silence.is_a_hang(7, 8));
        silence.ends();
        assert!((0..5).all(|_| !silence.is_a_hang(7, 8)));
        assert!(silence.is_a_hang(7, 9), "something new is");
    }
}
