//! The folded states: one slot a stream, the most recently used ones.
//!
//! *Invariant:* a stream has one slot at a time, so its commands are decided one after the other.
//! *Invariant:* a state with events that are not durable is never evicted: read again, it would lack them.
//! *Invariant:* what the states of streams that nobody uses hold is bounded in number and in bytes, as estimated whenever one
//! was in use.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use event_store::{AppendError, Appended, Epoch, Position, StreamName};
use eventsourcing::{Aggregate, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use lru::LruCache;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::command::SendError;
use crate::idempotency::Window;

/// Streams kept folded per kind of aggregate. A state of 2 kB makes that 16 MB a kind.
const STREAMS_MAX: usize = 8_192;

/// What the folded streams of one kind of aggregate may hold, in bytes. Most have [`STREAM_BYTES`]; a stream with a million
/// clients' keys a day, or an item with 100 000 reservations, has some 30 MB. Eight of those stay, so that they are not read
/// from their snapshots again and again.
const BYTES_MAX: usize = 256 << 20;

/// About what a stream's slot and state hold besides what grows with its use.
const STREAM_BYTES: usize = 2_048;

/// Streams that may be in the cache while none of the oldest can leave, because they are in use: four times the bound,
/// then new streams are told to come back.
const STREAMS_IN_USE_MAX: usize = 4 * STREAMS_MAX;

/// How many of the oldest are looked at to make room for one: at most this long the cache is locked.
const EVICTION_TRIES: usize = 8;

/// Commands that may wait to be decided by one stream: at 20 µs each, 20 ms.
const WAITING_MAX: usize = 1_024;

/// The second moment of an append, for all who wait for it.
pub(crate) type Durable = Shared<Pin<Box<dyn Future<Output = Result<Appended, AppendError>> + Send>>>;

/// What a state stands on.
#[derive(Debug, Clone)]
pub(crate) enum Beneath {
    /// Everything up to here is durable.
    Durable(Position),
    /// The last append is queued; when it is durable, so is everything below.
    Queued(Durable),
}

impl Beneath {
    /// Waits until everything beneath is durable: the position of the last event, if the stream has any.
    ///
    /// # Errors
    /// What the append ended with.
    pub async fn durable(self) -> Result<Position, AppendError> {
        match self {
            Self::Durable(position) => Ok(position),
            Self::Queued(durable) => durable.await.map(|appended| appended.position),
        }
    }

    /// Looks, without waiting, whether the last append has ended, and how.
    pub fn look(&self) -> Look {
        match self {
            Self::Durable(_) => Look::Durable,
            // The request that waited for it may be gone, so that nobody has looked: clones look for all.
            Self::Queued(durable) => match durable.clone().now_or_never() {
                None => Look::Queued,
                Some(Ok(_)) => Look::Durable,
                Some(Err(_)) => Look::Lost,
            },
        }
    }
}

/// How the last append of a stream is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Durable,
    Queued,
    Lost,
}

/// What is known of a stream's newest snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// The version of the last event in it.
    pub version: Option<u64>,
    /// How large it is; known once it is written.
    pub bytes: Arc<AtomicUsize>,
}

/// A state with all that is queued for it, and what is known of how it came to be.
#[derive(Debug, Clone)]
pub(crate) struct Folded<A> {
    /// The state. Shared with readers and the snapshot; a change copies it only while one of them still looks at it.
    pub state: Arc<A>,
    /// The version of the last event; `None`: no events.
    pub version: Option<u64>,
    /// The last event's id.
    pub last_id: Option<Uuid>,
    /// The latest time of its events.
    pub last_at: Option<Timestamp>,
    /// What it stands on.
    pub beneath: Beneath,
    /// The epoch in which it was read or last appended to.
    pub epoch: Epoch,
    /// What clients have sent.
    pub window: Window,
    /// What is known of the stream's newest snapshot.
    pub snapshot: Kept,
    /// Whether the log was asked. If not, nothing but an append that expects no stream may be built on it.
    pub read: bool,
    /// A moment at which this was all there was. Only kept of a log that others write, too.
    pub seen_at: Option<Instant>,
}

