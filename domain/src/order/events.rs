//! The events of an order. Events are stored for ever: a field is only ever added, as optional, or a new version is
//! made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::{HoldReason, OrderLine, RejectReason, RiskAssessment, Totals};
use crate::aggregate::Timestamp;
use crate::ids::{CustomerId, OrderId, ShipmentId};

events! {
    /// An event of an order. Each variant holds the payload struct of the same name.
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

/// The order was placed. Its prices, shares and each line's location are frozen here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
    /// Id of the order that was placed.
    pub order_id: OrderId,
    /// Order number for people, short enough to read aloud: 12 characters of Crockford's base 32, derived from the id.
    pub number: String,
    /// Id of the customer who ordered.
    pub customer_id: CustomerId,
    /// The lines of the order with their prices, 1 to 100.
    pub lines: Vec<OrderLine>,
    /// Cost of the whole order.
    pub totals: Totals,
    /// Token of the card at the payment provider, 1 to 100 characters.
    pub payment_method: String,
    /// Free labels, at most 20 of 1 to 50 characters each.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When the order was placed.
    pub placed_at: Timestamp,
}

/// The risk check gave its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRiskAssessed {
    /// Verdict of the risk check: `approve`, `review` or `refuse`.
    pub assessment: RiskAssessment,
    /// Name of the rule set or the person that gave the verdict.
    pub assessed_by: String,
}

/// The order was confirmed: its stock is committed and its payment is authorized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {}

/// The order was rejected, because it could not be fulfilled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRejected {
    /// The reason for the rejection.
    pub reason: RejectReason,
}

/// The order was held: it must not be dispatched until the hold is released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderHeld {
    /// The reason for the order hold.
    pub reason: HoldReason,
}

/// An order hold was released. The order may go on when it has no other hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderHoldReleased {
    /// The hold that was released. Events of releases up to 0.2.0 lack it; they release all holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<HoldReason>,
}

/// The customer requested the cancellation of the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancellationRequested {
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}

/// The order was cancelled; no goods have left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}

/// The dispatch of the order was allowed. From here on the order cannot be cancelled or held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderDispatchAllowed {}

/// The goods of the order have left the warehouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderShipped {
    /// Id of the shipment with which the goods left.
    pub shipment_id: ShipmentId,
}

/// The goods of the order have arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCompleted {}
