//! The rules of a stock item.

use chrono::TimeDelta;

use super::{
    AdjustStock, Command, CommitReservation, EndKind, Event, ExpireReservation, ReceiveStock, Rejection,
    ReleaseReservation, RenewReservation, ReservationCommitted, ReservationExpired, ReservationReleased,
    ReservationRenewed, ReserveStock, Reserved, RestockItems, ShipStock, StockAdjusted, StockItem, StockReceived,
    StockReserved, StockRestocked, StockShipped,
};
use crate::aggregate::Timestamp;
use crate::ids::ReservationId;
use crate::quantity::Quantity;

/// The time for which a reservation holds its pieces: the time that a customer gets to confirm a payment. The
/// fulfilment saga renews it at half of that while the risk check and the payment are open.
pub const RESERVATION_TTL: TimeDelta = TimeDelta::minutes(15);

/// The most pieces of an item in the warehouse, so that sums stay far from the end of `i64`.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// The most pieces one adjustment may add or take away, as for a [`Quantity`].
pub const MAX_DELTA: i64 = Quantity::MAX;

/// The longest reason of an adjustment, in characters.
pub const MAX_REASON_CHARS: usize = 200;

/// The most overdue reservations that one ReserveStock ends: their events share its append, whose size is bounded. If
/// more of them hold the pieces, the command is refused, and their own sagas end them.
pub const MAX_EXPIRED_PER_APPEND: usize = 256;

type Decision = Result<Vec<Event>, Rejection>;

pub(super) fn decide(stock: &StockItem, command: &Command, now: Timestamp) -> Decision {
    match command {
        Command::ReceiveStock(c) => receive(stock, c),
        Command::AdjustStock(c) => adjust(stock, c),
        Command::ReserveStock(c) => reserve(stock, c, now),
        Command::RenewReservation(c) => renew(stock, c, now),
        Command::CommitReservation(c) => commit(stock, c),
        Command::ReleaseReservation(c) => release(stock, c, now),
        Command::ExpireReservation(c) => expire(stock, c, now),
        Command::ShipStock(c) => ship(stock, c, now),
        Command::RestockItems(c) => restock(stock, c, now),
    }
}

/// Rule: goods may always be received, up to [`MAX_ON_HAND`]. Two receipts count twice; repeats are recognized by the
/// command's id.
fn receive(stock: &StockItem, c: &ReceiveStock) -> Decision {
    if stock.item.is_none() && !c.item.sku.fits_in_a_path() {
        return Err(Rejection::ReservedSku(c.item.sku.clone()));
    }
    check_room(stock, c.quantity.get())?;
    Ok(vec![Event::StockReceived(StockReceived { item: c.item.clone(), quantity: c.quantity })])
}

/// Rule: an adjustment may correct the pieces on hand, but not below the reserved and committed ones.
fn adjust(stock: &StockItem, c: &AdjustStock) -> Decision {
    let Some(item) = stock.item.clone() else {
        return Err(Rejection::NotFound);
    };
    if c.delta == 0 || !(-MAX_DELTA..=MAX_DELTA).contains(&c.delta) {
        return Err(Rejection::InvalidDelta(c.delta));
    }
    let chars = c.reason.chars().count();
    if chars > MAX_REASON_CHARS || c.reason.trim().is_empty() {
        return Err(Rejection::ReasonLength(chars));
    }
    check_room(stock, c.delta)?;
    // The available pieces are never more than those on hand, so this keeps both from going below 0.
    if stock.available() + c.delta < 0 && c.delta < 0 {
        let (reserved, committed) = (stock.reserved_pieces(), stock.committed_pieces());
        return Err(Rejection::AdjustmentTooLow { on_hand: stock.on_hand, reserved, committed, delta: c.delta });
    }
    Ok(vec![Event::StockAdjusted(StockAdjusted { item, delta: c.delta, reason: c.reason.clone() })])
}

/// Rule: a reservation takes no more than is available, and is refused once it is committed or has ended, even if its
/// end came first. The pieces of an overdue reservation become available only when it ends in the same append.
fn reserve(stock: &StockItem, c: &ReserveStock, now: Timestamp) -> Decision {
    let id = c.reservation_id;
    if stock.end_of(&id).is_some() || stock.committed.contains_key(&id) {
        return Err(Rejection::ReservationEnded(id));
    }
    if let Some(hold) = stock.reserved.get(&id) {
        // A repeat of the same command changes nothing.
        let same = hold.order_id == c.order_id && hold.quantity == c.quantity.get();
        return if same { Ok(vec![]) } else { Err(Rejection::ReservationDiffers(id)) };
    }
    let (asked, mut available) = (c.quantity.get(), stock.available());
    let mut events = Vec::new();
    for (reservation_id, hold) in stock.due(now).take(MAX_EXPIRED_PER_APPEND) {
        if asked <= available {
            break;
        }
        available += hold.quantity;
        events.push(expired(reservation_id, hold, now));
    }
    if asked > available {
        return Err(Rejection::OutOfStock { asked, available });
    }
    let expires_at = now + RESERVATION_TTL;
    let (reservation_id, order_id, quantity) = (id, c.order_id, c.quantity);
    events.push(Event::StockReserved(StockReserved { reservation_id, order_id, quantity, expires_at }));
    Ok(events)
}

