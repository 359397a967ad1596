//! The commands of a shipment.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, StockId};
use crate::quantity::Quantity;

/// The pieces of one item to pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentLine {
    /// The stock item: a SKU at a location.
    pub item: StockId,
    /// Number of pieces to pack, 1 to 1 000 000.
    pub quantity: Quantity,
}

commands! {
    /// A command to a shipment. Each variant holds the payload struct of the same name.
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
    /// The items to pack, 1 to 100 lines.
    pub lines: Vec<ShipmentLine>,
}

/// Marks the shipment as packed and ready to leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MarkShipmentReady {}

/// Dispatches the shipment: it leaves the warehouse. Only the saga sends it, after `OrderDispatchAllowed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DispatchShipment {}

/// Records that the shipment has arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliverShipment {}

/// Reports that the shipment is lost and will not arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportShipmentLost {
    /// What is known of the loss, as people read it.
    pub reason: String,
}

/// Cancels the shipment: it is not packed, or is unpacked. The command is accepted before the plan arrives, which is
/// then refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelShipment {
    /// The order whose goods are shipped.
    pub order_id: OrderId,
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}
