//! The facts that a saga starts with, frozen in its first event: no later price or line can change what it does.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, PaymentId, RequestId, ReservationId, ShipmentId, StockId};
use crate::money::Money;
use crate::payment::LateSuccess;
use crate::quantity::Quantity;

/// The facts that a saga starts with; `about` names their kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Facts {
    /// The facts of an order to fulfil.
    Order(OrderFacts),
    /// The facts of an order to refund.
    Refund(RefundFacts),
    /// The facts of a payment whose state may differ between us and the provider.
    Reconciliation(ReconciliationFacts),
}

impl Facts {
    /// The order that the saga is about.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Order(facts) => facts.order_id,
            Self::Refund(facts) => facts.order_id,
            Self::Reconciliation(facts) => facts.order_id,
        }
    }

    /// The amount that the saga is about, where it is known.
    pub fn amount(&self) -> Option<Money> {
        match self {
            Self::Order(facts) => Some(facts.total),
            Self::Refund(facts) => Some(facts.amount),
            Self::Reconciliation(facts) => facts.late.as_ref().map(|late| late.amount),
        }
    }
}

/// The pieces of one item, summed over the lines of the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// The stock item: a SKU and the location that ships it.
    pub item: StockId,
    /// Number of pieces over all lines, 1 to 1 000 000.
    pub quantity: Quantity,
}

/// The part of `OrderPlaced` that the fulfilment needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderFacts {
    /// Id of the order to fulfil.
    pub order_id: OrderId,
    /// The items to reserve and ship, each once: two lines of one item, reserved apart, could together oversell.
    pub items: Vec<Item>,
    /// Total of the order, the amount to authorize and capture.
    pub total: Money,
    /// Token of the card at the payment provider, 1 to 100 characters.
    pub payment_method: String,
    /// The order's labels, passed on to the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// UTC date of the order, such as `2026-03-01`.
    pub placed_on: NaiveDate,
}

/// A reservation of stock to release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The reserved stock item: a SKU at a location.
    pub item: StockId,
    /// Id of the committed reservation.
    pub reservation_id: ReservationId,
}

/// The facts that the refund needs of the fulfilment that handed the order over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundFacts {
    /// Id of the order to refund.
    pub order_id: OrderId,
    /// The payment that was captured.
    pub payment_id: PaymentId,
    /// Amount that was captured.
    pub amount: Money,
    /// Id of the shipment that must not leave.
    pub shipment_id: ShipmentId,
    /// The committed reservations, which are to be released.
    pub held: Vec<Held>,
    /// The reason for the refund, such as `customer_request`; the order is cancelled with it in the end.
    pub reason: String,
}

/// The facts that the reconciliation of a payment starts with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReconciliationFacts {
    /// Id of the order that the payment is for.
    pub order_id: OrderId,
    /// Id of the payment to reconcile.
    pub payment_id: PaymentId,
    /// Id of the request that has an unknown outcome or succeeded late.
    pub request_id: RequestId,
    /// The late success, whose money must go back. Without it the outcome of the request is still unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
}

/// A success that came after the payment's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Late {
    /// Whether the money is authorized or was captured.
    pub kind: LateSuccess,
    /// Amount that was authorized or captured late.
    pub amount: Money,
}
