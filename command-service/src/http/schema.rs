//! Shapes that several bodies share, for the OpenAPI document: the domain knows nothing of HTTP.

use domain::money::{Currency, Money};
use domain::product::MAX_PRICE;
use domain::stock::MAX_DELTA;
use serde::{Deserialize, Serialize};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

pub use service_kit::api::Money as MoneySchema;
use service_kit::api::{LocationText, SkuText};
use service_kit::named_schema;

named_schema! {
    /// The schema of a currency in a request. Those of answers have a wider one: a later version may know more currencies.
    CurrencyText => currency().into()
}

/// The codes stand in a pattern and not in an enum: a currency that was read from an answer can be sent by programs whose
/// types tell a text from an enum.
fn currency() -> ObjectBuilder {
    let codes: Vec<String> = Currency::all().map(String::from).collect();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(3))
        .max_length(Some(3))
        .pattern(Some(format!("^({})$", codes.join("|"))))
        .description(Some("The currency: a code of ISO 4217 that has minor units."))
        .examples(["EUR"])
}

/// Declares schemas of money in requests, with the bounds that the domain has for it.
macro_rules! amounts {
    ($($(#[doc = $doc:literal])+ $name:ident: $least:expr, $most:expr;)+) => {$(
        named_schema! {
            $(#[doc = $doc])+
            $name => {
                let amount = integer($least, $most).description(Some("The amount in minor units.")).examples([1999]);
                ObjectBuilder::new()
                    .description(Some((concat!($($doc),+)).trim_ascii()))
                    .property("amount", amount)
                    .property("currency", currency())
                    .required("amount")
                    .required("currency")
                    .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(false)))
                    .build()
                    .into()
            }
        }
    )+};
}

amounts! {
    /// The price of one piece in minor units (cent, yen, fils) of its currency.
    Price: 1, MAX_PRICE;
    /// The total of an order in minor units (cent, yen, fils) of its currency.
    ExpectedTotal: 0, Money::MAX_TOTAL;
}

fn integer(least: i64, most: i64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least))
        .maximum(Some(most))
}

named_schema! {
    /// The schema of an adjustment of stock.
    StockDelta => {
        let not_zero = Extensions::from_iter([("not", serde_json::json!({ "const": 0 }))]);
        integer(-MAX_DELTA, MAX_DELTA).extensions(Some(not_zero)).examples([-2]).build().into()
    }
}

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

/// A body without fields: `{}`, or no body at all.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
