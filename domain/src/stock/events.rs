//! What has happened to a stock item. Stored for ever: a field is only ever added, as optional, or a new version is made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Timestamp;
use crate::ids::{OrderId, ReservationId, StockId};
use crate::quantity::Quantity;

events! {
    /// What has happened to a stock item. Each variant holds the payload struct of the same name.
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

/// Goods came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReceived {
    /// The stock item: a SKU at a location.
    pub item: StockId,
    /// How many pieces.
    pub quantity: Quantity,
}

/// A count corrected what is on hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockAdjusted {
    /// The stock item: a SKU at a location.
    pub item: StockId,
    /// Pieces added, or taken away where negative.
    pub delta: i64,
    /// The reason for the adjustment, as people read it.
    pub reason: String,
}

/// Pieces are held for an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    /// The hold.
    pub reservation_id: ReservationId,
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// How many pieces.
    pub quantity: Quantity,
    /// Until when, unless renewed or committed.
    pub expires_at: Timestamp,
}

/// They are held for longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationRenewed {
    /// The hold.
    pub reservation_id: ReservationId,
    /// When the reservation ends.
    pub expires_at: Timestamp,
}

/// They are held until shipped or released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationCommitted {
    /// The hold.
    pub reservation_id: ReservationId,
}

/// The hold ended and its pieces are free again; a mark where it had not come yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationReleased {
    /// The hold.
    pub reservation_id: ReservationId,
    /// For whom it was held.
    pub order_id: OrderId,
    /// How many pieces it held, 0 for a mark.
    pub quantity: i64,
    /// Whether it had been committed.
    pub committed: bool,
    /// The reason for the release, as people read it.
    pub reason: String,
    /// When it ended.
    pub at: Timestamp,
}

/// The hold's time passed and its pieces are free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationExpired {
    /// The hold.
    pub reservation_id: ReservationId,
    /// For whom it was held.
    pub order_id: OrderId,
    /// How many pieces it held.
    pub quantity: i64,
    /// When it ended.
    pub at: Timestamp,
}

/// The hold ended because its pieces left the house.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockShipped {
    /// The hold.
    pub reservation_id: ReservationId,
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// How many pieces.
    pub quantity: i64,
    /// When the pieces left.
    pub at: Timestamp,
}

/// Shipped pieces came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockRestocked {
    /// The order they were shipped for.
    pub order_id: OrderId,
    /// How many pieces.
    pub quantity: Quantity,
    /// When the pieces came back.
    pub at: Timestamp,
}