impl<A: Aggregate> Folded<A> {
    /// A stream without events.
    pub fn empty(epoch: Epoch, read: bool) -> Self {
        Self {
            state: Arc::default(),
            version: None,
            last_id: None,
            last_at: None,
            beneath: Beneath::Durable(Position::START),
            epoch,
            window: Window::default(),
            snapshot: Kept::default(),
            read,
            seen_at: None,
        }
    }

    /// Up to when what is older than a day may be forgotten: the earlier of the clock and the stream's latest event. So an
    /// event of a clock that was ahead forgets nothing when the clock is right again, nor does a clock that is ahead
    /// before an event says the same.
    fn passed(&self, now: Timestamp) -> Option<Timestamp> {
        self.last_at.map(|last| last.min(now))
    }

    /// Forgets the requests of clients that are too old.
    pub fn forget_requests(&mut self, now: Timestamp) {
        if let Some(passed) = self.passed(now) {
            self.window.forget(passed);
        }
    }

    /// Forgets what is too old, before an event is folded.
    pub fn forget(&mut self, now: Timestamp) {
        self.forget_requests(now);
        if let Some(passed) = self.passed(now) {
            Arc::make_mut(&mut self.state).forget(passed);
        }
    }

    /// About how many bytes it holds in memory.
    fn bytes(&self) -> usize {
        STREAM_BYTES + self.state.growing_bytes() + self.window.bytes()
    }

    /// Whether others may have written between the moment at which this was all there was and `asked_at`: a request of that
    /// time must not be answered from it. `None`: nobody else writes.
    pub fn may_be_old(&self, asked_at: Option<Instant>) -> bool {
        asked_at.is_some_and(|asked_at| self.seen_at.is_none_or(|seen_at| seen_at < asked_at))
    }

    /// Whether it may be decided on. A state folded from events that were lost, or that may be, may not.
    pub fn stands(&self, epoch: Epoch) -> bool {
        match self.beneath.look() {
            Look::Durable => true,
            Look::Queued => self.epoch == epoch,
            Look::Lost => false,
        }
    }
}

/// A stream's place in the cache. Who holds the lock decides; the lock is fair, so commands are decided in the order in
/// which they came.
#[derive(Debug)]
pub(crate) struct Slot<A> {
    waiting: AtomicUsize,
    // Held across the append's first moment, an await: an async mutex. Empty: to be read from the log. Who decides takes
    // the state out and puts it back when it is whole again; dropped half-way, it leaves the slot empty.
    folded: tokio::sync::Mutex<Option<Folded<A>>>,
    /// About how many bytes it held when it was last in use; part of `all_bytes`.
    bytes: AtomicUsize,
    all_bytes: Arc<AtomicUsize>,
}

impl<A> Drop for Slot<A> {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// A turn to decide. When it ends, what the state holds is estimated anew.
#[derive(Debug)]
pub(crate) struct Turn<'s, A: Aggregate> {
    slot: &'s Slot<A>,
    folded: tokio::sync::MutexGuard<'s, Option<Folded<A>>>,
}

impl<A: Aggregate> Deref for Turn<'_, A> {
    type Target = Option<Folded<A>>;

    fn deref(&self) -> &Self::Target {
        &self.folded
    }
}

impl<A: Aggregate> DerefMut for Turn<'_, A> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.folded
    }
}

impl<A: Aggregate> Drop for Turn<'_, A> {
    fn drop(&mut self) {
        let now = self.folded.as_ref().map_or(STREAM_BYTES, Folded::bytes);
        self.slot.all_bytes.fetch_add(now, Ordering::Relaxed);
        let before = self.slot.bytes.swap(now, Ordering::Relaxed);
        self.slot.all_bytes.fetch_sub(before, Ordering::Relaxed);
    }
}

