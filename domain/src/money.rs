//! Money: whole minor units (cent, yen, fils) of a currency, checked arithmetic, never a float.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An ISO 4217 currency that has minor units, by its three letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The euro, the currency of an empty state.
    pub const EUR: Self = Self(*b"EUR");

    /// The ISO 4217 code, three capital letters such as `EUR`.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made from the ASCII letters of an ISO 4217 code only")
    }

    /// All currencies, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        let letters = || b'A'..=b'Z';
        let codes = letters().flat_map(move |a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])));
        codes.filter_map(|code| std::str::from_utf8(&code).ok()?.parse().ok())
    }

    /// How many decimal places a major unit has: JPY 0, EUR 2, KWD 3. Source: ISO 4217, table A.1.
    pub fn exponent(&self) -> u16 {
        iso_currency::Currency::from_code(self.code()).and_then(|iso| iso.exponent()).unwrap_or(0)
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::EUR
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(code: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency(code.to_owned());
        // Codes without minor units (XAU, XXX) are no currencies to pay in.
        iso_currency::Currency::from_code(code).and_then(|iso| iso.exponent()).ok_or_else(unknown)?;
        code.as_bytes().try_into().map(Self).map_err(|_| unknown())
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(code: String) -> Result<Self, MoneyError> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Z]{3}$", "description": "An ISO 4217 currency code."})
    }
}

/// The reason why an amount or a currency was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a code of ISO 4217, or one without minor units.
    #[error("`{0}` is not an ISO 4217 currency with minor units, such as EUR, JPY or KWD")]
    UnknownCurrency(String),
    /// The amounts are in two currencies.
    #[error("{0} and {1} cannot be added: convert first")]
    CurrencyMismatch(Currency, Currency),
    /// The amount does not fit into 64 bits.
    #[error("the amount is beyond what a total may be")]
    Overflow,
    /// The weights to split by are empty, all 0, or one is negative.
    #[error("an amount cannot be split by weights that are all 0")]
    NoWeight,
}

/// An amount in minor units of its currency: `{"amount": 1999, "currency": "EUR"}` is 19.99 €.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Amount in minor units of the currency (cents, yen, fils): 1999 in EUR is 19.99 €.
    pub amount: i64,
    /// ISO 4217 code of the currency, such as `EUR`.
    pub currency: Currency,
}

impl Money {
    /// The largest amount that a total may have, in minor units.
    pub const MAX_TOTAL: i64 = 1_000_000_000_000;

    /// Money of `amount` minor units in `currency`.
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// An amount of 0 in `currency`.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// Adds two amounts of one currency.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::Overflow`].
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.amount.checked_add(other.amount).map(|amount| Self::new(amount, self.currency)).ok_or(MoneyError::Overflow)
    }

    /// Subtracts `other`; the result is negative where `other` is more.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::Overflow`].
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        self.amount.checked_sub(other.amount).map(|amount| Self::new(amount, self.currency)).ok_or(MoneyError::Overflow)
    }

    /// Multiplies the amount by a whole number.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn times(self, factor: i64) -> Result<Self, MoneyError> {
        self.amount.checked_mul(factor).map(|amount| Self::new(amount, self.currency)).ok_or(MoneyError::Overflow)
    }

    /// Takes a share in basis points (1/100 %), rounded half away from zero to the minor unit.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn basis_points(self, points: u32) -> Result<Self, MoneyError> {
        let scaled = i128::from(self.amount) * i128::from(points);
        let rounded = (scaled.abs() + 5_000) / 10_000 * scaled.signum();
        i64::try_from(rounded).map(|amount| Self::new(amount, self.currency)).map_err(|_| MoneyError::Overflow)
    }

    /// Splits the amount by `weights`, so that the parts add up to it to the last minor unit. Units left over go to
    /// the largest remainders, the earlier one first: the same input gives the same split.
    ///
    /// # Errors
    /// [`MoneyError::NoWeight`] if the weights are empty or all 0 or one is negative.
    ///
    /// Source: largest remainder method (Hamilton).
    pub fn allocate(self, weights: &[i64]) -> Result<Vec<Self>, MoneyError> {
        let sum: i128 = weights.iter().map(|&weight| i128::from(weight)).sum();
        if sum <= 0 || weights.iter().any(|&weight| weight < 0) {
            return Err(MoneyError::NoWeight);
        }
        let scaled = |weight: &i64| i128::from(self.amount.abs()) * i128::from(*weight);
        let mut parts: Vec<i128> = weights.iter().map(|weight| scaled(weight) / sum).collect();
        let left_over = i128::from(self.amount.abs()) - parts.iter().sum::<i128>();
        let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
        by_remainder.sort_by_key(|&index| std::cmp::Reverse(scaled(&weights[index]) % sum)); // Stable: earlier first.
        for &index in by_remainder.iter().take(usize::try_from(left_over).unwrap_or(0)) {
            parts[index] += 1;
        }
        let sign = i128::from(self.amount.signum());
        parts
            .into_iter()
            .map(|part| i64::try_from(part * sign).map(|amount| Self::new(amount, self.currency)))
            .collect::<Result<_, _>>()
            .map_err(|_| MoneyError::Overflow)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch(self.currency, other.currency))
        }
    }
}

