//! What has happened to an order. Stored for ever: a field is only ever added, as optional, or a new version is made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::{HoldReason, OrderLine, RejectReason, RiskAssessment, Totals};
use crate::aggregate::Timestamp;
use crate::aggregate::{DecodeError, EncodedEvent, encoded};
use crate::ids::{CustomerId, OrderId, ShipmentId};
use crate::upcast::decoded;

/// An event. Each variant bears the name of its payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The order was placed; prices, shares and each line's location are frozen here.
    OrderPlaced(OrderPlaced),
    /// The risk check answered.
    OrderRiskAssessed(OrderRiskAssessed),
    /// Stock is committed and money is held.
    OrderConfirmed(OrderConfirmed),
    /// It could not be fulfilled.
    OrderRejected(OrderRejected),
    /// It must not be dispatched until released.
    OrderHeld(OrderHeld),
    /// A hold was released; the order may go on when it has none left.
    OrderHoldReleased(OrderHoldReleased),
    /// The customer does not want it any more.
    OrderCancellationRequested(OrderCancellationRequested),
    /// It ended without goods.
    OrderCancelled(OrderCancelled),
    /// From here on it cannot be cancelled or held.
    OrderDispatchAllowed(OrderDispatchAllowed),
    /// The goods have left.
    OrderShipped(OrderShipped),
    /// The goods have arrived.
    OrderCompleted(OrderCompleted),
}

impl Event {
    /// The names of all events here, with the newest schema version of each.
    pub const TYPES: &'static [(&'static str, u16)] = &[
        ("OrderPlaced", 1),
        ("OrderRiskAssessed", 1),
        ("OrderConfirmed", 1),
        ("OrderRejected", 1),
        ("OrderHeld", 1),
        ("OrderHoldReleased", 1),
        ("OrderCancellationRequested", 1),
        ("OrderCancelled", 1),
        ("OrderDispatchAllowed", 1),
        ("OrderShipped", 1),
        ("OrderCompleted", 1),
    ];

    /// Writes an event for the log.
    pub fn encode(&self) -> EncodedEvent {
        match self {
            Self::OrderPlaced(e) => encoded("OrderPlaced", 1, e),
            Self::OrderRiskAssessed(e) => encoded("OrderRiskAssessed", 1, e),
            Self::OrderConfirmed(e) => encoded("OrderConfirmed", 1, e),
            Self::OrderRejected(e) => encoded("OrderRejected", 1, e),
            Self::OrderHeld(e) => encoded("OrderHeld", 1, e),
            Self::OrderHoldReleased(e) => encoded("OrderHoldReleased", 1, e),
            Self::OrderCancellationRequested(e) => encoded("OrderCancellationRequested", 1, e),
            Self::OrderCancelled(e) => encoded("OrderCancelled", 1, e),
            Self::OrderDispatchAllowed(e) => encoded("OrderDispatchAllowed", 1, e),
            Self::OrderShipped(e) => encoded("OrderShipped", 1, e),
            Self::OrderCompleted(e) => encoded("OrderCompleted", 1, e),
        }
    }

    /// Reads an event of the log.
    ///
    /// # Errors
    /// [`DecodeError`]: an unknown type, a newer schema version, or data that does not fit.
    pub fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self, DecodeError> {
        Ok(match event_type {
            "OrderPlaced" => Self::OrderPlaced(decoded(event_type, 1, schema_version, data)?),
            "OrderRiskAssessed" => Self::OrderRiskAssessed(decoded(event_type, 1, schema_version, data)?),
            "OrderConfirmed" => Self::OrderConfirmed(decoded(event_type, 1, schema_version, data)?),
            "OrderRejected" => Self::OrderRejected(decoded(event_type, 1, schema_version, data)?),
            "OrderHeld" => Self::OrderHeld(decoded(event_type, 1, schema_version, data)?),
            "OrderHoldReleased" => Self::OrderHoldReleased(decoded(event_type, 1, schema_version, data)?),
            "OrderCancellationRequested" => {
                Self::OrderCancellationRequested(decoded(event_type, 1, schema_version, data)?)
            }
            "OrderCancelled" => Self::OrderCancelled(decoded(event_type, 1, schema_version, data)?),
            "OrderDispatchAllowed" => Self::OrderDispatchAllowed(decoded(event_type, 1, schema_version, data)?),
            "OrderShipped" => Self::OrderShipped(decoded(event_type, 1, schema_version, data)?),
            "OrderCompleted" => Self::OrderCompleted(decoded(event_type, 1, schema_version, data)?),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
    }
}

/// The order was placed; prices, shares and each line's location are frozen here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
    /// The order.
    pub order_id: OrderId,
    /// What people read aloud: 12 Crockford characters of the id.
    pub number: String,
    /// Who orders.
    pub customer_id: CustomerId,
    /// What, 1 to 100 lines, prices resolved.
    pub lines: Vec<OrderLine>,
    /// What it costs.
    pub totals: Totals,
    /// The card's token at the provider, 1 to 100 characters.
    pub payment_method: String,
    /// Free labels, at most 20 of 1 to 50 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When the order was placed.
    pub placed_at: Timestamp,
}

/// The risk check answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRiskAssessed {
    /// The answer.
    pub assessment: RiskAssessment,
    /// A rule set or a person.
    pub assessed_by: String,
}

/// Stock is committed and money is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {}

/// It could not be fulfilled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRejected {
    /// The reason for the rejection.
    pub reason: RejectReason,
}

/// It must not be dispatched until released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderHeld {
    /// The reason for the hold.
    pub reason: HoldReason,
}

/// A hold was released; the order may go on when it has none left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderHoldReleased {
    /// The hold that was released; none: all of them, as events up to 0.2.0 mean it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<HoldReason>,
}

/// The customer does not want it any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancellationRequested {
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}

/// It ended without goods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}

/// From here on it cannot be cancelled or held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderDispatchAllowed {}

/// The goods have left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderShipped {
    /// With which shipment.
    pub shipment_id: ShipmentId,
}

/// The goods have arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCompleted {}
