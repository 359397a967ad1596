//! What an order costs, the same for every edge: each product is looked up once, and the shop's policy does the rest.

use domain::Rejected as _;
use domain::ids::StockId;
use domain::money::Currency;
use domain::order::pricing::{self, LineToPrice, PricingError, PricingPolicy};
use domain::order::{MAX_LINES, OrderLine, Totals};
use domain::product::Product;
use domain::quantity::Quantity;

use crate::{CommandBus, SendError};

/// A line of an order that has no price yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    /// The stock item that it is shipped from.
    pub item: StockId,
    /// The number of pieces.
    pub quantity: Quantity,
}

/// Why an order has no price.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Unpriced {
    /// The order has more lines than are looked up.
    #[error("{0} lines do not make an order; give 1 to {max}", max = MAX_LINES)]
    LineCount(usize),
    /// A line names a product that nobody has created. Lines count from 1.
    #[error("there is no such product; nothing was ordered")]
    NoProduct { line: usize },
    /// The prices are not in the currency that the client asked for.
    #[error("the prices are in {found}, not in {asked}")]
    OtherCurrency { found: Currency, asked: Currency },
    /// The shop's policy gives no price.
    #[error(transparent)]
    Rule(#[from] PricingError),
    /// The products cannot be read now.
    #[error("the prices cannot be looked up now")]
    NotNow(#[source] SendError),
}

impl Unpriced {
    /// The code of the refusal; none where nothing was decided.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::LineCount(_) => Some("line-count"),
            Self::NoProduct { .. } => Some("product-not-for-sale"),
            Self::OtherCurrency { .. } => Some("currency-mismatch"),
            Self::Rule(error) => Some(error.code()),
            Self::NotNow(_) => None,
        }
    }
}

/// Prices an order. The answer waits until the prices are durable.
///
/// # Errors
/// [`Unpriced`]; `currency` is the one that the prices must have, if the client names one.
pub(crate) async fn price(
    bus: &CommandBus,
    policy: &PricingPolicy,
    wishes: &[Wish],
    currency: Option<Currency>,
) -> Result<(Vec<OrderLine>, Totals), Unpriced> {
    if wishes.len() > MAX_LINES {
        return Err(Unpriced::LineCount(wishes.len()));
    }
    let mut lines: Vec<LineToPrice> = Vec::with_capacity(wishes.len());
    for (wish, line) in wishes.iter().zip(1..) {
        let known = lines.iter().find(|known| known.item.sku == wish.item.sku);
        let (name, unit_price, active) = match known {
            Some(known) => (known.name.clone(), known.unit_price, known.active),
            None => {
                let no_product = |_| Unpriced::NoProduct { line };
                let stream = wish.item.sku.product_stream().parse().map_err(no_product)?;
                let product = bus.load::<Product>(&stream).await.map_err(Unpriced::NotNow)?.state;
                if !product.exists() {
                    return Err(Unpriced::NoProduct { line });
                }
                (product.name.clone(), product.price, product.is_active())
            }
        };
        lines.push(LineToPrice { item: wish.item.clone(), quantity: wish.quantity, name, unit_price, active });
    }
    if let (Some(asked), Some(first)) = (currency, lines.first())
        && asked != first.unit_price.currency
    {
        return Err(Unpriced::OtherCurrency { found: first.unit_price.currency, asked });
    }
    Ok(pricing::price(&lines, policy)?)
}