/// Counts a command as waiting for as long as it lives.
struct Waiting<'s>(&'s AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<A: Aggregate> Slot<A> {
    /// Waits until those before are decided.
    ///
    /// # Errors
    /// [`SendError::Busy`] if too many wait.
    pub async fn turn(&self) -> Result<Turn<'_, A>, SendError> {
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(SendError::Busy { detail: "too many commands wait for this stream" });
        }
        let folded = self.folded.lock().await;
        drop(waiting);
        Ok(Turn { slot: self, folded })
    }

    fn can_leave(&self) -> bool {
        // Only called when nobody else holds the slot, so the lock is free.
        self.folded
            .try_lock()
            .is_ok_and(|mut folded| folded.as_mut().is_none_or(|folded| folded.beneath.look() != Look::Queued))
    }
}

/// The slots of one kind of aggregate.
#[derive(Debug)]
pub(crate) struct Cache<A> {
    // Held for one look-up and a bounded eviction, never across an await.
    slots: Mutex<LruCache<StreamName, Arc<Slot<A>>>>,
    max: usize,
    bytes_max: usize,
    /// About how many bytes all slots hold.
    bytes: Arc<AtomicUsize>,
}

impl<A: Aggregate> Cache<A> {
    pub fn new() -> Self {
        Self::with_bounds(STREAMS_MAX, BYTES_MAX)
    }

    /// With room for `max` streams that are not in use, and for so many bytes.
    pub fn with_bounds(max: usize, bytes_max: usize) -> Self {
        Self { slots: Mutex::new(LruCache::unbounded()), max, bytes_max, bytes: Arc::default() }
    }

    /// The stream's slot, new where there is none.
    ///
    /// # Errors
    /// [`SendError::Busy`] if so many streams are in use that there is no room.
    pub fn slot(&self, stream: &StreamName) -> Result<Arc<Slot<A>>, SendError> {
        let mut slots = self.slots.lock();
        let known = slots.get(stream).cloned();
        // Dropped after the lock is let go: a large state takes its time.
        let evicted = self.evict(&mut slots, usize::from(known.is_none()));
        let slot = match known {
            Some(slot) => slot,
            None if slots.len() >= STREAMS_IN_USE_MAX.max(self.max) => {
                return Err(SendError::Busy { detail: "too many streams are written to at once" });
            }
            None => {
                let slot = Arc::new(self.empty());
                slots.put(stream.clone(), slot.clone());
                slot
            }
        };
        drop(slots);
        drop(evicted);
        Ok(slot)
    }

    fn empty(&self) -> Slot<A> {
        self.bytes.fetch_add(STREAM_BYTES, Ordering::Relaxed);
        Slot {
            waiting: AtomicUsize::new(0),
            folded: tokio::sync::Mutex::new(None),
            bytes: AtomicUsize::new(STREAM_BYTES),
            all_bytes: Arc::clone(&self.bytes),
        }
    }

