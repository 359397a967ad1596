//! Shapes that several bodies share, for the OpenAPI document: the domain knows nothing of HTTP.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units (cent, yen, fils) of its currency: `{"amount": 1999, "currency": "EUR"}` is 19.99 €.
#[derive(Debug, ToSchema)]
#[schema(as = Money)]
#[allow(dead_code, reason = "describes `domain::money::Money` in the OpenAPI document")]
pub struct MoneySchema {
    /// Minor units.
    #[schema(example = 1999)]
    amount: i64,
    /// ISO 4217, with minor units.
    #[schema(example = "EUR", pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// No fields.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
