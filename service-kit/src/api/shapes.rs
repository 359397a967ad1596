//! The shapes that several services' operations share: money, positions, the texts of parameters with their patterns.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};

use crate::text;

/// The largest position that a client can give: 2^53 - 1, the largest integer that JavaScript reads exactly. A log of
/// our own counts events from 1; KurrentDB's positions are bytes, and 9 PB are beyond any log.
pub const POSITION_MAX: u64 = (1 << 53) - 1;

/// The largest `limit` of a list: some 200 kB of orders.
pub const PAGE_MAX: usize = 200;

/// An amount in minor units (cent, yen, fils) of its currency: `{"amount": 1999, "currency": "EUR"}` is 19.99 €.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// The amount in minor units.
    #[schema(example = 1999)]
    pub amount: i64,
    /// The currency, an ISO 4217 code.
    #[schema(example = "EUR", min_length = 3, max_length = 3, pattern = "^[A-Z]{3}$")]
    pub currency: String,
}

named_schema! {
    /// The schema of a position of the log.
    LogPosition => ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
        .maximum(Some(POSITION_MAX))
        .description(Some("A position of the log: it grows in the order in which events were committed."))
        .examples([1])
        .build()
        .into()
}

/// Declares schemas of texts with a pattern, to be used inline.
macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident: $min:literal to $max:literal of $pattern:expr, such as $example:literal;)+) => {$(
        named_schema! {
            $(#[doc = $doc])+
            $name => ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some($min))
                .max_length(Some($max))
                .pattern($pattern)
                .examples([$example])
                .build()
                .into()
        }
    )+};
}

texts! {
    /// A stock keeping unit, as `domain::ids::Sku` reads it.
    SkuText: 1 to 64 of Some("^[A-Za-z0-9._-]+$"), such as "TSHIRT-M";
    /// The SKU of a product that is created: not `.` nor `..`, as `domain::ids::Sku::fits_in_a_path` says.
    NewSkuText: 1 to 64 of Some(r"^([A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*|\.{3,})$"), such as "TSHIRT-M";
    /// A location of stock, as `domain::ids::Location` reads it.
    LocationText: 1 to 32 of Some("^[a-z0-9_-]+$"), such as "main";
    /// A cursor: `next` of the page before.
    CursorText: 1 to 512 of Some("^[A-Za-z0-9_-]+$"), such as "b3JkZXJzCg";
    /// A stream's name: printable ASCII; most are a category, a hyphen and an id.
    StreamText: 1 to 250 of Some("^[!-~]+$"), such as "stock-TSHIRT-M@main";
    /// The id of a saga.
    SagaPath: 38 to 128 of Some("^[a-z_]+-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
        such as "order_fulfilment-0198c0de-5f3e-4a43-9d3c-2f6f5d5c2b11";
    /// The id or the number of an order.
    OrderPath: 12 to 36 of Some("^([0-9A-TV-Za-tv-z]{12}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"),
        such as "4QX9K2M7R1TB";
    /// A time span: a whole number and a unit (s, m, h, d).
    TimeSpanText: 2 to 6 of Some("^[0-9]{1,5}[smhd]$"), such as "5m";
    /// A condition on an event's payload or metadata, as `event_store::find::Condition` reads it.
    ConditionText: 6 to 200 of Some(r"^(data|metadata)(\.[A-Za-z0-9_:-]+)+((=|!=)[ -~]*|(<=?|>=?|~)[!-~]+)$"),
        such as "data.sku=MUG";
    /// The name of a time zone in the IANA time zone database.
    TimeZoneText: 2 to 64 of Some("^[A-Za-z][A-Za-z0-9_+/-]+$"), such as "Europe/Berlin";
    /// A reason that a person gives.
    ReasonText: 1 to 200 of Some(text::NOT_BLANK_PATTERN), such as "count of 21 November";
    /// A reason that an operator gives, a sentence or two.
    LongReasonText: 1 to 500 of Some(text::NOT_BLANK_PATTERN), such as "agreed with the warehouse by phone";
    /// The name of a person.
    PersonText: 1 to 64 of Some(text::NOT_BLANK_PATTERN), such as "alice";
    /// The name of a product, as people read it.
    ProductNameText: 1 to 200 of Some(text::NOT_BLANK_PATTERN), such as "T-shirt, M";
    /// A label of an order.
    TagText: 1 to 50 of Some(text::PATTERN), such as "gift";
}

named_schema! {
    /// A day (RFC 3339, `full-date`).
    DayText => ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
        .examples(["2026-11-21"])
        .build()
        .into()
}

named_schema! {
    /// A moment (RFC 3339), or a day.
    MomentText => {
        let text = |format| {
            ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format))).build()
        };
        let either = AnyOfBuilder::new().item(text(KnownFormat::Date)).item(text(KnownFormat::DateTime));
        RefOr::T(Schema::AnyOf(either.examples(["2026-11-21"]).build()))
    }
}

/// The size of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes the parameters in the OpenAPI document; the handlers read them")]
pub struct LimitQuery {
    /// The most items of the answer; 50 where it is not given, 200 for reports and timelines.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, example = 50)]
    limit: Option<usize>,
}

/// The page of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes the parameters in the OpenAPI document; the handlers read them")]
pub struct PageQuery {
    /// The most items of the page; 50 where it is not given, 200 for reports and timelines.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, example = 50)]
    limit: Option<usize>,
    /// The place where the page begins: `next` of the page before, with the same filters.
    #[param(min_length = 1, max_length = 512, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}
