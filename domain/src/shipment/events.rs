//! What has happened to a shipment. Stored for ever: a field is only ever added, as optional, or a new version is made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::ShipmentLine;
use crate::aggregate::{DecodeError, EncodedEvent, encoded};
use crate::ids::OrderId;
use crate::upcast::decoded;

/// An event. Each variant bears the name of its payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The warehouse was asked to pack it.
    ShipmentPlanned(ShipmentPlanned),
    /// It is packed.
    ShipmentReady(ShipmentReady),
    /// It left the house.
    ShipmentDispatched(ShipmentDispatched),
    /// It arrived.
    ShipmentDelivered(ShipmentDelivered),
    /// It will not arrive.
    ShipmentLost(ShipmentLost),
    /// It is not to be shipped.
    ShipmentCancelled(ShipmentCancelled),
}

impl Event {
    /// The names of all events here, with the newest schema version of each.
    pub const TYPES: &'static [(&'static str, u16)] = &[
        ("ShipmentPlanned", 1),
        ("ShipmentReady", 1),
        ("ShipmentDispatched", 1),
        ("ShipmentDelivered", 1),
        ("ShipmentLost", 1),
        ("ShipmentCancelled", 1),
    ];

    /// Writes an event for the log.
    pub fn encode(&self) -> EncodedEvent {
        match self {
            Self::ShipmentPlanned(e) => encoded("ShipmentPlanned", 1, e),
            Self::ShipmentReady(e) => encoded("ShipmentReady", 1, e),
            Self::ShipmentDispatched(e) => encoded("ShipmentDispatched", 1, e),
            Self::ShipmentDelivered(e) => encoded("ShipmentDelivered", 1, e),
            Self::ShipmentLost(e) => encoded("ShipmentLost", 1, e),
            Self::ShipmentCancelled(e) => encoded("ShipmentCancelled", 1, e),
        }
    }

    /// Reads an event of the log.
    ///
    /// # Errors
    /// [`DecodeError`]: an unknown type, a newer schema version, or data that does not fit.
    pub fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self, DecodeError> {
        Ok(match event_type {
            "ShipmentPlanned" => Self::ShipmentPlanned(decoded(event_type, 1, schema_version, data)?),
            "ShipmentReady" => Self::ShipmentReady(decoded(event_type, 1, schema_version, data)?),
            "ShipmentDispatched" => Self::ShipmentDispatched(decoded(event_type, 1, schema_version, data)?),
            "ShipmentDelivered" => Self::ShipmentDelivered(decoded(event_type, 1, schema_version, data)?),
            "ShipmentLost" => Self::ShipmentLost(decoded(event_type, 1, schema_version, data)?),
            "ShipmentCancelled" => Self::ShipmentCancelled(decoded(event_type, 1, schema_version, data)?),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
    }
}

/// The warehouse was asked to pack it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentPlanned {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// What to pack.
    pub lines: Vec<ShipmentLine>,
}

/// It is packed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentReady {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
}

/// It left the house.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentDispatched {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
}

/// It arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentDelivered {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
}

/// It will not arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentLost {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// What is known of the loss, as people read it.
    pub reason: String,
}

/// It is not to be shipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentCancelled {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}
