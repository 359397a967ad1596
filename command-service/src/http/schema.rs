//! Shapes that several bodies share, for the OpenAPI document: the domain knows nothing of HTTP.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

pub use service_kit::api::Money as MoneySchema;
use service_kit::api::{LocationText, SkuText};

/// The product that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes the path in the OpenAPI document; `Of<Sku>` reads it")]
pub struct ProductPath {
    /// The product's SKU.
    #[param(inline, value_type = SkuText)]
    sku: String,
}

/// The stock item that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes the path in the OpenAPI document; `Of<StockId>` reads it")]
pub struct StockPath {
    /// The product's SKU.
    #[param(inline, value_type = SkuText)]
    sku: String,
    /// The location of the stock.
    #[param(inline, value_type = LocationText)]
    location: String,
}

/// The order that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes the path in the OpenAPI document; `Of<OrderId>` reads it")]
pub struct OrderIdPath {
    /// The order's id.
    id: Uuid,
}

/// The shipment that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes the path in the OpenAPI document; `Of<ShipmentId>` reads it")]
pub struct ShipmentIdPath {
    /// The shipment's id.
    id: Uuid,
}

/// No fields.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
