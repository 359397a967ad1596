//! What may be asked of a product.

use eventsourcing::commands;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sku;
use crate::money::Money;

commands! {
    /// What may be asked of a product. Each variant holds the payload struct of the same name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        CreateProduct,
        ChangeProductPrice,
        ActivateProduct,
        DiscontinueProduct,
    }
}

/// Takes a product into the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateProduct {
    /// Its name, and the stream's.
    pub sku: Sku,
    /// What people read, 1 to 200 characters.
    pub name: String,
    /// Net price of one piece, minor units.
    pub price: Money,
    /// Whether it can be ordered at once.
    pub active: bool,
}

/// Changes the net price; orders already placed keep theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeProductPrice {
    /// The new net price of one piece, in the product's currency.
    pub price: Money,
}

/// Makes the product orderable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActivateProduct {}

/// Takes the product off sale; orders already placed are not touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiscontinueProduct {}
