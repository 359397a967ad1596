//! The rules of a product.

use super::{
    ActivateProduct, ChangeProductPrice, Command, CreateProduct, DiscontinueProduct, Event, Product, ProductActivated,
    ProductCreated, ProductDiscontinued, ProductPriceChanged, Rejection, Status,
};
use crate::money::Money;

/// The largest price of one piece, in minor units: a line of a million pieces is still checked against the cap of a
/// total (10¹²) without overflow.
pub const MAX_PRICE: i64 = 1_000_000_000;

/// The longest name, in characters: what a list still shows on a line or two.
pub const MAX_NAME_CHARS: usize = 200;

type Decision = Result<Vec<Event>, Rejection>;

pub(super) fn decide(product: &Product, command: &Command) -> Decision {
    match command {
        Command::CreateProduct(c) => create(product, c),
        Command::ChangeProductPrice(c) => change_price(product, c),
        Command::ActivateProduct(c) => activate(product, c),
        Command::DiscontinueProduct(c) => discontinue(product, c),
    }
}

/// Rule: a SKU names one product for ever. A repeat of the first creation is accepted and changes nothing, whatever
/// happened to the product since.
fn create(product: &Product, c: &CreateProduct) -> Decision {
    if product.exists() {
        let same = product.name == c.name && product.created.price == c.price;
        return if same { Ok(vec![]) } else { Err(Rejection::AlreadyExists { sku: c.sku.clone() }) };
    }
    if !c.sku.fits_in_a_path() {
        return Err(Rejection::ReservedSku { sku: c.sku.clone() });
    }
    let chars = c.name.chars().count();
    if chars > MAX_NAME_CHARS || c.name.trim().is_empty() {
        return Err(Rejection::NameLength { chars });
    }
    check_price(c.price)?;
    let created = ProductCreated { sku: c.sku.clone(), name: c.name.clone(), price: c.price };
    let mut events = vec![Event::ProductCreated(created)];
    if c.active {
        events.push(Event::ProductActivated(ProductActivated {}));
    }
    Ok(events)
}

/// Rule: a product keeps its currency, so that prices of all times compare.
fn change_price(product: &Product, c: &ChangeProductPrice) -> Decision {
    if !product.exists() {
        return Err(Rejection::NotFound);
    }
    if c.price.currency != product.price.currency {
        return Err(Rejection::CurrencyMismatch { has: product.price.currency, asked: c.price.currency });
    }
    check_price(c.price)?;
    if c.price == product.price {
        return Ok(vec![]);
    }
    Ok(vec![Event::ProductPriceChanged(ProductPriceChanged { price: c.price, previous: product.price })])
}

/// Rule: every existing product can be put on sale, also a discontinued one.
fn activate(product: &Product, _: &ActivateProduct) -> Decision {
    match product.status {
        Status::Missing => Err(Rejection::NotFound),
        Status::Active => Ok(vec![]),
        Status::Inactive | Status::Discontinued => Ok(vec![Event::ProductActivated(ProductActivated {})]),
    }
}

/// Rule: every existing product can be taken off sale.
fn discontinue(product: &Product, _: &DiscontinueProduct) -> Decision {
    match product.status {
        Status::Missing => Err(Rejection::NotFound),
        Status::Discontinued => Ok(vec![]),
        Status::Inactive | Status::Active => Ok(vec![Event::ProductDiscontinued(ProductDiscontinued {})]),
    }
}

fn check_price(price: Money) -> Result<(), Rejection> {
    if (1..=MAX_PRICE).contains(&price.amount) { Ok(()) } else { Err(Rejection::PriceOutOfRange { price }) }
}
