//! Names of things. Ids that a retry could make again are derived (UUIDv5, RFC 9562 §5.5), never drawn: the second
//! attempt finds what the first one left.

use std::fmt;
use std::str::FromStr;

use eventsourcing::Namespace;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace of every id that is derived here.
pub const NAMESPACE: Namespace = Namespace::new(0x6261_636b_7374_5974_a368_2d69_6473_0001);

/// Derives an id from parts, as [`Namespace::derive`] does.
pub fn derive(parts: &[&str]) -> Uuid {
    NAMESPACE.derive(parts)
}

/// The parts that identify a client's request: who asked, for what, and under which key.
#[derive(Debug, Clone, Copy)]
pub struct ClientKey<'a> {
    /// The tenant, `default` until there are several.
    pub tenant: &'a str,
    /// The authenticated subject that asks, `dev` until there is authentication.
    pub principal: &'a str,
    /// Method and path, such as `POST /v1/orders`.
    pub operation: &'a str,
    /// The value of the client's `Idempotency-Key` header.
    pub idempotency_key: &'a str,
}

impl ClientKey<'_> {
    /// The id of the command: the same request has the same id.
    pub fn command_id(&self) -> Uuid {
        self.derive("command")
    }

    /// The id of the order that `POST /v1/orders` makes: a retry finds the same stream.
    pub fn order_id(&self) -> OrderId {
        OrderId(self.derive("order"))
    }

    fn derive(&self, noun: &str) -> Uuid {
        derive(&[noun, self.tenant, self.principal, self.operation, self.idempotency_key])
    }
}

/// The id of the `index`-th event that a command made, as [`Namespace::event_id`] derives it.
pub fn event_id(command_id: Uuid, index: usize, data: &str) -> Uuid {
    NAMESPACE.event_id(command_id, index, data)
}

/// The id of the reconciliation that began with the event at `version` of a payment's stream: an order may have several.
pub fn reconciliation_id(payment_stream: &str, version: u64) -> Uuid {
    derive(&["payment-reconciliation", payment_stream, &version.to_string()])
}

/// Declares an id that is a UUID, written as such.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// The id of an order.
    OrderId
);
uuid_id!(
    /// The id of a customer. The system knows nothing else of customers.
    CustomerId
);
uuid_id!(
    /// The id of a payment: one authorization and what follows from it. An order's second authorization is another
    /// payment.
    PaymentId
);
uuid_id!(
    /// The id of one request to the payment provider, such as an authorization or a capture. The provider's results
    /// name it.
    RequestId
);
uuid_id!(
    /// The id of a reservation: pieces of one stock item held for one order.
    ReservationId
);
uuid_id!(
    /// The id of a shipment.
    ShipmentId
);

impl OrderId {
    /// The name of the order's stream, `order-<id>`.
    pub fn stream(&self) -> String {
        format!("order-{self}")
    }

    /// The order number for people, short enough to read aloud: 12 characters of Crockford's base 32 (no I, L, O, U)
    /// from the id's last 60 bits. It is not a sequence, because a sequence would differ after the tables are rebuilt.
    pub fn number(&self) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let bits = self.0.as_u128();
        (0..12u32).rev().map(|place| char::from(ALPHABET[((bits >> (place * 5)) & 31) as usize])).collect()
    }
}

impl PaymentId {
    /// The payment of an order's `group`-th authorization, from 0.
    pub fn derive(order: OrderId, group: u32) -> Self {
        Self(derive(&["payment", &order.to_string(), &group.to_string()]))
    }

    /// The name of the payment's stream, `payment-<id>`.
    pub fn stream(&self) -> String {
        format!("payment-{self}")
    }
}

impl RequestId {
    /// The request that a command makes of the provider: a repeated command has the same request.
    pub fn derive(payment: PaymentId, command_id: Uuid) -> Self {
        Self(derive(&["request", &payment.to_string(), &command_id.to_string()]))
    }
}

impl ReservationId {
    /// The reservation of a stock item for an order in the reserve step's `group`, from 0.
    pub fn derive(order: OrderId, item: &StockId, group: u32) -> Self {
        Self(derive(&["reservation", &order.to_string(), &item.stream(), &group.to_string()]))
    }
}

impl ShipmentId {
    /// The shipment of an order in the planning step's `group`, from 0.
    pub fn derive(order: OrderId, group: u32) -> Self {
        Self(derive(&["shipment", &order.to_string(), &group.to_string()]))
    }

    /// The name of the shipment's stream, `shipment-<id>`.
    pub fn stream(&self) -> String {
        format!("shipment-{self}")
    }
}

/// A text that is not the id of anything: each variant holds the text that was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not a SKU.
    #[error("a SKU has 1 to 64 characters of A-Z a-z 0-9 . _ -, not `{0}`")]
    Sku(String),
    /// The text is not a location.
    #[error("a location has 1 to 32 characters of a-z 0-9 _ -, not `{0}`")]
    Location(String),
    /// The text is not a stock item.
    #[error("a stock item is written `<sku>@<location>`, not `{0}`")]
    Stock(String),
}

/// A stock-keeping unit, the id of a product: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`, such as `MUG-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

impl Sku {
    /// The SKU as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path of the HTTP API can have it as a segment: `.` and `..` are resolved or refused on the way. Nothing new is
    /// called so; logs of releases up to 0.2.0 may have such names, which are read as before.
    pub fn fits_in_a_path(&self) -> bool {
        !matches!(self.0.as_str(), "." | "..")
    }

