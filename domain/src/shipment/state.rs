//! The state of a shipment, and how events change it.

use serde::{Deserialize, Serialize};

use super::{Command, Event, Rejection, ShipmentLine, decide};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::OrderId;

/// The status of a shipment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was asked yet.
    #[default]
    None,
    /// The warehouse was asked to pack it.
    Planned,
    /// The shipment is packed and ready to leave.
    Ready,
    /// The shipment has left the warehouse.
    Dispatched,
    /// The shipment has arrived.
    Delivered,
    /// The shipment is lost and will not arrive.
    Lost,
    /// The shipment must not leave.
    Cancelled,
}

/// The state of a shipment, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shipment {
    /// The order whose goods are shipped; `None` before the first event.
    pub order_id: Option<OrderId>,
    /// The items to pack; empty if the shipment was cancelled before it was planned.
    pub lines: Vec<ShipmentLine>,
    /// How far the shipment has come.
    pub status: Status,
}

impl Aggregate for Shipment {
    const CATEGORY: &'static str = "shipment";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<Event>, Rejection> {
        decide::decide(self, command)
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::ShipmentPlanned(e) => {
                self.order_id = Some(e.order_id);
                self.lines.clone_from(&e.lines);
                self.status = Status::Planned;
            }
            Event::ShipmentReady(_) => self.status = Status::Ready,
            Event::ShipmentDispatched(_) => self.status = Status::Dispatched,
            Event::ShipmentDelivered(_) => self.status = Status::Delivered,
            Event::ShipmentLost(_) => self.status = Status::Lost,
            Event::ShipmentCancelled(e) => {
                self.order_id = Some(e.order_id);
                self.status = Status::Cancelled;
            }
        }
    }

    fn partition_key(&self) -> Option<String> {
        self.order_id.map(|id| id.to_string())
    }
}
