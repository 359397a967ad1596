//! The events of a product. Events are stored for ever: a field is only ever added, as optional, or a new version is
//! made.

use eventsourcing::events;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sku;
use crate::money::Money;

events! {
    /// An event of a product. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        ProductCreated,
        ProductPriceChanged,
        ProductActivated,
        ProductDiscontinued,
    }
}

/// The product was added to the catalogue; it cannot be ordered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductCreated {
    /// Stock-keeping unit, the id of the product: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`.
    pub sku: Sku,
    /// Name of the product for people, 1 to 200 characters.
    pub name: String,
    /// Net price of one piece.
    pub price: Money,
}

/// The net price of the product changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductPriceChanged {
    /// The new net price of one piece.
    pub price: Money,
    /// Net price of one piece until then.
    pub previous: Money,
}

/// The product can be ordered from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductActivated {}

/// The product cannot be ordered any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductDiscontinued {}
