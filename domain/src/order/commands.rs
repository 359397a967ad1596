//! The commands of an order.

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
    /// Number of the line in the order, from 1, in the sequence that the client gave.
    pub line: u32,
    /// The stock item that is ordered: a SKU and the location that ships it, such as `MUG-1@main`.
    pub item: StockId,
    /// Name of the product in the catalogue when the order was placed.
    pub name: String,
    /// Number of pieces ordered, 1 to 1 000 000.
    pub quantity: Quantity,
    /// Net price of one piece.
    pub unit_price: Money,
    /// Net price of the line: `unit_price` × `quantity`.
    pub net: Money,
    /// This line's share of the order's discount.
    pub discount_share: Money,
    /// This line's share of the order's tax.
    pub tax_share: Money,
}

/// The cost of an order and its parts, frozen when the order is placed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Sum of the lines' `net`.
    pub subtotal: Money,
    /// Discount on the subtotal; 0 until there are discounts.
    pub discount: Money,
    /// Tax on the lines and on shipping, rounded once to the minor unit.
    pub tax: Money,
    /// Net cost of shipping; 0 where shipping is free.
    pub shipping: Money,
    /// Amount to pay: `subtotal` − `discount` + `tax` + `shipping`.
    pub total: Money,
}

/// The verdict of the risk check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskAssessment {
    /// The order goes on.
    Approve,
    /// A person must look at the order; it is held until then.
    Review,
    /// The order must not go on and is rejected.
    Refuse,
}

/// The reason why an order was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Fewer pieces of an item were available than the order needs.
    OutOfStock,
    /// Too many orders wanted the same item at the same moment.
    Contention,
    /// The payment provider declined the payment.
    PaymentDeclined,
    /// The payment was not authorized in time.
    PaymentTimeout,
    /// A reservation expired, and its pieces could not be reserved again.
    ReservationExpired,
    /// The risk check refused the order, or a person refused it or did not decide in time.
    Fraud,
    /// A person of the shop rejected the order.
    Operator,
}

/// The reason for an order hold: why the order must not be dispatched. Source: Shopify's FulfillmentHoldReason.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display, VariantArray, VariantNames,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum HoldReason {
    /// The risk check wants a person to look at the order.
    HighRiskOfFraud,
    /// A payment is still missing.
    AwaitingPayment,
    /// The address of the customer is wrong.
    IncorrectAddress,
    /// Ordered goods are missing in the warehouse.
    InventoryOutOfStock,
    /// Goods must come back before others leave.
    AwaitingReturnItems,
    /// A reason that is not in this list.
    Other,
}

impl HoldReason {
    /// The stored name of the reason, such as `HIGH_RISK_OF_FRAUD`.
    pub const fn as_str(self) -> &'static str {
        <Self as VariantNames>::VARIANTS[self as usize]
    }
}

commands! {
    /// A command to an order. Each variant holds the payload struct of the same name.
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

/// Places an order. The prices come from the catalogue, not from the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceOrder {
    /// Id of the order to place.
    pub order_id: OrderId,
    /// Id of the customer who orders.
    pub customer_id: CustomerId,
    /// The lines of the order with their prices, 1 to 100.
    pub lines: Vec<OrderLine>,
    /// Cost of the whole order. It must equal the sums over `lines`.
    pub totals: Totals,
    /// Token of the card at the payment provider, 1 to 100 characters.
    pub payment_method: String,
    /// Free labels, at most 20 of 1 to 50 characters each.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Total that the client expects to pay. An order that costs something else is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<Money>,
}

/// Records the verdict of the risk check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssessOrderRisk {
    /// Verdict of the risk check: `approve`, `review` or `refuse`.
    pub assessment: RiskAssessment,
    /// Name of the rule set or the person that gave the verdict.
    pub assessed_by: String,
    /// Whether a person gave the verdict. A person's verdict is accepted only while the order is under review.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_person: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Confirms the order, once its stock is committed and its payment is authorized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmOrder {}

/// Rejects an order that cannot be fulfilled; accepted only while the order is pending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RejectOrder {
    /// The reason for the rejection.
    pub reason: RejectReason,
}

/// Holds the order: it is not dispatched until the hold is released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HoldOrder {
    /// The reason for the order hold.
    pub reason: HoldReason,
}

/// Releases one hold of the order. The order goes on when no hold is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseOrderHold {
    /// The hold to release. Without it the only hold is released, unless that is the hold of a risk review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<HoldReason>,
}

/// Requests the cancellation of the order on the customer's behalf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestOrderCancellation {
    /// The reason for the cancellation, as people read it.
    pub reason: String,
}

/// Cancels the order for good. A saga sends it when everything that was done for the order is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CancelOrder {
    /// The reason for the cancellation, such as `customer_request` or `capture_failed`.
    pub reason: String,
}

/// Asks whether the goods may leave. The order decides the race between dispatch, cancellation and holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllowOrderDispatch {}

/// Records that the goods have left the warehouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordOrderShipped {
    /// Id of the shipment with which the goods left.
    pub shipment_id: ShipmentId,
}

/// Completes the order: the goods have arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompleteOrder {}
