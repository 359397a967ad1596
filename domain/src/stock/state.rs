//! The state of a stock item, and how events change it.
//!
//! A hot item has tens of thousands of reservations: sums are kept, not counted, and due reservations are found in the
//! order of their expiry. Indexes are rebuilt when a snapshot is read, so that a snapshot contains each fact once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{Command, Event, Rejection, decide};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::{OrderId, ReservationId, StockId};

/// The least time for which the end of a reservation is remembered, by the earlier of the clock and the stream's latest
/// event (`Aggregate::forget`). A machine's command is refused 15 minutes after it was sent, so no late duplicate meets
/// a forgotten end.
pub const ENDS_REMEMBERED: TimeDelta = TimeDelta::hours(24);

/// Approximate bytes of memory of a reservation, a committed one and an ended one, in all collections that name them.
const RESERVED_BYTES: usize = 160;
const COMMITTED_BYTES: usize = 80;
const ENDED_BYTES: usize = 96;

/// A reservation with a time limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reserved {
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// Number of pieces reserved.
    pub quantity: i64,
    /// When the reservation expires, unless it is renewed or committed.
    pub expires_at: Timestamp,
}

/// A committed reservation: it lasts until its pieces are shipped or released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// Number of pieces reserved.
    pub quantity: i64,
}

/// The way in which a reservation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// The pieces are available again, or the reservation was released before it arrived.
    Released,
    /// The time of the reservation passed.
    Expired,
    /// The pieces left the warehouse.
    Shipped,
}

/// The end of a reservation, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Id of the reservation that ended.
    pub reservation_id: ReservationId,
    /// How the reservation ended.
    pub kind: EndKind,
    /// When the reservation ended.
    pub at: Timestamp,
}

/// The state of a stock item, one SKU at one location, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Snapshot")]
pub struct StockItem {
    /// The SKU and the location; `None` before the first receipt.
    pub item: Option<StockId>,
    /// Number of pieces in the warehouse, the reserved ones included.
    pub on_hand: i64,
    /// Number of pieces that ever left the warehouse.
    pub shipped: i64,
    /// Number of shipped pieces that ever came back.
    pub restocked: i64,
    /// Reservations with a time limit.
    pub reserved: BTreeMap<ReservationId, Reserved>,
    /// Committed reservations, which have no time limit.
    pub committed: BTreeMap<ReservationId, Committed>,
    /// Ends of the last [`ENDS_REMEMBERED`] at least, in the order of their events.
    pub ended: VecDeque<Ended>,
    #[serde(skip_serializing)]
    reserved_pieces: i64,
    #[serde(skip_serializing)]
    committed_pieces: i64,
    #[serde(skip_serializing)]
    by_expiry: BTreeSet<(Timestamp, ReservationId)>,
    #[serde(skip_serializing)]
    end_of: BTreeMap<ReservationId, EndKind>,
}

/// What a snapshot holds: the state without what follows from it.
#[derive(Deserialize)]
struct Snapshot {
    item: Option<StockId>,
    on_hand: i64,
    shipped: i64,
    restocked: i64,
    reserved: BTreeMap<ReservationId, Reserved>,
    committed: BTreeMap<ReservationId, Committed>,
    ended: VecDeque<Ended>,
}

impl From<Snapshot> for StockItem {
    fn from(stored: Snapshot) -> Self {
        Self {
            reserved_pieces: stored.reserved.values().map(|hold| hold.quantity).sum(),
            committed_pieces: stored.committed.values().map(|hold| hold.quantity).sum(),
            by_expiry: stored.reserved.iter().map(|(id, hold)| (hold.expires_at, *id)).collect(),
            end_of: stored.ended.iter().map(|end| (end.reservation_id, end.kind)).collect(),
            item: stored.item,
            on_hand: stored.on_hand,
            shipped: stored.shipped,
            restocked: stored.restocked,
            reserved: stored.reserved,
            committed: stored.committed,
            ended: stored.ended,
        }
    }
}

