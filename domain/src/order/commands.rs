//! What may be asked of an order.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, VariantArray, VariantNames};

use crate::ids::{CustomerId, OrderId, ShipmentId, StockId};
use crate::money::Money;
use crate::quantity::Quantity;

/// One line of an order with its prices, frozen: nothing works them out again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderLine {
    /// From 1, in the order the client gave.
    pub line: u32,
    /// What, and from where it is shipped.
    pub item: StockId,
    /// What people read.
    pub name: String,
    /// How many pieces.
    pub quantity: Quantity,
    /// Net price of one piece.
    pub unit_price: Money,
    /// `unit_price` × `quantity`.
    pub net: Money,
    /// This line's share of the order's discount.
    pub discount_share: Money,
    /// This line's share of the order's tax.
    pub tax_share: Money,
}

/// What an order costs, frozen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Σ `net` of the lines.
    pub subtotal: Money,
    /// What is taken off.
    pub discount: Money,
    /// Tax on lines and shipping.
    pub tax: Money,
    /// Net shipping.
    pub shipping: Money,
    /// `subtotal` − `discount` + `tax` + `shipping`.
    pub total: Money,
}

/// What the risk check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskAssessment {
    /// Go on.
    Approve,
    /// A person must look: the order is held.
    Review,
    /// Do not go on.
    Refuse,
}

/// Why an order was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Too few pieces of a line.
    OutOfStock,
    /// Too many at once wanted the same item.
    Contention,
    /// The provider declined.
    PaymentDeclined,
    /// No payment in time.
    PaymentTimeout,
    /// The hold on stock ran out and could not be had again.
    ReservationExpired,
    /// The risk check refused, or its hold was refused or lapsed.
    Fraud,
    /// A person of the shop decided it.
    Operator,
}

/// Why an order must not be dispatched. Source: Shopify's FulfillmentHoldReason.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display, VariantArray, VariantNames,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum HoldReason {
    /// The risk check wants a person to look.
    HighRiskOfFraud,
    /// Money is missing.
    AwaitingPayment,
    /// The address is wrong.
    IncorrectAddress,
    /// Goods are missing.
    InventoryOutOfStock,
    /// Goods must come back first.
    AwaitingReturnItems,
    /// Anything else.
    Other,
}

impl HoldReason {
    /// The word that is stored, such as `HIGH_RISK_OF_FRAUD`.
    pub const fn as_str(self) -> &'static str {
        <Self as VariantNames>::VARIANTS[self as usize]
    }
}

commands! {
    /// What may be asked of an order. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        PlaceOrder,
        AssessOrderRisk,
        ConfirmOrder,
        RejectOrder,
        HoldOrder,
        ReleaseOrderHold,
        RequestOrderCancellation,
        CancelOrder,
        AllowOrderDispatch,
        RecordOrderShipped,
        CompleteOrder,
    }
}

/// Places the order, with prices that the handler resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceOrder {
    /// The order.
    pub order_id: OrderId,
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
    /// What the client thinks it costs; refused if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<Money>,
}

/// Records the risk check's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssessOrderRisk {
    /// The answer.
    pub assessment: RiskAssessment,
    /// A rule set or a person.
    pub assessed_by: String,
    /// Whether a person says it, which counts only while the order is under review.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_person: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Stock is committed and money is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmOrder {}

/// It cannot be fulfilled; only while it is pending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RejectOrder {
    /// The reason for the rejection.
    pub reason: RejectReason,
}

/// Stops it from being dispatched until released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HoldOrder {
    /// The reason for the hold.
    pub reason: HoldReason,
}

/// Releases one hold of the order; it goes on when it has none left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseOrderHold {
    /// The hold to release; none: the only one, unless it is that of a risk review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<HoldReason>,
}

/// The customer does not want it any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestOrderCancellation {
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}

/// Ends it; sent by a saga when all is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelOrder {
    /// Why, such as `customer_request` or `capture_failed`.
    pub reason: String,
}

/// Asks the order, which settles the race with cancellation and holds, whether goods may leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllowOrderDispatch {}

/// The goods have left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordOrderShipped {
    /// With which shipment.
    pub shipment_id: ShipmentId,
}

/// The goods have arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompleteOrder {}