    /// Takes the oldest out until there is room for so many new ones, and what is left fits.
    fn evict(&self, slots: &mut LruCache<StreamName, Arc<Slot<A>>>, new: usize) -> Vec<Arc<Slot<A>>> {
        let (mut evicted, mut freed) = (Vec::new(), 0);
        for _ in 0..EVICTION_TRIES {
            let held = self.bytes.load(Ordering::Relaxed).saturating_sub(freed);
            if slots.len() + new <= self.max && held <= self.bytes_max {
                break;
            }
            let Some((name, slot)) = slots.pop_lru() else { break };
            // Slots are handed out under the lock that the caller holds: a count of 1 stays 1.
            if Arc::strong_count(&slot) == 1 && slot.can_leave() {
                freed += slot.bytes.load(Ordering::Relaxed);
                evicted.push(slot);
            } else {
                slots.put(name, slot); // In use: as good as just used.
            }
        }
        evicted
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.lock().len()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::oneshot;

    use super::*;
    use crate::idempotency::Remembered;
    use crate::older::Older;
    use crate::test_aggregate::Counter;

    fn name(number: usize) -> StreamName {
        format!("counter-{number}").parse().unwrap()
    }

    /// A state whose last append is durable when the sender says so.
    fn queued() -> (Folded<Counter>, oneshot::Sender<Appended>) {
        let (sender, receiver) = oneshot::channel();
        let durable = async move { receiver.await.map_err(|_| AppendError::Overloaded) };
        let mut folded = Folded::empty(Epoch(0), true);
        folded.beneath = Beneath::Queued(durable.boxed().shared());
        (folded, sender)
    }

    #[tokio::test]
    async fn the_oldest_state_leaves_but_never_one_with_events_that_are_not_durable() {
        let cache: Cache<Counter> = Cache::with_bounds(2, BYTES_MAX);
        let (folded, durable) = queued();
        *cache.slot(&name(0)).unwrap().turn().await.unwrap() = Some(folded);
        for number in 1..10 {
            *cache.slot(&name(number)).unwrap().turn().await.unwrap() = Some(Folded::empty(Epoch(0), true));
        }
        assert_eq!(cache.len(), 2);
        assert!(cache.slot(&name(0)).unwrap().turn().await.unwrap().is_some(), "it is still there");
        durable.send(Appended { version: 0, position: Position(1) }).unwrap();
        for number in 10..13 {
            cache.slot(&name(number)).unwrap();
        }
        assert!(cache.slot(&name(0)).unwrap().turn().await.unwrap().is_none(), "it could leave, and did");
    }

    /// A stream with the keys of so many clients' commands.
    fn with_keys(count: u64) -> Folded<Counter> {
        let at = Timestamp::from_timestamp(1_767_614_400, 0).unwrap();
        let command = |version: u64| Remembered {
            command_id: Uuid::from_u128(version.into()),
            hash: "0".repeat(64),
            version,
            position: Some(Position(version)),
            at,
        };
        let window = Window::of((0..count).map(command).collect(), Older::default(), Position(count));
        Folded { window, ..Folded::empty(Epoch(0), true) }
    }

    #[tokio::test]
    async fn what_the_states_hold_is_bounded_in_bytes_and_one_in_use_stays() {
        const MAX: usize = 1 << 20;
        let cache: Cache<Counter> = Cache::with_bounds(STREAMS_MAX, MAX);
        let used = cache.slot(&name(0)).unwrap();
        *used.turn().await.unwrap() = Some(with_keys(1_000));
        let one = cache.bytes();
        assert!((100_000..MAX / 3).contains(&one), "{one}");
        for number in 1..50 {
            *cache.slot(&name(number)).unwrap().turn().await.unwrap() = Some(with_keys(1_000));
            assert!(cache.bytes() <= MAX + one, "{}", cache.bytes());
        }
        assert!(cache.len() < 10, "{}", cache.len());
        assert!(cache.slot(&name(0)).unwrap().turn().await.unwrap().is_some(), "it is in use, so it stayed");
        assert!(cache.slot(&name(1)).unwrap().turn().await.unwrap().is_none(), "it left, and is read again");
        // Streams that are known grow, too: no new one is needed for others to leave.
        *used.turn().await.unwrap() = Some(with_keys(5_000));
        drop(cache.slot(&name(0)).unwrap());
        assert!(cache.len() <= 2, "{}", cache.len());
        drop(used);
        assert!(cache.slot(&name(99)).is_ok());
        cache.slots.lock().clear();
        assert_eq!(cache.bytes(), 0, "what left is not counted");
    }

    #[tokio::test]
    async fn a_stream_has_one_slot_for_as_long_as_somebody_uses_it() {
        let cache: Cache<Counter> = Cache::with_bounds(1, BYTES_MAX);
        let first = cache.slot(&name(0)).unwrap();
        for number in 1..10 {
            cache.slot(&name(number)).unwrap();
        }
        assert!(Arc::ptr_eq(&first, &cache.slot(&name(0)).unwrap()));
    }

    #[tokio::test]
    async fn commands_beyond_the_bound_of_a_stream_are_told_to_come_back() {
        let cache: Cache<Counter> = Cache::new();
        let slot = cache.slot(&name(0)).unwrap();
        let turn = slot.turn().await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(slot.turn())).collect();
        for turn in &mut waiting {
            assert!(futures_util::poll!(turn).is_pending());
        }
        assert!(matches!(slot.turn().await, Err(SendError::Busy { .. })));
        drop(turn);
        let turns = join_all(waiting.into_iter().map(|turn| async { turn.await.map(drop) })).await;
        assert!(turns.into_iter().all(|turn| turn.is_ok()));
        assert!(slot.turn().await.is_ok());
    }
}
