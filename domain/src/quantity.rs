//! How many of something.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of pieces, 1 to [`Quantity::MAX`]. The cap lets rules add quantities in plain `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(#[schemars(range(min = 1, max = 1_000_000))] i64);

/// A number of pieces out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number from 1 to {max}, not {0}", max = Quantity::MAX)]
pub struct QuantityError(pub i64);

impl Quantity {
    /// The largest quantity a command may name.
    pub const MAX: i64 = 1_000_000;

    /// A quantity from a number.
    ///
    /// # Errors
    /// [`QuantityError`] outside of 1 to [`Self::MAX`].
    pub fn new(pieces: i64) -> Result<Self, QuantityError> {
        if (1..=Self::MAX).contains(&pieces) { Ok(Self(pieces)) } else { Err(QuantityError(pieces)) }
    }

    /// The sum, at most [`Self::MAX`]. PlaceOrder refuses orders whose sums are more.
    #[must_use]
    pub fn saturating_plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(Self::MAX)) // Both are at most a million: the sum is far from overflow.
    }

    /// The number of pieces.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = QuantityError;
    fn try_from(pieces: i64) -> Result<Self, QuantityError> {
        Self::new(pieces)
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> i64 {
        quantity.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_a_whole_number_from_one_to_a_million() {
        for pieces in [1, 2, Quantity::MAX] {
            assert_eq!(Quantity::new(pieces).map(Quantity::get), Ok(pieces));
        }
        for pieces in [0, -1, i64::MIN, Quantity::MAX + 1, 1_000_000_000, i64::MAX] {
            assert_eq!(Quantity::new(pieces), Err(QuantityError(pieces)));
            assert!(serde_json::from_str::<Quantity>(&pieces.to_string()).is_err());
        }
        assert!(serde_json::from_str::<Quantity>("1.5").is_err());
    }

    #[test]
    fn a_sum_of_quantities_stays_a_quantity() {
        let most = Quantity::new(Quantity::MAX).unwrap();
        assert_eq!(most.saturating_plus(most), most);
    }
}
