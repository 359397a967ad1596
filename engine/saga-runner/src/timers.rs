//! Which sagas are active, and when each next acts by itself: an id and a moment a saga, however long it waits. The
//! moments follow from saga events; here they are only sorted.

use std::collections::{BTreeSet, HashMap};

use eventsourcing::Timestamp;
use saga_engine::Subject;

use super::checkpoint::{Active, Key};

/// How an active saga stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    due: Option<Timestamp>,
    open: bool,
    /// The version of its last event that this follows from.
    version: u64,
}

/// The active sagas of a worker.
#[derive(Debug)]
pub(crate) struct Timers<S> {
    active: HashMap<Key<S>, Standing>,
    by_subject: HashMap<S, Vec<Key<S>>>,
    due: BTreeSet<(Timestamp, Key<S>)>,
}

impl<S> Default for Timers<S> {
    fn default() -> Self {
        Self { active: HashMap::new(), by_subject: HashMap::new(), due: BTreeSet::new() }
    }
}

impl<S: Subject> Timers<S> {
    /// A saga is active; it acts by itself at `due`, and has commands open or not. So say its events up to `version`.
    pub fn set(&mut self, key: &Key<S>, due: Option<Timestamp>, open: bool, version: u64) {
        let before = self.active.insert(key.clone(), Standing { due, open, version });
        if before.is_none() {
            self.by_subject.entry(key.subject).or_default().push(key.clone());
        }
        self.move_to(key, before.and_then(|before| before.due), due);
    }

    /// A saga has ended.
    pub fn remove(&mut self, key: &Key<S>) {
        let before = self.active.remove(key);
        if let Some(keys) = self.by_subject.get_mut(&key.subject).filter(|_| before.is_some()) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_subject.remove(&key.subject);
            }
        }
        self.move_to(key, before.and_then(|before| before.due), None);
    }

    fn move_to(&mut self, key: &Key<S>, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, key.clone()));
            }
            if let Some(after) = after {
                self.due.insert((after, key.clone()));
            }
        }
    }

    /// Whether a saga is active.
    pub fn contains(&self, key: &Key<S>) -> bool {
        self.active.contains_key(key)
    }

    /// Whether what is known of a saga does not reach to this version: it is active, and somebody else has written it.
    pub fn is_behind(&self, key: &Key<S>, version: u64) -> bool {
        self.active.get(key).is_some_and(|standing| standing.version < version)
    }

    /// The active sagas of a subject, in the sequence in which they began.
    pub fn of_subject(&self, subject: S) -> Vec<Key<S>> {
        self.by_subject.get(&subject).cloned().unwrap_or_default()
    }

    /// The next moment at which a saga acts.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Up to `limit` sagas whose moment has come. Each must be set anew, or it comes again.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<Key<S>> {
        self.due.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, key)| key.clone()).collect()
    }

    /// Makes every saga that waits for a later moment due `now`. Says how many they are.
    pub fn all_due(&mut self, now: Timestamp) -> usize {
        let later = self.due.iter().filter(|(at, _)| *at > now).map(|(_, key)| key.clone()).collect::<Vec<_>>();
        for key in &later {
            if let Some(standing) = self.active.get(key).copied() {
                self.set(key, Some(now), standing.open, standing.version);
            }
        }
        later.len()
    }

    /// All active sagas, in no particular sequence.
    pub fn all(&self) -> impl Iterator<Item = Active<S>> {
        self.active.iter().map(|(key, it)| Active { key: key.clone(), due: it.due, open: it.open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Booking;

    fn key(n: u128) -> Key<Booking> {
        of("booking", n, n)
    }

    fn of(saga: &str, id: u128, booking: u128) -> Key<Booking> {
        let (id, booking_id) = (uuid::Uuid::from_u128(id), uuid::Uuid::from_u128(booking));
        Key { saga: saga.into(), id, subject: Booking { booking_id } }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn the_earliest_comes_first_and_a_moved_one_only_at_its_new_moment() {
        let mut timers = Timers::default();
        timers.set(&key(1), Some(at(30)), true, 0);
        timers.set(&key(2), Some(at(20)), true, 0);
        timers.set(&key(3), None, false, 0);
        assert_eq!(timers.next(), Some(at(20)));
        timers.set(&key(2), Some(at(40)), true, 0);
        assert_eq!(timers.due(at(39), 10), [key(1)]);
        timers.remove(&key(1));
        assert_eq!((timers.next(), timers.all().count()), (Some(at(40)), 2));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_all_that_wait_due_once() {
        let mut timers = Timers::default();
        timers.set(&key(1), Some(at(7_200)), true, 3);
        timers.set(&key(2), Some(at(5)), false, 0);
        timers.set(&key(3), None, false, 0);
        assert_eq!(timers.all_due(at(10)), 1, "what is due already stays as it is, what waits for no moment does too");
        assert_eq!(timers.due(at(10), 10), [key(2), key(1)]);
        assert!(!timers.is_behind(&key(1), 3));
    }

    #[test]
    fn a_subject_finds_each_of_its_active_sagas_and_no_other() {
        let mut timers = Timers::default();
        let late = |id| of("refund", id, 1);
        for key in [key(1), late(7), key(2), late(8)] {
            timers.set(&key, None, true, 0);
            timers.set(&key, Some(at(5)), true, 0);
        }
        assert_eq!(timers.of_subject(key(1).subject), [key(1), late(7), late(8)]);
        timers.remove(&late(7));
        assert_eq!(timers.of_subject(key(1).subject), [key(1), late(8)]);
        timers.remove(&key(2));
        assert_eq!(timers.of_subject(key(2).subject), []);
    }

    #[test]
    fn a_saga_that_somebody_else_has_written_is_behind_until_it_has_ended() {
        let mut timers = Timers::default();
        timers.set(&key(1), None, true, 4);
        assert_eq!([3, 4, 5].map(|version| timers.is_behind(&key(1), version)), [false, false, true]);
        timers.remove(&key(1));
        assert!(!timers.is_behind(&key(1), 9));
    }
}