    /// The name of the product's stream, `product-<sku>`.
    pub fn product_stream(&self) -> String {
        format!("product-{self}")
    }
}

impl Default for Sku {
    /// `-`, which the state of a stream without events has; no product bears it.
    fn default() -> Self {
        Self("-".to_owned())
    }
}

impl TryFrom<String> for Sku {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=64).contains(&text.len()) && text.chars().all(fits) { Ok(Self(text)) } else { Err(IdError::Sku(text)) }
    }
}

/// A place that holds stock: 1 to 32 of the characters `a-z 0-9 _ -`, such as `main`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Location(String);

impl Location {
    /// The location as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Location {
    /// `main`, the location of goods when a request names none.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl TryFrom<String> for Location {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if (1..=32).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text))
        } else {
            Err(IdError::Location(text))
        }
    }
}

/// Conversions from and to text, for the ids that are not UUIDs.
macro_rules! text_id {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}
text_id!(Sku);
text_id!(Location);
text_id!(StockId);

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stock item: one SKU at one location, written `<sku>@<location>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct StockId {
    /// The SKU of the product, the part before `@`.
    pub sku: Sku,
    /// The place where the pieces are kept, the part after `@`.
    pub location: Location,
}

impl StockId {
    /// The name of the stock item's stream, `stock-<sku>@<location>`.
    pub fn stream(&self) -> String {
        format!("stock-{self}")
    }
}

impl fmt::Display for StockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.sku, self.location)
    }
}

impl TryFrom<String> for StockId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        match text.split_once('@') {
            Some((sku, location)) => Ok(Self { sku: sku.parse()?, location: location.parse()? }),
            None => Err(IdError::Stock(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: OrderId = OrderId(Uuid::from_u128(1));

    #[test]
    fn derived_ids_never_change_because_old_logs_depend_on_them() {
        let key =
            ClientKey { tenant: "default", principal: "dev", operation: "POST /v1/orders", idempotency_key: "k-1" };
        let item: StockId = "MUG-1@main".parse().unwrap();
        let ids = [
            key.command_id(),
            key.order_id().0,
            PaymentId::derive(ORDER, 0).0,
            ShipmentId::derive(ORDER, 1).0,
            ReservationId::derive(ORDER, &item, 0).0,
            RequestId::derive(PaymentId::derive(ORDER, 0), Uuid::from_u128(2)).0,
            event_id(Uuid::from_u128(3), 0, "{}"),
            saga_engine::ids::event(&NAMESPACE, "saga_order_fulfilment-x", 4, "{}"),
            saga_engine::ids::command(&NAMESPACE, "saga_order_fulfilment-x", "reserve", "do", 0, "stock-MUG-1@main"),
        ];
        let golden = include_str!("../golden/derived_ids.txt");
        let shown: String = ids.iter().map(|id| format!("{id}\n")).collect();
        assert_eq!(shown, golden);
    }

    #[test]
    fn no_two_lists_of_parts_read_the_same() {
        assert_ne!(derive(&["ab", "c"]), derive(&["a", "bc"]));
        assert_ne!(derive(&["a"]), derive(&["a", ""]));
        assert_ne!(derive(&["1:a"]), derive(&["1", "a"]));
    }

    #[test]
    fn an_order_number_has_twelve_characters_that_nobody_misreads() {
        assert_eq!(ORDER.number(), "000000000001");
        let number = OrderId(Uuid::from_u128(u128::MAX)).number();
        assert_eq!(number, "ZZZZZZZZZZZZ");
        assert_eq!(OrderId(Uuid::from_u128(0x1234_5678_9ABC_DEF0)).number().len(), 12);
    }

    #[test]
    fn names_of_things_are_parsed_once_and_written_as_they_were() {
        let longest = "x".repeat(64);
        for sku in ["A", "MUG-1", "a.b_c-9", longest.as_str()] {
            assert_eq!(sku.parse::<Sku>().unwrap().to_string(), sku);
        }
        for (sku, fits) in [(".", false), ("..", false), ("...", true), ("..a", true), ("-", true)] {
            let read: Sku = sku.parse().expect("old events have such names");
            assert_eq!(read.fits_in_a_path(), fits, "{sku}");
        }
        let too_long = "x".repeat(65);
        for sku in ["", " ", "a b", "ä", "a@b", "a/b", too_long.as_str()] {
            assert_eq!(sku.parse::<Sku>(), Err(IdError::Sku(sku.into())));
        }
        for location in ["", "Main", "a.b", "a@b", &"x".repeat(33)] {
            assert_eq!(location.parse::<Location>(), Err(IdError::Location(location.into())));
        }
    }

    #[test]
    fn a_stock_item_is_a_sku_at_a_location() {
        let item: StockId = "MUG-1@north_2".parse().unwrap();
        assert_eq!((item.sku.as_str(), item.location.as_str()), ("MUG-1", "north_2"));
        assert_eq!(item.stream(), "stock-MUG-1@north_2");
        assert_eq!(serde_json::to_string(&item).unwrap(), r#""MUG-1@north_2""#);
        for text in ["MUG-1", "@main", "MUG-1@", "MUG-1@a@b"] {
            assert!(text.parse::<StockId>().is_err(), "{text}");
        }
    }
}
