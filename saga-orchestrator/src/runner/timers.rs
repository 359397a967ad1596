//! Which sagas are active, and when each next acts by itself: an id and a moment a saga, however long it waits. The
//! moments follow from saga events; here they are only sorted.

use std::collections::{BTreeSet, HashMap};

use domain::Timestamp;
use domain::ids::OrderId;

use super::checkpoint::{Active, Key};

/// The active sagas of a worker.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    active: HashMap<Key, (Option<Timestamp>, bool)>,
    by_order: HashMap<OrderId, Vec<Key>>,
    due: BTreeSet<(Timestamp, Key)>,
}

impl Timers {
    /// A saga is active; it acts by itself at `due`, and has commands open or not.
    pub fn set(&mut self, key: &Key, due: Option<Timestamp>, open: bool) {
        let before = self.active.insert(key.clone(), (due, open));
        if before.is_none() {
            self.by_order.entry(key.order_id).or_default().push(key.clone());
        }
        self.move_to(key, before.and_then(|(due, _)| due), due);
    }

    /// A saga has ended.
    pub fn remove(&mut self, key: &Key) {
        let before = self.active.remove(key);
        if let Some(keys) = self.by_order.get_mut(&key.order_id).filter(|_| before.is_some()) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_order.remove(&key.order_id);
            }
        }
        self.move_to(key, before.and_then(|(due, _)| due), None);
    }

    fn move_to(&mut self, key: &Key, before: Option<Timestamp>, after: Option<Timestamp>) {
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
    pub fn contains(&self, key: &Key) -> bool {
        self.active.contains_key(key)
    }

    /// The active sagas of an order, in the order in which they began.
    pub fn of_order(&self, order_id: OrderId) -> Vec<Key> {
        self.by_order.get(&order_id).cloned().unwrap_or_default()
    }

    /// The next moment at which a saga acts.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Up to `limit` sagas whose moment has come. Each must be set anew, or it comes again.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<Key> {
        self.due.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, key)| key.clone()).collect()
    }

    /// All active sagas.
    pub fn all(&self) -> impl Iterator<Item = Active> {
        self.active.iter().map(|(key, (due, open))| Active { key: key.clone(), due: *due, open: *open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        of("order_fulfilment", n, n)
    }

    fn of(saga: &str, id: u128, order: u128) -> Key {
        let (id, order_id) = (uuid::Uuid::from_u128(id), OrderId(uuid::Uuid::from_u128(order)));
        Key { saga: saga.into(), id, order_id }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn the_earliest_comes_first_and_a_moved_one_only_at_its_new_moment() {
        let mut timers = Timers::default();
        timers.set(&key(1), Some(at(30)), true);
        timers.set(&key(2), Some(at(20)), true);
        timers.set(&key(3), None, false);
        assert_eq!(timers.next(), Some(at(20)));
        timers.set(&key(2), Some(at(40)), true);
        assert_eq!(timers.due(at(39), 10), [key(1)]);
        timers.remove(&key(1));
        assert_eq!((timers.next(), timers.all().count()), (Some(at(40)), 2));
    }

    #[test]
    fn an_order_finds_each_of_its_active_sagas_and_no_other() {
        let mut timers = Timers::default();
        let late = |id| of("payment_reconciliation", id, 1);
        for key in [key(1), late(7), key(2), late(8)] {
            timers.set(&key, None, true);
            timers.set(&key, Some(at(5)), true);
        }
        assert_eq!(timers.of_order(key(1).order_id), [key(1), late(7), late(8)]);
        timers.remove(&late(7));
        assert_eq!(timers.of_order(key(1).order_id), [key(1), late(8)]);
        timers.remove(&key(2));
        assert_eq!(timers.of_order(key(2).order_id), []);
    }
}
