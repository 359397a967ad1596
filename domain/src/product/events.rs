//! What has happened to a product. Stored for ever: a field is only ever added, as optional, or a new version is made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{DecodeError, EncodedEvent, encoded};
use crate::ids::Sku;
use crate::money::Money;
use crate::upcast::decoded;

/// An event. Each variant bears the name of its payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The product is in the catalogue, not yet orderable.
    ProductCreated(ProductCreated),
    /// Its net price changed.
    ProductPriceChanged(ProductPriceChanged),
    /// It can be ordered.
    ProductActivated(ProductActivated),
    /// It can no longer be ordered.
    ProductDiscontinued(ProductDiscontinued),
}

impl Event {
    /// The names of all events here, with the newest schema version of each.
    pub const TYPES: &'static [(&'static str, u16)] =
        &[("ProductCreated", 1), ("ProductPriceChanged", 1), ("ProductActivated", 1), ("ProductDiscontinued", 1)];

    /// Writes an event for the log.
    pub fn encode(&self) -> EncodedEvent {
        match self {
            Self::ProductCreated(e) => encoded("ProductCreated", 1, e),
            Self::ProductPriceChanged(e) => encoded("ProductPriceChanged", 1, e),
            Self::ProductActivated(e) => encoded("ProductActivated", 1, e),
            Self::ProductDiscontinued(e) => encoded("ProductDiscontinued", 1, e),
        }
    }

    /// Reads an event of the log.
    ///
    /// # Errors
    /// [`DecodeError`]: an unknown type, a newer schema version, or data that does not fit.
    pub fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self, DecodeError> {
        Ok(match event_type {
            "ProductCreated" => Self::ProductCreated(decoded(event_type, 1, schema_version, data)?),
            "ProductPriceChanged" => Self::ProductPriceChanged(decoded(event_type, 1, schema_version, data)?),
            "ProductActivated" => Self::ProductActivated(decoded(event_type, 1, schema_version, data)?),
            "ProductDiscontinued" => Self::ProductDiscontinued(decoded(event_type, 1, schema_version, data)?),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
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
