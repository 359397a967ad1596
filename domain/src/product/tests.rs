use super::*;
use crate::money::{Currency, Money};
use crate::testing::Given;

fn given(events: impl IntoIterator<Item = Event>) -> Given<Product> {
    Given::events(events)
}

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn usd(amount: i64) -> Money {
    Money::new(amount, "USD".parse().unwrap())
}

fn create(name: &str, price: Money, active: bool) -> Command {
    Command::CreateProduct(CreateProduct { sku: "MUG-1".parse().unwrap(), name: name.into(), price, active })
}

fn created() -> Event {
    Event::ProductCreated(ProductCreated { sku: "MUG-1".parse().unwrap(), name: "Mug".into(), price: eur(1_999) })
}

fn activated() -> Event {
    Event::ProductActivated(ProductActivated {})
}

fn discontinued() -> Event {
    Event::ProductDiscontinued(ProductDiscontinued {})
}

fn price_changed(price: i64, previous: i64) -> Event {
    Event::ProductPriceChanged(ProductPriceChanged { price: eur(price), previous: eur(previous) })
}

fn change_price(price: Money) -> Command {
    Command::ChangeProductPrice(ChangeProductPrice { price })
}

fn activate() -> Command {
    Command::ActivateProduct(ActivateProduct {})
}

fn discontinue() -> Command {
    Command::DiscontinueProduct(DiscontinueProduct {})
}

#[test]
fn a_new_product_can_be_orderable_at_once_or_later() {
    let after = given([]).when(create("Mug", eur(1_999), true)).then([created(), activated()]);
    assert!(after.state().is_active());
    let after = given([]).when(create("Mug", eur(1_999), false)).then([created()]);
    assert!(after.state().exists() && !after.state().is_active());
}

#[test]
fn a_repeated_creation_of_a_product_changes_nothing_even_after_a_new_price() {
    given([created(), activated()]).when(create("Mug", eur(1_999), true)).then_nothing();
    given([created(), price_changed(5, 1_999), discontinued()]).when(create("Mug", eur(1_999), true)).then_nothing();
}

#[test]
fn a_sku_is_not_given_to_a_second_product() {
    let taken = Rejection::AlreadyExists { sku: "MUG-1".parse().unwrap() };
    given([created()]).when(create("Cup", eur(1_999), true)).then_rejected(taken.clone());
    given([created()]).when(create("Mug", eur(2_000), true)).then_rejected(taken.clone());
    given([created(), price_changed(2_000, 1_999)]).when(create("Mug", eur(2_000), true)).then_rejected(taken);
}

#[test]
fn no_new_product_may_be_called_by_dots_and_an_old_one_is_still_read() {
    for text in [".", ".."] {
        let sku: crate::ids::Sku = text.parse().unwrap();
        let create = |name: &str| {
            let (sku, name, price) = (sku.clone(), name.to_owned(), eur(1));
            Command::CreateProduct(CreateProduct { sku, name, price, active: true })
        };
        given([]).when(create("Mug")).then_rejected(Rejection::ReservedSku { sku: sku.clone() });
        let data = format!(r#"{{"sku":"{text}","name":"Mug","price":{{"amount":1,"currency":"EUR"}}}}"#);
        let old = <Product as crate::Aggregate>::decode("ProductCreated", 1, &data).unwrap();
        assert!(given([old]).when(create("Mug")).then_nothing().state().exists(), "{text}");
    }
}

#[test]
fn a_name_has_one_to_two_hundred_characters() {
    given([]).when(create("", eur(1), true)).then_rejected(Rejection::NameLength { chars: 0 });
    given([]).when(create("   ", eur(1), true)).then_rejected(Rejection::NameLength { chars: 3 });
    given([]).when(create(&"ä".repeat(201), eur(1), true)).then_rejected(Rejection::NameLength { chars: 201 });
    let longest = "ä".repeat(200);
    let named = ProductCreated { sku: "MUG-1".parse().unwrap(), name: longest.clone(), price: eur(1) };
    given([]).when(create(&longest, eur(1), false)).then([Event::ProductCreated(named)]);
}

#[test]
fn a_price_is_more_than_zero_and_at_most_a_billion() {
    for amount in [0, -1, i64::MIN, MAX_PRICE + 1, i64::MAX] {
        let rejected = || Rejection::PriceOutOfRange { price: eur(amount) };
        given([]).when(create("Mug", eur(amount), true)).then_rejected(rejected());
        given([created()]).when(change_price(eur(amount))).then_rejected(rejected());
    }
    given([created()]).when(change_price(eur(MAX_PRICE))).then([price_changed(MAX_PRICE, 1_999)]);
}

#[test]
fn a_price_change_keeps_the_price_until_then_and_repeated_is_nothing() {
    let after = given([created()]).when(change_price(eur(2_500))).then([price_changed(2_500, 1_999)]);
    after.when(change_price(eur(2_500))).then_nothing();
}

#[test]
fn a_product_keeps_its_currency() {
    let rejected = Rejection::CurrencyMismatch { has: Currency::EUR, asked: usd(1).currency };
    given([created()]).when(change_price(usd(1))).then_rejected(rejected);
}

#[test]
fn activating_and_discontinuing_go_both_ways_and_repeated_are_nothing() {
    let after = given([created()]).when(activate()).then([activated()]).when(activate()).then_nothing();
    let after = after.when(discontinue()).then([discontinued()]).when(discontinue()).then_nothing();
    after.when(activate()).then([activated()]);
    given([created()]).when(discontinue()).then([discontinued()]);
}

#[test]
fn what_does_not_exist_has_no_price_and_no_status() {
    for command in [change_price(eur(1)), activate(), discontinue()] {
        given([]).when(command).then_rejected(Rejection::NotFound);
    }
}
