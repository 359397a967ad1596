//! The state of a product, and how events change it.

use serde::{Deserialize, Serialize};

use super::{Command, Event, Rejection, decide};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::Sku;
use crate::money::Money;

/// The status of a product: whether it can be ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is no such product.
    #[default]
    Missing,
    /// The product is in the catalogue and cannot be ordered yet.
    Inactive,
    /// The product can be ordered.
    Active,
    /// The product cannot be ordered any more.
    Discontinued,
}

/// The data that the product was created with, so that a repeated `CreateProduct` is known as such after a change of
/// the price.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Net price of one piece at the creation.
    pub price: Money,
}

/// The state of a product, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Stock-keeping unit, the id of the product and of its stream.
    pub sku: Sku,
    /// Name of the product for people.
    pub name: String,
    /// Net price of one piece.
    pub price: Money,
    /// Whether it can be ordered.
    pub status: Status,
    /// The data that the product was created with.
    pub created: Created,
}

impl Product {
    /// Whether there is such a product.
    pub fn exists(&self) -> bool {
        self.status != Status::Missing
    }

    /// Whether it can be ordered.
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }
}

impl Aggregate for Product {
    const CATEGORY: &'static str = "product";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<Event>, Rejection> {
        decide::decide(self, command)
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::ProductCreated(e) => {
                self.sku = e.sku.clone();
                self.name.clone_from(&e.name);
                self.price = e.price;
                self.status = Status::Inactive;
                self.created = Created { price: e.price };
            }
            Event::ProductPriceChanged(e) => self.price = e.price,
            Event::ProductActivated(_) => self.status = Status::Active,
            Event::ProductDiscontinued(_) => self.status = Status::Discontinued,
        }
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}
