//! Why a command on a product is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::decide::{MAX_NAME_CHARS, MAX_PRICE};
use crate::ids::Sku;
use crate::money::{Currency, Money};

rejections! {
    /// Why a command on a product is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// There is no such product.
        #[error("there is no such product; create it first")]
        NotFound = "not-found",
        /// The SKU is taken by a product that was created with another name or price.
        #[error("product `{sku}` already exists with another name or price; choose another SKU, or change its price")]
        AlreadyExists {
            /// The SKU.
            sku: Sku,
        } = "already-exists",
        /// A SKU that no path of the HTTP API can have as a segment.
        #[error("a product cannot be called `{sku}`, which no path can have as a part; choose another SKU")]
        ReservedSku {
            /// The SKU.
            sku: Sku,
        } = "reserved-sku",
        /// Not a price.
        #[error("{price} is no price; a price is more than 0 and at most {max} minor units", max = MAX_PRICE)]
        PriceOutOfRange {
            /// What was asked.
            price: Money,
        } = "price-out-of-range",
        /// Not a name.
        #[error("a name of {chars} characters does not fit; give 1 to {max}", max = MAX_NAME_CHARS)]
        NameLength {
            /// How many characters it had.
            chars: usize,
        } = "name-length",
        /// Another currency than the product's.
        #[error("the product is priced in {has}, not in {asked}; create another product for another currency")]
        CurrencyMismatch {
            /// The product's.
            has: Currency,
            /// What was asked.
            asked: Currency,
        } = "currency-mismatch",
    }
}
