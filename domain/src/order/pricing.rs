//! Pricing of an order: prices from the catalogue, shipping and tax from a small policy. An order is priced once, when
//! it is placed; `OrderPlaced` freezes the result.

use std::collections::BTreeMap;

use eventsourcing::rejections;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{OrderLine, Totals};
use crate::ids::{Sku, StockId};
use crate::money::{Currency, Money, MoneyError};
use crate::quantity::Quantity;

/// The policy by which orders are priced, a part of the configuration. Amounts are net, in minor units per currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricingPolicy {
    /// Tax on goods and shipping, in basis points (1/100 %): 1900 is 19 %.
    pub tax_basis_points: u32,
    /// Cost of shipping an order, in minor units per currency; an order in a currency that is not listed ships free.
    #[serde(deserialize_with = "by_currency")]
    pub shipping: BTreeMap<Currency, i64>,
    /// Subtotal from which shipping is free, in minor units per currency; a currency that is not listed has no such
    /// limit.
    #[serde(deserialize_with = "by_currency")]
    pub free_shipping_from: BTreeMap<Currency, i64>,
}

impl Default for PricingPolicy {
    /// Tax of 19 %; shipping for 4.90 EUR or 5.90 USD, free from 50.00.
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

/// Reads amounts per currency. Environment variables arrive in lower case, so `eur` is EUR.
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

/// A requested line with the catalogue's data of its product, before it is priced.
#[derive(Debug, Clone, PartialEq)]
pub struct LineToPrice {
    /// The stock item that is ordered: a SKU and the location that ships it.
    pub item: StockId,
    /// Number of pieces ordered, 1 to 1 000 000.
    pub quantity: Quantity,
    /// Name of the product in the catalogue.
    pub name: String,
    /// Net price of one piece in the catalogue.
    pub unit_price: Money,
    /// Whether the product is for sale.
    pub active: bool,
}

rejections! {
    /// The reason why an order has no price.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum PricingError {
        /// The order has no lines.
        #[error("an order without lines has no price; give at least one line")]
        NoLines = "line-count",
        /// The product is not for sale.
        #[error("product `{sku}` (line {line}) is not for sale; leave it out, or activate it")]
        ProductNotForSale {
            /// Number of the line, from 1.
            line: usize,
            /// SKU of the product that is not for sale.
            sku: Sku,
        } = "product-not-for-sale",
        /// The products are priced in different currencies.
        #[error("product `{sku}` (line {line}) is priced in {found}, the order is in {has}; order it by itself")]
        CurrencyMismatch {
            /// Number of the line, from 1.
            line: usize,
            /// SKU of the product with the other currency.
            sku: Sku,
            /// Currency of the order, which is that of its first line.
            has: Currency,
            /// Currency of the product's price.
            found: Currency,
        } = "currency-mismatch",
        /// The order costs nothing, or more than an order may cost.
        #[error("the order costs more than {max} minor units; order less", max = Money::MAX_TOTAL)]
        TotalOutOfRange = "total-out-of-range",
    }
}

impl From<MoneyError> for PricingError {
    /// Maps every error of money to the range of the total: currencies were compared before any sum, and at least one
    /// line has a price, so only the size is left.
    fn from(_: MoneyError) -> Self {
        Self::TotalOutOfRange
    }
}

/// Prices an order. Tax is on subtotal − discount + shipping, rounded once, and shared by the lines in proportion to
/// their nets. There are no discounts yet; the formula has a place for them.
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
