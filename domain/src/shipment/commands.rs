//! What may be asked of a shipment.

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

/// A command. Each variant bears the name of its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Command {
    /// Asks the warehouse to pack an order.
    PlanShipment(PlanShipment),
    /// It is packed.
    MarkShipmentReady(MarkShipmentReady),
    /// It leaves the house. Sent only by the saga, after OrderDispatchAllowed.
    DispatchShipment(DispatchShipment),
    /// It has arrived.
    DeliverShipment(DeliverShipment),
    /// It will not arrive.
    ReportShipmentLost(ReportShipmentLost),
    /// Not to be packed, or to be unpacked. Accepted before the plan came: it is then refused when it comes.
    CancelShipment(CancelShipment),
}

impl Command {
    /// The command's own name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PlanShipment(_) => "PlanShipment",
            Self::MarkShipmentReady(_) => "MarkShipmentReady",
            Self::DispatchShipment(_) => "DispatchShipment",
            Self::DeliverShipment(_) => "DeliverShipment",
            Self::ReportShipmentLost(_) => "ReportShipmentLost",
            Self::CancelShipment(_) => "CancelShipment",
        }
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
