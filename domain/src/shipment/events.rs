//! The events of a shipment. Events are stored for ever: a field is only ever added, as optional, or a new version is
//! made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::ShipmentLine;
use crate::ids::OrderId;

events! {
    /// An event of a shipment. Each variant holds the payload struct of the same name.
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

/// The shipment was planned: the warehouse was asked to pack it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentPlanned {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// The items to pack, 1 to 100 lines.
    pub lines: Vec<ShipmentLine>,
}

/// The shipment is packed and ready to leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentReady {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
}

/// The shipment has left the warehouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentDispatched {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
}

/// The shipment has arrived at the customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentDelivered {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
}

/// The shipment is lost and will not arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentLost {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// What is known of the loss, as people read it.
    pub reason: String,
}

/// The shipment was cancelled and must not leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentCancelled {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}
