//! What may be asked of a stock item.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, ReservationId, StockId};
use crate::quantity::Quantity;

commands! {
    /// What may be asked of a stock item. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        ReceiveStock,
        AdjustStock,
        ReserveStock,
        RenewReservation,
        CommitReservation,
        ReleaseReservation,
        ExpireReservation,
        ShipStock,
        RestockItems,
    }
}

/// Goods came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiveStock {
    /// What, and where: the stream's own name, which its first event freezes.
    pub item: StockId,
    /// How many pieces.
    pub quantity: Quantity,
}

/// A count found more or fewer pieces than were known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdjustStock {
    /// Pieces to add, or to take away where negative; not 0, at most 1 000 000 either way.
    pub delta: i64,
    /// Why, for the audit, 1 to 200 characters.
    pub reason: String,
}

/// Holds pieces for an order until `RESERVATION_TTL` has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveStock {
    /// The hold.
    pub reservation_id: ReservationId,
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// How many pieces, the lines of one item summed.
    pub quantity: Quantity,
}

/// Holds them for another `RESERVATION_TTL`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RenewReservation {
    /// The hold.
    pub reservation_id: ReservationId,
}

/// Makes the hold last until it is shipped or released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommitReservation {
    /// The hold.
    pub reservation_id: ReservationId,
}

/// Gives the pieces back, committed ones too. Accepted before the hold came: it is then refused when it comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseReservation {
    /// The hold.
    pub reservation_id: ReservationId,
    /// For whom it was held.
    pub order_id: OrderId,
    /// The reason for the release, as people read it.
    pub reason: String,
}

/// Ends a hold whose time has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExpireReservation {
    /// The hold.
    pub reservation_id: ReservationId,
}

/// The committed pieces leave the house.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipStock {
    /// The hold.
    pub reservation_id: ReservationId,
}

/// Shipped pieces came back and are sellable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestockItems {
    /// The order they were shipped for.
    pub order_id: OrderId,
    /// How many pieces.
    pub quantity: Quantity,
}
