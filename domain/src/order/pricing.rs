//! What an order costs: prices of the catalogue, shipping and tax by a small policy. Worked out once, when the order is
//! placed; the result is frozen in `OrderPlaced`.

use std::collections::BTreeMap;

use eventsourcing::rejections;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{OrderLine, Totals};
use crate::ids::{Sku, StockId};
use crate::money::{Currency, Money, MoneyError};
use crate::quantity::Quantity;

/// How an order is priced. A part of the configuration; amounts are net, in minor units per currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricingPolicy {
    /// Tax on goods and shipping, in basis points (1/100 %): 1900 is 19 %.
    pub tax_basis_points: u32,
    /// Shipping of an order; a currency that is not listed ships free.
    #[serde(deserialize_with = "by_currency")]
    pub shipping: BTreeMap<Currency, i64>,
    /// The subtotal from which shipping is free; a currency that is not listed has no such limit.
    #[serde(deserialize_with = "by_currency")]
    pub free_shipping_from: BTreeMap<Currency, i64>,
}

impl Default for PricingPolicy {
    /// 19 % tax; 4.90 EUR or 5.90 USD shipping, free from 50.00.
    fn default() -> Self {
        let per_currency = |amounts: &[(&str, i64)]| {
            let parsed = amounts.iter().filter_map(|(code, amount)| Some((code.parse().ok()?, *amount)));
            parsed.collect()
        };
        Self {
            tax_basis_points: 1_900,
            shipping: per_currency(&[("EUR", 490), ("USD", 590)]),
            free_shipping_from: per_currency(&[("EUR", 5_000), ("USD", 5_000)]),
        }
    }
}

/// Reads amounts per currency. Environment variables reach us in lower case, so that `eur` is EUR.
fn by_currency<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<Currency, i64>, D::Error> {
    let parsed = BTreeMap::<String, i64>::deserialize(source)?.into_iter().map(|(code, amount)| {
        let currency: Currency = code.to_ascii_uppercase().parse().map_err(D::Error::custom)?;
        if amount < 0 {
            return Err(D::Error::custom(format!("an amount of {amount} {currency} is negative; give 0 or more")));
        }
        Ok((currency, amount))
    });
    parsed.collect()
}

/// A line as it was asked for, with what the catalogue says of its product.
#[derive(Debug, Clone, PartialEq)]
pub struct LineToPrice {
    /// What, and from where it is shipped.
    pub item: StockId,
    /// How many pieces.
    pub quantity: Quantity,
    /// The product's name.
    pub name: String,
    /// The product's net price of one piece.
    pub unit_price: Money,
    /// Whether the product can be ordered.
    pub active: bool,
}

rejections! {
    /// Why there is no price.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum PricingError {
        /// Nothing to price.
        #[error("an order without lines has no price; give at least one line")]
        NoLines = "line-count",
        /// The product cannot be ordered.
        #[error("product `{sku}` (line {line}) is not for sale; leave it out, or activate it")]
        ProductNotForSale {
            /// Which line, from 1.
            line: usize,
            /// Which product.
            sku: Sku,
        } = "product-not-for-sale",
        /// The products are priced in different currencies.
        #[error("product `{sku}` (line {line}) is priced in {found}, the order is in {has}; order it by itself")]
        CurrencyMismatch {
            /// Which line, from 1.
            line: usize,
            /// Which product.
            sku: Sku,
            /// The order's currency.
            has: Currency,
            /// The product's.
            found: Currency,
        } = "currency-mismatch",
        /// The order costs more than an order may.
        #[error("the order costs more than {max} minor units; order less", max = Money::MAX_TOTAL)]
        TotalOutOfRange = "total-out-of-range",
    }
}

impl From<MoneyError> for PricingError {
    /// Currencies were compared before any sum, and there is at least one line with a price: only the size is left.
    fn from(_: MoneyError) -> Self {
        Self::TotalOutOfRange
    }
}

/// Prices an order. Tax is on subtotal − discount + shipping, rounded once, and shared by the lines in proportion to
/// their nets. There is no discount yet; it has its place in the equation.
///
/// # Errors
/// [`PricingError`]: no lines, a product that is not for sale, two currencies, or more than an order may cost.
pub fn price(lines: &[LineToPrice], policy: &PricingPolicy) -> Result<(Vec<OrderLine>, Totals), PricingError> {
    let currency = lines.first().ok_or(PricingError::NoLines)?.unit_price.currency;
    let mut nets = Vec::with_capacity(lines.len());
    let mut subtotal = Money::zero(currency);
    for (index, wish) in lines.iter().enumerate() {
        check(index + 1, wish, currency)?;
        let net = wish.unit_price.times(wish.quantity.get())?;
        nets.push(net);
        subtotal = subtotal.plus(net)?;
    }
    let discount = Money::zero(currency);
    let shipping = policy.shipping_for(subtotal);
    let tax = subtotal.minus(discount)?.plus(shipping)?.basis_points(policy.tax_basis_points)?;
    let total = subtotal.minus(discount)?.plus(tax)?.plus(shipping)?;
    if !(1..=Money::MAX_TOTAL).contains(&total.amount) {
        return Err(PricingError::TotalOutOfRange);
    }
    let weights: Vec<i64> = nets.iter().map(|net| net.amount).collect();
    let (tax_shares, discount_shares) = (tax.allocate(&weights)?, discount.allocate(&weights)?);
    let shares = nets.into_iter().zip(tax_shares).zip(discount_shares);
    let priced =
        lines.iter().zip(shares).zip(1..).map(|((wish, ((net, tax_share), discount_share)), line)| OrderLine {
            line,
            item: wish.item.clone(),
            name: wish.name.clone(),
            quantity: wish.quantity,
            unit_price: wish.unit_price,
            net,
            discount_share,
            tax_share,
        });
    Ok((priced.collect(), Totals { subtotal, discount, tax, shipping, total }))
}

impl PricingPolicy {
    /// What shipping costs for goods of this subtotal.
    fn shipping_for(&self, subtotal: Money) -> Money {
        let free = self.free_shipping_from.get(&subtotal.currency).is_some_and(|from| subtotal.amount >= *from);
        let listed = self.shipping.get(&subtotal.currency).copied().unwrap_or(0);
        Money::new(if free { 0 } else { listed }, subtotal.currency)
    }
}

fn check(line: usize, wish: &LineToPrice, currency: Currency) -> Result<(), PricingError> {
    let sku = || wish.item.sku.clone();
    if !wish.active {
        return Err(PricingError::ProductNotForSale { line, sku: sku() });
    }
    let found = wish.unit_price.currency;
    if found != currency {
        return Err(PricingError::CurrencyMismatch { line, sku: sku(), has: currency, found });
    }
    Ok(())
}
