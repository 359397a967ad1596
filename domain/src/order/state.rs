//! The state of an order, and how events change it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Command, Event, HoldReason, OrderLine, OrderPlaced, RejectReason, Rejection, RiskAssessment, Totals, decide,
};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::{CustomerId, OrderId, ShipmentId, StockId};
use crate::quantity::Quantity;

/// The status of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is no such order.
    #[default]
    None,
    /// The order was placed; its stock is being reserved and its payment authorized.
    Pending,
    /// Stock is committed and the payment is authorized.
    Confirmed,
    /// The goods may leave; the order cannot be cancelled or held any more.
    Dispatching,
    /// The goods have left.
    Shipped,
    /// The goods have arrived.
    Completed,
    /// The customer requested the cancellation; the steps done for the order are being undone.
    CancelPending,
    /// The order ended without goods.
    Cancelled,
    /// The order could not be fulfilled.
    Rejected,
}

/// The state of an order, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Id of the order; the nil UUID before it was placed.
    pub order_id: OrderId,
    /// Order number for people, 12 characters; empty before the order was placed.
    pub number: String,
    /// Id of the customer who ordered.
    pub customer_id: CustomerId,
    /// The lines of the order with their prices; empty before it was placed.
    pub lines: Vec<OrderLine>,
    /// Cost of the order; `None` before it was placed.
    pub totals: Option<Totals>,
    /// Token of the card at the payment provider.
    pub payment_method: String,
    /// Free labels that the client gave.
    pub tags: Vec<String>,
    /// When the order was placed.
    pub placed_at: Option<Timestamp>,
    /// How far the order has come.
    pub status: Status,
    /// The reasons why the order must not be dispatched, each once, the oldest first; empty where the order is not
    /// held.
    pub holds: Vec<HoldReason>,
    /// The latest verdict of the risk check.
    pub risk: Option<RiskAssessment>,
    /// Whether the risk check ever asked for a person's review, whatever the review decided.
    #[serde(default)]
    pub was_reviewed: bool,
    /// The reason for the rejection, if the order was rejected.
    pub rejected: Option<RejectReason>,
    /// The reason for the cancellation, requested or done.
    pub cancelled: Option<String>,
    /// Id of the shipment with which the goods left.
    pub shipment_id: Option<ShipmentId>,
}

impl OrderPlaced {
    /// Sums the pieces of each item over the lines: two lines on one item, reserved apart, could each pass and together
    /// oversell. PlaceOrder keeps each sum within [`Quantity::MAX`].
    pub fn quantity_by_item(&self) -> BTreeMap<StockId, Quantity> {
        quantity_by_item(&self.lines)
    }
}

/// Sums the pieces of each item over the lines.
pub(super) fn quantity_by_item(lines: &[OrderLine]) -> BTreeMap<StockId, Quantity> {
    let mut sums: BTreeMap<StockId, Quantity> = BTreeMap::new();
    for line in lines {
        sums.entry(line.item.clone())
            .and_modify(|sum| *sum = sum.saturating_plus(line.quantity))
            .or_insert(line.quantity);
    }
    sums
}

impl Order {
    /// Sums the pieces of each item over the lines.
    pub fn quantity_by_item(&self) -> BTreeMap<StockId, Quantity> {
        quantity_by_item(&self.lines)
    }

    /// The oldest reason why the order must not be dispatched, if it is held.
    pub fn held(&self) -> Option<HoldReason> {
        self.holds.first().copied()
    }

    /// Whether a person must review the risk: the risk check asked for it, and the review is not over.
    pub fn is_under_review(&self) -> bool {
        self.risk == Some(RiskAssessment::Review) && self.holds.contains(&HoldReason::HighRiskOfFraud)
    }

    fn place(&mut self, e: &OrderPlaced) {
        self.order_id = e.order_id;
        self.number.clone_from(&e.number);
        self.customer_id = e.customer_id;
        self.lines.clone_from(&e.lines);
        self.totals = Some(e.totals);
        self.payment_method.clone_from(&e.payment_method);
        self.tags.clone_from(&e.tags);
        self.placed_at = Some(e.placed_at);
        self.status = Status::Pending;
    }
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    // 2: order holds became a set.
    const STATE_FORMAT: u32 = 2;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Rejection> {
        decide::decide(self, command, now)
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::OrderPlaced(e) => self.place(e),
            Event::OrderRiskAssessed(e) => {
                self.risk = Some(e.assessment);
                self.was_reviewed |= e.assessment == RiskAssessment::Review;
            }
            Event::OrderConfirmed(_) => self.status = Status::Confirmed,
            Event::OrderRejected(e) => {
                self.status = Status::Rejected;
                self.rejected = Some(e.reason);
            }
            Event::OrderHeld(e) if self.holds.contains(&e.reason) => {}
            Event::OrderHeld(e) => self.holds.push(e.reason),
            Event::OrderHoldReleased(e) => self.holds.retain(|held| e.reason.is_some_and(|reason| reason != *held)),
            Event::OrderCancellationRequested(e) => {
                self.status = Status::CancelPending;
                self.cancelled = Some(e.reason.clone());
            }
            Event::OrderCancelled(e) => {
                self.status = Status::Cancelled;
                self.cancelled = Some(e.reason.clone());
            }
            Event::OrderDispatchAllowed(_) => self.status = Status::Dispatching,
            Event::OrderShipped(e) => {
                self.status = Status::Shipped;
                self.shipment_id = Some(e.shipment_id);
            }
            Event::OrderCompleted(_) => self.status = Status::Completed,
        }
    }

    fn partition_key(&self) -> Option<String> {
        // An order is its own key; before it is placed there is none.
        (self.status != Status::None).then(|| self.order_id.to_string())
    }
}