impl fmt::Display for Money {
    /// Writes the amount in major units with the currency's decimal places: `19.99 EUR`, `1999 JPY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = usize::from(self.currency.exponent());
        let (sign, digits) = (if self.amount < 0 { "-" } else { "" }, self.amount.unsigned_abs().to_string());
        if exponent == 0 {
            return write!(f, "{sign}{digits} {}", self.currency);
        }
        let padded = format!("{digits:0>width$}", width = exponent + 1);
        let (major, minor) = padded.split_at(padded.len() - exponent);
        write!(f, "{sign}{major}.{minor} {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(amount: i64, code: &str) -> Money {
        Money::new(amount, code.parse().unwrap())
    }

    #[test]
    fn money_is_shown_in_major_units_with_the_places_of_its_currency() {
        let shown = [
            (money(1_999, "EUR"), "19.99 EUR"),
            (money(5, "EUR"), "0.05 EUR"),
            (money(-5, "EUR"), "-0.05 EUR"),
            (money(1_999, "JPY"), "1999 JPY"),
            (money(0, "JPY"), "0 JPY"),
            (money(1_999, "KWD"), "1.999 KWD"),
            (money(-1, "KWD"), "-0.001 KWD"),
            (money(i64::MIN, "JPY"), "-9223372036854775808 JPY"),
        ];
        for (amount, text) in shown {
            assert_eq!(amount.to_string(), text);
        }
    }

    #[test]
    fn a_currency_is_one_of_iso_4217_with_minor_units() {
        for (code, exponent) in [("JPY", 0), ("EUR", 2), ("KWD", 3)] {
            assert_eq!(code.parse::<Currency>().unwrap().exponent(), exponent);
        }
        for code in ["", "EU", "eur", "EURO", "ZZZ", "XAU", "XXX", "€€€"] {
            assert_eq!(code.parse::<Currency>(), Err(MoneyError::UnknownCurrency(code.into())));
        }
    }

    #[test]
    fn all_currencies_are_listed_by_code() {
        let codes: Vec<String> = Currency::all().map(String::from).collect();
        assert!(codes.is_sorted() && codes.len() > 150, "{codes:?}");
        for code in ["AED", "EUR", "JPY", "KWD", "ZWL"] {
            assert!(codes.iter().any(|known| known == code), "{code}");
        }
        assert!(!codes.iter().any(|known| known == "XAU"));
    }

    #[test]
    fn money_reads_whole_numbers_only_and_no_other_fields() {
        let read = |text| serde_json::from_str::<Money>(text);
        assert_eq!(read(r#"{"amount": 1999, "currency": "EUR"}"#).unwrap(), money(1_999, "EUR"));
        for wrong in [
            r#"{"amount": 19.99, "currency": "EUR"}"#,
            r#"{"amount": "1999", "currency": "EUR"}"#,
            r#"{"amount": 9223372036854775808, "currency": "EUR"}"#,
            r#"{"amount": 1999}"#,
            r#"{"amount": 1999, "currency": "EUR", "tax": 1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sums_are_checked_for_currency_and_size() {
        let (one, most) = (money(1, "EUR"), money(i64::MAX, "EUR"));
        let mismatch = MoneyError::CurrencyMismatch(one.currency, "USD".parse().unwrap());
        assert_eq!(one.plus(money(1, "USD")), Err(mismatch.clone()));
        assert_eq!(one.minus(money(1, "USD")), Err(mismatch));
        assert_eq!(most.plus(one), Err(MoneyError::Overflow));
        assert_eq!(money(i64::MIN, "EUR").minus(one), Err(MoneyError::Overflow));
        assert_eq!(most.times(2), Err(MoneyError::Overflow));
        assert_eq!(most.basis_points(20_000), Err(MoneyError::Overflow));
        assert_eq!(one.minus(money(3, "EUR")), Ok(money(-2, "EUR")));
    }

    #[test]
    fn a_share_is_rounded_half_away_from_zero() {
        let shares = [(50, 1_000, 5), (45, 1_000, 5), (44, 1_000, 4), (-45, 1_000, -5), (-44, 1_000, -4), (7, 0, 0)];
        for (amount, points, share) in shares {
            assert_eq!(money(amount, "EUR").basis_points(points), Ok(money(share, "EUR")), "{amount} × {points}");
        }
    }

    #[test]
    fn what_is_left_over_goes_to_the_largest_remainders_the_earlier_first() {
        let split = |amount, weights: &[i64]| {
            let parts = money(amount, "EUR").allocate(weights).unwrap();
            parts.into_iter().map(|part| part.amount).collect::<Vec<_>>()
        };
        assert_eq!(split(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(split(-100, &[1, 1, 1]), [-34, -33, -33]);
        assert_eq!(split(5, &[3, 7]), [2, 3]);
        assert_eq!(split(5, &[0, 7]), [0, 5]);
        assert_eq!(split(0, &[1, 2]), [0, 0]);
    }

    #[test]
    fn nothing_is_split_by_no_weight() {
        for weights in [&[][..], &[0, 0], &[1, -1], &[-1, 3]] {
            assert_eq!(money(1, "EUR").allocate(weights), Err(MoneyError::NoWeight));
        }
    }

    proptest! {
        #[test]
        fn the_parts_add_up_to_the_last_minor_unit(
            amount in -Money::MAX_TOTAL..=Money::MAX_TOTAL,
            weights in proptest::collection::vec(0..=Money::MAX_TOTAL, 1..100)
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let parts = money(amount, "EUR").allocate(&weights).unwrap();
            prop_assert_eq!(parts.iter().map(|part| part.amount).sum::<i64>(), amount);
            let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                // Each part is its exact share, rounded one way or the other.
                let exact = i128::from(amount) * i128::from(*weight);
                prop_assert!((i128::from(part.amount) * total - exact).abs() < total);
            }
        }
    }
}
