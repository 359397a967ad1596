//! The rules of placing an order: the handler has resolved the prices, and the rules here prove that they add up.

use super::Rejection;
use super::decide::Decision;
use super::{Event, Order, OrderLine, OrderPlaced, PlaceOrder, Status, Totals};
use crate::aggregate::Timestamp;
use crate::money::{Currency, Money, MoneyError};
use crate::product::MAX_PRICE;
use crate::quantity::Quantity;

/// The most lines of an order. A person can still check as many, and one saga step can still reserve them at once.
pub const MAX_LINES: usize = 100;

/// The most tags of an order.
pub const MAX_TAGS: usize = 20;

/// The longest tag, in characters.
pub const MAX_TAG_CHARS: usize = 50;

/// The longest card token, in characters.
pub const MAX_PAYMENT_METHOD_CHARS: usize = 100;

/// Rule: an order has 1 to 100 lines in one currency from one location, and its totals are the sums of its lines,
/// shipping and tax less the discount. A repeat of the same order is accepted and changes nothing, whatever its prices
/// have become.
pub(super) fn place(order: &Order, c: &PlaceOrder, now: Timestamp) -> Decision {
    if order.status != Status::None {
        return if is_same(order, c) { Ok(vec![]) } else { Err(Rejection::AlreadyExists) };
    }
    check_labels(c)?;
    if !(1..=MAX_LINES).contains(&c.lines.len()) {
        return Err(Rejection::LineCount(c.lines.len()));
    }
    let currency = c.totals.total.currency;
    for (index, line) in c.lines.iter().enumerate() {
        check_line(index + 1, line, currency)?;
    }
    check_pieces(c)?;
    check_location(c)?;
    check_totals(c, currency)?;
    if let Some(expected) = c.expected_total.filter(|expected| *expected != c.totals.total) {
        return Err(Rejection::PriceChanged { expected, actual: c.totals.total });
    }
    Ok(vec![Event::OrderPlaced(OrderPlaced {
        order_id: c.order_id,
        number: c.order_id.number(),
        customer_id: c.customer_id,
        lines: c.lines.clone(),
        totals: c.totals,
        payment_method: c.payment_method.clone(),
        tags: c.tags.clone(),
        placed_at: now,
    })])
}

/// Whether the command asks for the order that was placed. Prices are not compared: they are ours and may have changed.
fn is_same(order: &Order, c: &PlaceOrder) -> bool {
    fn wishes(lines: &[OrderLine]) -> impl Iterator<Item = (&crate::ids::StockId, Quantity)> {
        lines.iter().map(|line| (&line.item, line.quantity))
    }
    order.customer_id == c.customer_id
        && order.payment_method == c.payment_method
        && order.tags == c.tags
        && wishes(&order.lines).eq(wishes(&c.lines))
}

fn check_labels(c: &PlaceOrder) -> Result<(), Rejection> {
    let chars = c.payment_method.chars().count();
    if !(1..=MAX_PAYMENT_METHOD_CHARS).contains(&chars) {
        return Err(Rejection::PaymentMethodLength(chars));
    }
    let fits = |tag: &String| (1..=MAX_TAG_CHARS).contains(&tag.chars().count());
    if c.tags.len() > MAX_TAGS || !c.tags.iter().all(fits) {
        return Err(Rejection::InvalidTags);
    }
    Ok(())
}

fn check_line(line: usize, l: &OrderLine, currency: Currency) -> Result<(), Rejection> {
    for money in [l.unit_price, l.net, l.discount_share, l.tax_share] {
        check_currency(currency, money)?;
    }
    let invalid = |why| Err(Rejection::InvalidLine { line, why });
    if usize::try_from(l.line) != Ok(line) {
        return invalid("lines are numbered from 1 without a gap");
    }
    if !(1..=MAX_PRICE).contains(&l.unit_price.amount) {
        return invalid("its price is not one");
    }
    if l.unit_price.times(l.quantity.get()) != Ok(l.net) {
        return invalid("its net is not price times quantity");
    }
    if !(0..=l.net.amount).contains(&l.discount_share.amount) {
        return invalid("its discount is negative or more than its net");
    }
    if l.tax_share.amount < 0 {
        return invalid("its tax is negative");
    }
    Ok(())
}

/// One reservation is made for all lines of an item, so their sum must be a valid quantity.
fn check_pieces(c: &PlaceOrder) -> Result<(), Rejection> {
    for line in &c.lines {
        let same_item = c.lines.iter().filter(|other| other.item == line.item);
        let asked: i64 = same_item.map(|other| other.quantity.get()).sum();
        if asked > Quantity::MAX {
            return Err(Rejection::TooManyPieces { item: line.item.clone(), asked });
        }
    }
    Ok(())
}

/// One shipment carries an order, and it leaves from one location.
fn check_location(c: &PlaceOrder) -> Result<(), Rejection> {
    let mut locations = c.lines.iter().map(|line| &line.item.location);
    let Some(has) = locations.next() else { return Ok(()) };
    match locations.find(|asked| *asked != has) {
        Some(asked) => Err(Rejection::SeveralLocations { has: has.clone(), asked: asked.clone() }),
        None => Ok(()),
    }
}

fn check_totals(c: &PlaceOrder, currency: Currency) -> Result<(), Rejection> {
    let Totals { subtotal, discount, tax, shipping, total } = c.totals;
    for money in [subtotal, discount, tax, shipping] {
        check_currency(currency, money)?;
    }
    if !(1..=Money::MAX_TOTAL).contains(&total.amount) {
        return Err(Rejection::TotalOutOfRange(total));
    }
    let sum = |of: fn(&OrderLine) -> Money| c.lines.iter().try_fold(Money::zero(currency), |sum, l| sum.plus(of(l)));
    if sum(|l| l.net) != Ok(subtotal) {
        return Err(Rejection::TotalsMismatch("the subtotal is not the sum of the lines"));
    }
    if sum(|l| l.discount_share) != Ok(discount) {
        return Err(Rejection::TotalsMismatch("the discount is not the sum of the lines' shares"));
    }
    if sum(|l| l.tax_share) != Ok(tax) {
        return Err(Rejection::TotalsMismatch("the tax is not the sum of the lines' shares"));
    }
    if shipping.amount < 0 {
        return Err(Rejection::TotalsMismatch("shipping is negative"));
    }
    if c.totals.sum() != Ok(total) {
        return Err(Rejection::TotalsMismatch("the total is not subtotal − discount + tax + shipping"));
    }
    Ok(())
}

impl Totals {
    /// Adds up the total: `subtotal` − `discount` + `tax` + `shipping`.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::Overflow`].
    pub fn sum(&self) -> Result<Money, MoneyError> {
        self.subtotal.minus(self.discount)?.plus(self.tax)?.plus(self.shipping)
    }
}

fn check_currency(has: Currency, money: Money) -> Result<(), Rejection> {
    if has == money.currency { Ok(()) } else { Err(Rejection::CurrencyMismatch { has, asked: money.currency }) }
}