/// Rule: a reservation can be renewed for longer, never for shorter; also an overdue one that has not ended.
fn renew(stock: &StockItem, c: &RenewReservation, now: Timestamp) -> Decision {
    let id = c.reservation_id;
    if let Some(hold) = stock.reserved.get(&id) {
        let expires_at = now + RESERVATION_TTL;
        if expires_at <= hold.expires_at {
            return Ok(vec![]);
        }
        return Ok(vec![Event::ReservationRenewed(ReservationRenewed { reservation_id: id, expires_at })]);
    }
    if stock.committed.contains_key(&id) {
        return Ok(vec![]); // A committed reservation has no time limit, which is more than was asked.
    }
    Err(not_open(stock, id))
}

/// Rule: a reservation can be committed, also an overdue one that has not ended.
fn commit(stock: &StockItem, c: &CommitReservation) -> Decision {
    let id = c.reservation_id;
    if stock.reserved.contains_key(&id) {
        return Ok(vec![Event::ReservationCommitted(ReservationCommitted { reservation_id: id })]);
    }
    if stock.committed.contains_key(&id) || stock.end_of(&id) == Some(EndKind::Shipped) {
        return Ok(vec![]);
    }
    Err(not_open(stock, id))
}

/// Rule: a reservation can be released at any time before its pieces leave. One that never arrived is marked as ended,
/// so that it is refused when it arrives.
fn release(stock: &StockItem, c: &ReleaseReservation, now: Timestamp) -> Decision {
    let id = c.reservation_id;
    let released = |order_id, quantity, committed| {
        let reason = c.reason.clone();
        let end = ReservationReleased { reservation_id: id, order_id, quantity, committed, reason, at: now };
        Ok(vec![Event::ReservationReleased(end)])
    };
    if let Some(hold) = stock.reserved.get(&id) {
        return released(hold.order_id, hold.quantity, false);
    }
    if let Some(hold) = stock.committed.get(&id) {
        return released(hold.order_id, hold.quantity, true);
    }
    match stock.end_of(&id) {
        Some(EndKind::Released | EndKind::Expired) => Ok(vec![]),
        Some(EndKind::Shipped) => Err(Rejection::ReservationShipped(id)),
        None => released(c.order_id, 0, false),
    }
}

/// Rule: a reservation expires only when its time has passed; a committed one never expires.
fn expire(stock: &StockItem, c: &ExpireReservation, now: Timestamp) -> Decision {
    let id = c.reservation_id;
    if let Some(hold) = stock.reserved.get(&id) {
        if hold.expires_at > now {
            return Err(Rejection::ReservationNotDue { reservation_id: id, expires_at: hold.expires_at });
        }
        return Ok(vec![expired(id, hold, now)]);
    }
    if stock.committed.contains_key(&id) {
        return Err(Rejection::ReservationCommitted(id));
    }
    if stock.end_of(&id).is_some() { Ok(vec![]) } else { Err(Rejection::ReservationNotFound(id)) }
}

/// Rule: only committed pieces leave the warehouse.
fn ship(stock: &StockItem, c: &ShipStock, now: Timestamp) -> Decision {
    let reservation_id = c.reservation_id;
    if let Some(hold) = stock.committed.get(&reservation_id) {
        let (order_id, quantity) = (hold.order_id, hold.quantity);
        return Ok(vec![Event::StockShipped(StockShipped { reservation_id, order_id, quantity, at: now })]);
    }
    if stock.reserved.contains_key(&reservation_id) {
        return Err(Rejection::ReservationNotCommitted(reservation_id));
    }
    if stock.end_of(&reservation_id) == Some(EndKind::Shipped) {
        return Ok(vec![]);
    }
    Err(not_open(stock, reservation_id))
}

/// Rule: no more pieces come back than left.
fn restock(stock: &StockItem, c: &RestockItems, now: Timestamp) -> Decision {
    let (asked, outstanding) = (c.quantity.get(), stock.shipped - stock.restocked);
    if asked > outstanding {
        return Err(Rejection::RestockExceedsShipped { asked, outstanding });
    }
    check_room(stock, asked)?;
    Ok(vec![Event::StockRestocked(StockRestocked { order_id: c.order_id, quantity: c.quantity, at: now })])
}

fn check_room(stock: &StockItem, added: i64) -> Result<(), Rejection> {
    if stock.on_hand + added > MAX_ON_HAND {
        return Err(Rejection::TooMuchStock { on_hand: stock.on_hand, added });
    }
    Ok(())
}

fn expired(reservation_id: ReservationId, hold: &Reserved, at: Timestamp) -> Event {
    let (order_id, quantity) = (hold.order_id, hold.quantity);
    Event::ReservationExpired(ReservationExpired { reservation_id, order_id, quantity, at })
}

/// The reason why a reservation that is neither reserved nor committed cannot be used.
fn not_open(stock: &StockItem, id: ReservationId) -> Rejection {
    match stock.end_of(&id) {
        Some(_) => Rejection::ReservationEnded(id),
        None => Rejection::ReservationNotFound(id),
    }
}
