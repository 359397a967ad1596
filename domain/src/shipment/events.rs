//! What has happened to a shipment. Stored for ever: a field is only ever added, as optional, or a new version is made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::ShipmentLine;
use crate::ids::OrderId;

events! {
    /// What has happened to a shipment. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        ShipmentPlanned,
        ShipmentReady,
        ShipmentDispatched,
        ShipmentDelivered,
        ShipmentLost,
        ShipmentCancelled,
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
