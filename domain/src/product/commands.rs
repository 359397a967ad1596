//! The commands of a product.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sku;
use crate::money::Money;

commands! {
    /// A command to a product. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        CreateProduct,
        ChangeProductPrice,
        ActivateProduct,
        DiscontinueProduct,
    }
}

/// Adds a product to the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateProduct {
    /// Stock-keeping unit, the id of the product and of its stream: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`.
    pub sku: Sku,
    /// Name of the product for people, 1 to 200 characters.
    pub name: String,
    /// Net price of one piece.
    pub price: Money,
    /// Whether the product can be ordered at once.
    pub active: bool,
}

/// Changes the net price; orders already placed keep their prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeProductPrice {
    /// The new net price of one piece, in the product's currency.
    pub price: Money,
}

/// Makes the product available to order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActivateProduct {}

/// Takes the product off sale; orders already placed are not affected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiscontinueProduct {}