impl StockItem {
    /// Number of pieces that can be reserved: on hand, neither reserved nor committed.
    pub fn available(&self) -> i64 {
        self.on_hand - self.reserved_pieces - self.committed_pieces
    }

    /// Number of pieces in reservations with a time limit.
    pub fn reserved_pieces(&self) -> i64 {
        self.reserved_pieces
    }

    /// Number of pieces in committed reservations.
    pub fn committed_pieces(&self) -> i64 {
        self.committed_pieces
    }

    /// How a reservation ended, if it is remembered.
    pub fn end_of(&self, reservation_id: &ReservationId) -> Option<EndKind> {
        self.end_of.get(reservation_id).copied()
    }

    /// The reservations whose time has passed at `now`, the longest overdue first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = (ReservationId, &Reserved)> {
        let due = self.by_expiry.iter().take_while(move |(expires_at, _)| *expires_at <= now);
        due.filter_map(|(_, id)| self.reserved.get(id).map(|hold| (*id, hold)))
    }

    fn reserve(&mut self, id: ReservationId, hold: Reserved) {
        self.reserved_pieces += hold.quantity;
        self.by_expiry.insert((hold.expires_at, id));
        self.reserved.insert(id, hold);
    }

    fn take_reserved(&mut self, id: &ReservationId) -> Option<Reserved> {
        let hold = self.reserved.remove(id)?;
        self.reserved_pieces -= hold.quantity;
        self.by_expiry.remove(&(hold.expires_at, *id));
        Some(hold)
    }

    fn take_committed(&mut self, id: &ReservationId) {
        if let Some(hold) = self.committed.remove(id) {
            self.committed_pieces -= hold.quantity;
        }
    }

    /// Remembers an end.
    fn end(&mut self, reservation_id: ReservationId, kind: EndKind, at: Timestamp) {
        self.take_reserved(&reservation_id);
        self.take_committed(&reservation_id);
        self.ended.push_back(Ended { reservation_id, kind, at });
        self.end_of.insert(reservation_id, kind);
    }
}

impl Aggregate for StockItem {
    const CATEGORY: &'static str = "stock";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Rejection> {
        decide::decide(self, command, now)
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::StockReceived(e) => {
                self.item = Some(e.item.clone());
                self.on_hand += e.quantity.get();
            }
            Event::StockAdjusted(e) => self.on_hand += e.delta,
            Event::StockReserved(e) => self.reserve(
                e.reservation_id,
                Reserved { order_id: e.order_id, quantity: e.quantity.get(), expires_at: e.expires_at },
            ),
            Event::ReservationRenewed(e) => {
                if let Some(hold) = self.take_reserved(&e.reservation_id) {
                    self.reserve(e.reservation_id, Reserved { expires_at: e.expires_at, ..hold });
                }
            }
            Event::ReservationCommitted(e) => {
                if let Some(Reserved { order_id, quantity, .. }) = self.take_reserved(&e.reservation_id) {
                    self.committed_pieces += quantity;
                    self.committed.insert(e.reservation_id, Committed { order_id, quantity });
                }
            }
            Event::ReservationReleased(e) => self.end(e.reservation_id, EndKind::Released, e.at),
            Event::ReservationExpired(e) => self.end(e.reservation_id, EndKind::Expired, e.at),
            Event::StockShipped(e) => {
                self.on_hand -= e.quantity;
                self.shipped += e.quantity;
                self.end(e.reservation_id, EndKind::Shipped, e.at);
            }
            Event::StockRestocked(e) => {
                self.on_hand += e.quantity.get();
                self.restocked += e.quantity.get();
            }
        }
    }

    /// Forgets the ends that are too old. Each end enters and leaves once: amortized O(log n).
    fn forget(&mut self, passed: Timestamp) {
        while let Some(oldest) = self.ended.front().filter(|end| end.at + ENDS_REMEMBERED < passed) {
            self.end_of.remove(&oldest.reservation_id);
            self.ended.pop_front();
        }
    }

    fn growing_bytes(&self) -> usize {
        self.reserved.len() * RESERVED_BYTES + self.committed.len() * COMMITTED_BYTES + self.ended.len() * ENDED_BYTES
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}
