//! What has happened to a product. Stored for ever: a field is only ever added, as optional, or a new version is made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sku;
use crate::money::Money;

events! {
    /// What has happened to a product. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        ProductCreated,
        ProductPriceChanged,
        ProductActivated,
        ProductDiscontinued,
    }
}

/// The product is in the catalogue, not yet orderable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductCreated {
    /// Its name.
    pub sku: Sku,
    /// What people read.
    pub name: String,
    /// Net price of one piece.
    pub price: Money,
}

/// Its net price changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductPriceChanged {
    /// The new net price of one piece.
    pub price: Money,
    /// The price until then.
    pub previous: Money,
}

/// It can be ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductActivated {}

/// It can no longer be ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductDiscontinued {}
