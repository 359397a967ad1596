//! What has happened to an order. Stored for ever: a field is only ever added, as optional, or a new version is made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::{HoldReason, OrderLine, RejectReason, RiskAssessment, Totals};
use crate::aggregate::Timestamp;
use crate::ids::{CustomerId, OrderId, ShipmentId};

events! {
    /// What has happened to an order. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        OrderPlaced,
        OrderRiskAssessed,
        OrderConfirmed,
        OrderRejected,
        OrderHeld,
        OrderHoldReleased,
        OrderCancellationRequested,
        OrderCancelled,
        OrderDispatchAllowed,
        OrderShipped,
        OrderCompleted,
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
