//! The state of a shipment, and how events change it.

use serde::{Deserialize, Serialize};

use super::{Command, Event, Rejection, ShipmentLine, decide};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::OrderId;

/// Where a shipment stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was asked yet.
    #[default]
    None,
    /// The warehouse was asked to pack it.
    Planned,
    /// It is packed.
    Ready,
    /// It left the house.
    Dispatched,
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Lost,
    /// It is not to be shipped.
    Cancelled,
}

/// A shipment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shipment {
    /// Whose; none before the first event.
    pub order_id: Option<OrderId>,
    /// What to pack; nothing if it was cancelled before it was planned.
    pub lines: Vec<ShipmentLine>,
    /// Where it stands.
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
