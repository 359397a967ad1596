//! What has happened to a stock item. Stored for ever: a field is only ever added, as optional, or a new version is made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Timestamp;
use crate::aggregate::{DecodeError, EncodedEvent, encoded};
use crate::ids::{OrderId, ReservationId, StockId};
use crate::quantity::Quantity;
use crate::upcast::decoded;

/// An event. Each variant bears the name of its payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Goods came in.
    StockReceived(StockReceived),
    /// A count corrected what is on hand.
    StockAdjusted(StockAdjusted),
    /// Pieces are held for an order.
    StockReserved(StockReserved),
    /// They are held for longer.
    ReservationRenewed(ReservationRenewed),
    /// They are held until shipped or released.
    ReservationCommitted(ReservationCommitted),
    /// The hold ended and its pieces are free again; a mark where it had not come yet.
    ReservationReleased(ReservationReleased),
    /// The hold's time passed and its pieces are free again.
    ReservationExpired(ReservationExpired),
    /// The hold ended because its pieces left the house.
    StockShipped(StockShipped),
    /// Shipped pieces came back.
    StockRestocked(StockRestocked),
}

impl Event {
    /// The names of all events here, with the newest schema version of each.
    pub const TYPES: &'static [(&'static str, u16)] = &[
        ("StockReceived", 1),
        ("StockAdjusted", 1),
        ("StockReserved", 1),
        ("ReservationRenewed", 1),
        ("ReservationCommitted", 1),
        ("ReservationReleased", 1),
        ("ReservationExpired", 1),
        ("StockShipped", 1),
        ("StockRestocked", 1),
    ];

    /// Writes an event for the log.
    pub fn encode(&self) -> EncodedEvent {
        match self {
            Self::StockReceived(e) => encoded("StockReceived", 1, e),
            Self::StockAdjusted(e) => encoded("StockAdjusted", 1, e),
            Self::StockReserved(e) => encoded("StockReserved", 1, e),
            Self::ReservationRenewed(e) => encoded("ReservationRenewed", 1, e),
            Self::ReservationCommitted(e) => encoded("ReservationCommitted", 1, e),
            Self::ReservationReleased(e) => encoded("ReservationReleased", 1, e),
            Self::ReservationExpired(e) => encoded("ReservationExpired", 1, e),
            Self::StockShipped(e) => encoded("StockShipped", 1, e),
            Self::StockRestocked(e) => encoded("StockRestocked", 1, e),
        }
    }

    /// Reads an event of the log.
    ///
    /// # Errors
    /// [`DecodeError`]: an unknown type, a newer schema version, or data that does not fit.
    pub fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self, DecodeError> {
        Ok(match event_type {
            "StockReceived" => Self::StockReceived(decoded(event_type, 1, schema_version, data)?),
            "StockAdjusted" => Self::StockAdjusted(decoded(event_type, 1, schema_version, data)?),
            "StockReserved" => Self::StockReserved(decoded(event_type, 1, schema_version, data)?),
            "ReservationRenewed" => Self::ReservationRenewed(decoded(event_type, 1, schema_version, data)?),
            "ReservationCommitted" => Self::ReservationCommitted(decoded(event_type, 1, schema_version, data)?),
            "ReservationReleased" => Self::ReservationReleased(decoded(event_type, 1, schema_version, data)?),
            "ReservationExpired" => Self::ReservationExpired(decoded(event_type, 1, schema_version, data)?),
            "StockShipped" => Self::StockShipped(decoded(event_type, 1, schema_version, data)?),
            "StockRestocked" => Self::StockRestocked(decoded(event_type, 1, schema_version, data)?),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
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
