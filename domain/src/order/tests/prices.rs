//! What an order costs.

use proptest::prelude::*;

use super::*;
use crate::order::pricing::{LineToPrice, PricingError, PricingPolicy, price};

fn wish(item: &str, quantity: i64, unit_price: Money) -> LineToPrice {
    let (item, quantity) = (item.parse().unwrap(), Quantity::new(quantity).unwrap());
    LineToPrice { item, quantity, name: "Mug".into(), unit_price, active: true }
}

#[test]
fn tax_is_on_goods_and_shipping_and_shared_by_the_lines() {
    let (lines, totals) =
        price(&[wish("MUG-1@main", 2, eur(999)), wish("PEN@main", 1, eur(1))], &PricingPolicy::default()).unwrap();
    // (1998 + 1 + 490) × 19 % = 472.91, rounded once.
    let expected =
        Totals { subtotal: eur(1_999), discount: eur(0), tax: eur(473), shipping: eur(490), total: eur(2_962) };
    assert_eq!(totals, expected);
    assert_eq!(
        lines.iter().map(|l| (l.line, l.net, l.tax_share)).collect::<Vec<_>>(),
        [(1, eur(1_998), eur(473)), (2, eur(1), eur(0))]
    );
}

#[test]
fn shipping_is_free_from_the_threshold_on_and_where_no_price_is_listed() {
    let shipping = |money| price(&[wish("A@main", 1, money)], &PricingPolicy::default()).unwrap().1.shipping.amount;
    assert_eq!((shipping(eur(4_999)), shipping(eur(5_000))), (490, 0));
    assert_eq!(shipping(Money::new(100, "JPY".parse().unwrap())), 0);
}

#[test]
fn what_is_not_for_sale_or_in_another_currency_has_no_price() {
    let policy = PricingPolicy::default();
    let mut off_sale = wish("PEN@main", 1, eur(1));
    off_sale.active = false;
    let sku: crate::ids::Sku = "PEN".parse().unwrap();
    let no = price(&[wish("MUG-1@main", 1, eur(1)), off_sale], &policy).unwrap_err();
    assert_eq!(no, PricingError::ProductNotForSale { line: 2, sku: sku.clone() });
    let found: Currency = "USD".parse().unwrap();
    let no = price(&[wish("MUG-1@main", 1, eur(1)), wish("PEN@main", 1, Money::new(1, found))], &policy).unwrap_err();
    assert_eq!(no, PricingError::CurrencyMismatch { line: 2, sku, has: Currency::EUR, found });
    assert_eq!(price(&[], &policy), Err(PricingError::NoLines));
}

#[test]
fn an_order_that_costs_too_much_has_no_price() {
    let dearest = wish("A@main", Quantity::MAX, eur(crate::product::MAX_PRICE));
    assert_eq!(price(&vec![dearest; 100], &PricingPolicy::default()), Err(PricingError::TotalOutOfRange));
    let policy = PricingPolicy { tax_basis_points: u32::MAX, ..PricingPolicy::default() };
    let dear = wish("A@main", 1_000, eur(crate::product::MAX_PRICE));
    assert_eq!(price(&[dear], &policy), Err(PricingError::TotalOutOfRange));
}

#[test]
fn a_policy_is_read_with_defaults_in_either_case_and_never_negative() {
    let read = |text| serde_json::from_str::<PricingPolicy>(text);
    assert_eq!(read("{}").unwrap(), PricingPolicy::default());
    let policy = read(r#"{"tax_basis_points": 700, "shipping": {"eur": 100, "JPY": 5}}"#).unwrap();
    assert_eq!((policy.tax_basis_points, policy.shipping.len()), (700, 2));
    assert_eq!(policy.shipping.get(&Currency::EUR), Some(&100));
    assert!(read(r#"{"shipping": {"EUR": -1}}"#).unwrap_err().to_string().contains("negative"));
    assert!(read(r#"{"shipping": {"EURO": 1}}"#).unwrap_err().to_string().contains("ISO 4217"));
    assert!(read(r#"{"shiping": {}}"#).is_err());
}

fn some_wishes() -> impl Strategy<Value = Vec<LineToPrice>> {
    let one = ("[A-C]", 1..1_000i64, 1..1_000_000i64);
    proptest::collection::vec(one.prop_map(|(sku, n, p)| wish(&format!("{sku}@main"), n, eur(p))), 1..20)
}

proptest! {
    #[test]
    fn whatever_is_priced_can_be_placed(wishes in some_wishes(), tax_basis_points in 0..5_000u32) {
        let policy = PricingPolicy { tax_basis_points, ..PricingPolicy::default() };
        let (lines, totals) = price(&wishes, &policy).unwrap();
        let c = PlaceOrder { lines, totals, expected_total: Some(totals.total), ..placing() };
        prop_assert_eq!(Order::default().decide(&Command::PlaceOrder(c), at(0)).map(|events| events.len()), Ok(1));
        prop_assert_eq!(totals.sum(), Ok(totals.total));
    }
}
