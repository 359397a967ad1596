//! What may be asked of a shipment.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, StockId};
use crate::quantity::Quantity;

/// Pieces of one item to pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentLine {
    /// What, and from where.
    pub item: StockId,
    /// How many pieces.
    pub quantity: Quantity,
}

commands! {
    /// What may be asked of a shipment. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        PlanShipment,
        MarkShipmentReady,
        DispatchShipment,
        DeliverShipment,
        ReportShipmentLost,
        CancelShipment,
    }
}

/// Asks the warehouse to pack an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanShipment {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// What to pack, 1 to 100 lines.
    pub lines: Vec<ShipmentLine>,
}

/// It is packed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MarkShipmentReady {}

/// It leaves the house. Sent only by the saga, after OrderDispatchAllowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DispatchShipment {}

/// It has arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliverShipment {}

/// It will not arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportShipmentLost {
    /// What is known of the loss, as people read it.
    pub reason: String,
}

/// Not to be packed, or to be unpacked. Accepted before the plan came: it is then refused when it comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelShipment {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}
