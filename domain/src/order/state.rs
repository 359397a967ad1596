//! The state of an order, and how events change it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Command, Event, HoldReason, OrderLine, OrderPlaced, RejectReason, Rejection, RiskAssessment, Totals, decide,
};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::{CustomerId, OrderId, ShipmentId, StockId};
use crate::quantity::Quantity;

/// Where an order stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is no such order.
    #[default]
    None,
    /// Placed; stock and money are being seen to.
    Pending,
    /// Stock is committed and money is held.
    Confirmed,
    /// The goods may leave; it cannot be cancelled or held any more.
    Dispatching,
    /// The goods have left.
    Shipped,
    /// The goods have arrived.
    Completed,
    /// The customer does not want it any more; what was done is being undone.
    CancelPending,
    /// It ended without goods.
    Cancelled,
    /// It could not be fulfilled.
    Rejected,
}

/// An order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The order.
    pub order_id: OrderId,
    /// What people read aloud.
    pub number: String,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What, with its prices; empty before it was placed.
    pub lines: Vec<OrderLine>,
    /// What it costs; none before it was placed.
    pub totals: Option<Totals>,
    /// The card's token at the provider.
    pub payment_method: String,
    /// Free labels.
    pub tags: Vec<String>,
    /// When it was placed.
    pub placed_at: Option<Timestamp>,
    /// Where it stands.
    pub status: Status,
    /// Why it must not be dispatched, each reason once, the oldest first; empty where it is not held.
    pub holds: Vec<HoldReason>,
    /// What the risk check said last.
    pub risk: Option<RiskAssessment>,
    /// Whether it wanted a person to look, whatever that person said then.
    #[serde(default)]
    pub was_reviewed: bool,
    /// Why it was rejected.
    pub rejected: Option<RejectReason>,
    /// Why the customer does not want it any more, or why it was cancelled.
    pub cancelled: Option<String>,
    /// With which shipment the goods left.
    pub shipment_id: Option<ShipmentId>,
}

impl OrderPlaced {
    /// How many pieces of each item, the lines of one item summed: two lines on one item, reserved apart, could each
    /// pass and together oversell. PlaceOrder keeps each sum within [`Quantity::MAX`].
    pub fn quantity_by_item(&self) -> BTreeMap<StockId, Quantity> {
        quantity_by_item(&self.lines)
    }
}

/// How many pieces of each item, the lines of one item summed.
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
    /// How many pieces of each item, the lines of one item summed.
    pub fn quantity_by_item(&self) -> BTreeMap<StockId, Quantity> {
        quantity_by_item(&self.lines)
    }

    /// The oldest reason why it must not be dispatched, if it is held.
    pub fn held(&self) -> Option<HoldReason> {
        self.holds.first().copied()
    }

    /// Whether a person is to look at its risk: the rules said so, and nobody has ended that since.
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
