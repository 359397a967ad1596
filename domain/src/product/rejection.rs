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
            /// SKU of the product.
            sku: Sku,
        } = "already-exists",
        /// The SKU is `.` or `..`, which cannot be a segment of a path of the HTTP API.
        #[error("a product cannot be called `{sku}`, which no path can have as a part; choose another SKU")]
        ReservedSku {
            /// SKU that was asked for.
            sku: Sku,
        } = "reserved-sku",
        /// The price is 0, negative or too large.
        #[error("{price} is no price; a price is more than 0 and at most {max} minor units", max = MAX_PRICE)]
        PriceOutOfRange {
            /// Price that was asked for.
            price: Money,
        } = "price-out-of-range",
        /// The name is empty or too long.
        #[error("a name of {chars} characters does not fit; give 1 to {max}", max = MAX_NAME_CHARS)]
        NameLength {
            /// How many characters it had.
            chars: usize,
        } = "name-length",
        /// The price is in another currency than the product's.
        #[error("the product is priced in {has}, not in {asked}; create another product for another currency")]
        CurrencyMismatch {
            /// Currency of the product's price.
            has: Currency,
            /// Currency of the command.
            asked: Currency,
        } = "currency-mismatch",
    }
}
