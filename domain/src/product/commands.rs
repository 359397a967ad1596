//! What may be asked of a product.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Sku;
use crate::money::Money;

/// A command. Each variant bears the name of its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Command {
    /// Takes a product into the catalogue.
    CreateProduct(CreateProduct),
    /// Changes the net price; orders already placed keep theirs.
    ChangeProductPrice(ChangeProductPrice),
    /// Makes the product orderable.
    ActivateProduct(ActivateProduct),
    /// Takes the product off sale; orders already placed are not touched.
    DiscontinueProduct(DiscontinueProduct),
}

impl Command {
    /// The command's own name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateProduct(_) => "CreateProduct",
            Self::ChangeProductPrice(_) => "ChangeProductPrice",
            Self::ActivateProduct(_) => "ActivateProduct",
            Self::DiscontinueProduct(_) => "DiscontinueProduct",
        }
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
