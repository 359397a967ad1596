//! The events of a stock item. Events are stored for ever: a field is only ever added, as optional, or a new version is
//! made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Timestamp;
use crate::ids::{OrderId, ReservationId, StockId};
use crate::quantity::Quantity;

events! {
    /// An event of a stock item. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        StockReceived,
        StockAdjusted,
        StockReserved,
        ReservationRenewed,
        ReservationCommitted,
        ReservationReleased,
        ReservationExpired,
        StockShipped,
        StockRestocked,
    }
}

/// Goods were received: the pieces were added to those on hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReceived {
    /// The stock item: a SKU at a location.
    pub item: StockId,
    /// Number of pieces received, 1 to 1 000 000.
    pub quantity: Quantity,
}

/// A count corrected the number of pieces on hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockAdjusted {
    /// The stock item: a SKU at a location.
    pub item: StockId,
    /// Number of pieces added, negative where they were taken away.
    pub delta: i64,
    /// The reason for the adjustment, as people read it.
    pub reason: String,
}

/// Pieces were reserved for an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    /// Id of the reservation that was made.
    pub reservation_id: ReservationId,
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// Number of pieces reserved, 1 to 1 000 000.
    pub quantity: Quantity,
    /// When the reservation expires, unless it is renewed or committed.
    pub expires_at: Timestamp,
}

/// A reservation was renewed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationRenewed {
    /// Id of the reservation that was renewed.
    pub reservation_id: ReservationId,
    /// When the reservation expires now.
    pub expires_at: Timestamp,
}

/// A reservation was committed: it lasts until its pieces are shipped or released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationCommitted {
    /// Id of the reservation that was committed.
    pub reservation_id: ReservationId,
}

/// A reservation was released and its pieces are available again. With a quantity of 0 the event is a mark: the release
/// came before the reservation, which is refused from then on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationReleased {
    /// Id of the reservation that was released.
    pub reservation_id: ReservationId,
    /// The order that the pieces were reserved for.
    pub order_id: OrderId,
    /// Number of pieces that the reservation held, 0 for a mark.
    pub quantity: i64,
    /// Whether the reservation had been committed.
    pub committed: bool,
    /// The reason for the release, as people read it.
    pub reason: String,
    /// When the reservation was released.
    pub at: Timestamp,
}

/// A reservation expired and its pieces are available again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationExpired {
    /// Id of the reservation that expired.
    pub reservation_id: ReservationId,
    /// The order that the pieces were reserved for.
    pub order_id: OrderId,
    /// Number of pieces that the reservation held.
    pub quantity: i64,
    /// When the end of the reservation was recorded, which may be later than its expiry.
    pub at: Timestamp,
}

/// The pieces of a committed reservation have left the warehouse; the reservation has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockShipped {
    /// Id of the reservation whose pieces left.
    pub reservation_id: ReservationId,
    /// The order that the pieces were reserved for.
    pub order_id: OrderId,
    /// Number of pieces that left.
    pub quantity: i64,
    /// When the pieces left.
    pub at: Timestamp,
}

/// Shipped pieces came back and can be sold again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockRestocked {
    /// The order that the pieces were shipped for.
    pub order_id: OrderId,
    /// Number of pieces that came back, 1 to 1 000 000.
    pub quantity: Quantity,
    /// When the pieces came back.
    pub at: Timestamp,
}
