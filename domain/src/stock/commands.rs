//! The commands of a stock item.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, ReservationId, StockId};
use crate::quantity::Quantity;

commands! {
    /// A command to a stock item. Each variant holds the payload struct of the same name.
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

/// Receives goods: the pieces are added to those on hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiveStock {
    /// The stock item, a SKU at a location. It is the stream's own id, which the first event freezes.
    pub item: StockId,
    /// Number of pieces received, 1 to 1 000 000.
    pub quantity: Quantity,
}

/// Corrects the number of pieces on hand after a count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdjustStock {
    /// Number of pieces to add, negative to take away; not 0, at most 1 000 000 either way.
    pub delta: i64,
    /// The reason for the audit, 1 to 200 characters.
    pub reason: String,
}

/// Reserves pieces for an order until `RESERVATION_TTL` (15 minutes) has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveStock {
    /// Id of the reservation to make.
    pub reservation_id: ReservationId,
    /// The order that the pieces are reserved for.
    pub order_id: OrderId,
    /// Number of pieces to reserve, summed over the order's lines of this item, 1 to 1 000 000.
    pub quantity: Quantity,
}

/// Renews a reservation for another `RESERVATION_TTL` (15 minutes) from now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RenewReservation {
    /// Id of the reservation to renew.
    pub reservation_id: ReservationId,
}

/// Commits a reservation: it lasts until its pieces are shipped or released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommitReservation {
    /// Id of the reservation to commit.
    pub reservation_id: ReservationId,
}

/// Releases a reservation, also a committed one: its pieces are available again. The command is accepted before the
/// reservation arrives, which is then refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseReservation {
    /// Id of the reservation to release.
    pub reservation_id: ReservationId,
    /// The order that the pieces were reserved for.
    pub order_id: OrderId,
    /// The reason for the release, as people read it.
    pub reason: String,
}

/// Ends a reservation whose time has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExpireReservation {
    /// Id of the reservation to end.
    pub reservation_id: ReservationId,
}

/// Ships the pieces of a committed reservation: they leave the warehouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipStock {
    /// Id of the committed reservation whose pieces leave.
    pub reservation_id: ReservationId,
}

/// Restocks shipped pieces that came back and can be sold again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestockItems {
    /// The order that the pieces were shipped for.
    pub order_id: OrderId,
    /// Number of pieces that came back, 1 to 1 000 000.
    pub quantity: Quantity,
}
