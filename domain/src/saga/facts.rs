//! What a saga knows from its start on, frozen in its first event: no later price or line can change what it does.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, PaymentId, RequestId, ReservationId, ShipmentId, StockId};
use crate::money::Money;
use crate::payment::LateSuccess;
use crate::quantity::Quantity;

/// What a saga starts with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Facts {
    /// An order to fulfil.
    Order(OrderFacts),
    /// An order to take back.
    Refund(RefundFacts),
    /// A payment whose books and the provider's may differ.
    Reconciliation(ReconciliationFacts),
}

impl Facts {
    /// The order that it is all about.
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::Order(facts) => facts.order_id,
            Self::Refund(facts) => facts.order_id,
            Self::Reconciliation(facts) => facts.order_id,
        }
    }

    /// The money that it is about, where that is known.
    pub fn amount(&self) -> Option<Money> {
        match self {
            Self::Order(facts) => Some(facts.total),
            Self::Refund(facts) => Some(facts.amount),
            Self::Reconciliation(facts) => facts.late.as_ref().map(|late| late.amount),
        }
    }
}

/// Pieces of one item, the lines of one item summed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// What, and from where.
    pub item: StockId,
    /// How many pieces.
    pub quantity: Quantity,
}

/// What fulfilment needs of `OrderPlaced`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderFacts {
    /// The order.
    pub order_id: OrderId,
    /// What to reserve and ship, each item once: two lines of one item, reserved apart, could together oversell.
    pub items: Vec<Item>,
    /// What it costs.
    pub total: Money,
    /// The card's token at the provider.
    pub payment_method: String,
    /// The order's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// UTC date of the order.
    pub placed_on: NaiveDate,
}

/// A hold of stock to give back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The reserved stock item: a SKU at a location.
    pub item: StockId,
    /// The hold.
    pub reservation_id: ReservationId,
}

/// What the refund saga needs of the fulfilment that handed the order over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundFacts {
    /// The order.
    pub order_id: OrderId,
    /// The payment that was captured.
    pub payment_id: PaymentId,
    /// What was captured.
    pub amount: Money,
    /// The shipment that is not to leave.
    pub shipment_id: ShipmentId,
    /// The committed holds.
    pub held: Vec<Held>,
    /// Why, such as `customer_request`; the order's reason in the end.
    pub reason: String,
}

/// What the reconciliation of a payment starts with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReconciliationFacts {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The request whose outcome is not known, or which succeeded late.
    pub request_id: RequestId,
    /// What succeeded after the payment's end, and must go back; none: the outcome is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
}

/// A success after the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Late {
    /// Whether money is held or was taken.
    pub kind: LateSuccess,
    /// The amount that succeeded late.
    pub amount: Money,
}
