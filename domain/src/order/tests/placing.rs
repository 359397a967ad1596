//! What a new order must be.

use super::*;

fn place(change: impl FnOnce(&mut PlaceOrder)) -> Command {
    let mut c = placing();
    change(&mut c);
    Command::PlaceOrder(c)
}

#[track_caller]
fn refused(change: impl FnOnce(&mut PlaceOrder), no: Rejection) {
    given([]).when(place(change)).then_rejected(no);
}

#[test]
fn an_order_that_adds_up_is_placed_and_is_its_own_partition_key() {
    let after = given([]).when(place(|_| {})).then([placed()]);
    assert_eq!(after.state().status, Status::Pending);
    assert_eq!(after.state().partition_key(), Some(ORDER.to_string()));
    assert_eq!(Order::default().partition_key(), None);
}

#[test]
fn placing_the_same_order_again_changes_nothing_at_any_status_and_any_price() {
    for status in STATUSES.into_iter().skip(1) {
        given(past(status)).when(place(|_| {})).then_nothing();
    }
    let dearer = place(|c| {
        c.lines[0].unit_price = eur(2_000);
        c.expected_total = Some(eur(1));
    });
    given([placed()]).when(dearer).then_nothing();
}

#[test]
fn an_order_does_not_become_another_one() {
    let others: [fn(&mut PlaceOrder); 4] = [
        |c| c.customer_id = CustomerId(uuid::Uuid::from_u128(9)),
        |c| c.lines[0].quantity = Quantity::new(3).unwrap(),
        |c| c.payment_method = "tok_decline".into(),
        |c| c.tags.clear(),
    ];
    for change in others {
        given([placed()]).when(place(change)).then_rejected(Rejection::AlreadyExists);
    }
}

#[test]
fn an_expected_total_that_differs_is_refused_by_both_numbers() {
    given([]).when(place(|c| c.expected_total = Some(eur(3_450)))).then([placed()]);
    let changed = Rejection::PriceChanged { expected: eur(3_449), actual: eur(3_450) };
    refused(|c| c.expected_total = Some(eur(3_449)), changed);
    let usd = Money::new(3_450, "USD".parse().unwrap());
    refused(|c| c.expected_total = Some(usd), Rejection::PriceChanged { expected: usd, actual: eur(3_450) });
}

#[test]
fn an_order_has_one_to_a_hundred_lines() {
    refused(|c| c.lines.clear(), Rejection::LineCount(0));
    refused(|c| c.lines = (1..=101).map(|n| line(n, "PEN@main", 1, 1, 0)).collect(), Rejection::LineCount(101));
}

#[test]
fn the_lines_of_one_item_are_summed_and_together_at_most_a_million_pieces() {
    let e = OrderPlaced {
        lines: vec![line(1, "A@x", 2, 1, 0), line(2, "B@x", 1, 1, 0), line(3, "A@x", 5, 1, 0)],
        ..{
            let Event::OrderPlaced(e) = placed() else { unreachable!("placed() is an OrderPlaced") };
            e
        }
    };
    let sums: Vec<(String, i64)> = e.quantity_by_item().iter().map(|(id, q)| (id.to_string(), q.get())).collect();
    assert_eq!(sums, [("A@x".to_owned(), 7), ("B@x".to_owned(), 1)]);
    let half = Quantity::MAX / 2 + 1;
    let too_many = Rejection::TooManyPieces { item: "PEN@main".parse().unwrap(), asked: 2 * half };
    refused(|c| c.lines = (1..=2).map(|n| line(n, "PEN@main", half, 1, 0)).collect(), too_many);
}

#[test]
fn a_line_that_does_not_add_up_is_refused_by_its_number() {
    let invalid = |line, why| Rejection::InvalidLine { line, why };
    refused(|c| c.lines[1].line = 3, invalid(2, "lines are numbered from 1 without a gap"));
    refused(|c| c.lines[1].unit_price = eur(0), invalid(2, "its price is not one"));
    refused(|c| c.lines[0].unit_price = eur(1_000_000_001), invalid(1, "its price is not one"));
    refused(|c| c.lines[0].net = eur(1_999), invalid(1, "its net is not price times quantity"));
    refused(|c| c.lines[0].discount_share = eur(-1), invalid(1, "its discount is negative or more than its net"));
    refused(|c| c.lines[0].discount_share = eur(2_001), invalid(1, "its discount is negative or more than its net"));
    refused(|c| c.lines[0].tax_share = eur(-1), invalid(1, "its tax is negative"));
}

#[test]
fn an_order_is_in_one_currency() {
    let usd: Currency = "USD".parse().unwrap();
    let mismatch = || Rejection::CurrencyMismatch { has: Currency::EUR, asked: usd };
    refused(|c| c.lines[1].unit_price.currency = usd, mismatch());
    refused(|c| c.lines[1].tax_share.currency = usd, mismatch());
    refused(|c| c.totals.shipping.currency = usd, mismatch());
}

#[test]
fn totals_that_do_not_add_up_are_refused() {
    let wrong = Rejection::TotalsMismatch;
    refused(|c| c.totals.subtotal = eur(2_499), wrong("the subtotal is not the sum of the lines"));
    refused(|c| c.totals.discount = eur(1), wrong("the discount is not the sum of the lines' shares"));
    refused(|c| c.totals.tax = eur(549), wrong("the tax is not the sum of the lines' shares"));
    refused(|c| c.totals.shipping = eur(-1), wrong("shipping is negative"));
    refused(|c| c.totals.total = eur(3_451), wrong("the total is not subtotal − discount + tax + shipping"));
}

#[test]
fn a_total_is_more_than_zero_and_within_the_cap() {
    for amount in [0, -1, i64::MIN, Money::MAX_TOTAL + 1, i64::MAX] {
        refused(|c| c.totals.total = eur(amount), Rejection::TotalOutOfRange(eur(amount)));
    }
}

#[test]
fn a_payment_method_and_tags_have_a_length() {
    refused(|c| c.payment_method.clear(), Rejection::PaymentMethodLength(0));
    refused(|c| c.payment_method = "x".repeat(101), Rejection::PaymentMethodLength(101));
    refused(|c| c.tags = vec![String::new()], Rejection::InvalidTags);
    refused(|c| c.tags = vec!["x".repeat(51)], Rejection::InvalidTags);
    refused(|c| c.tags = vec!["x".to_owned(); 21], Rejection::InvalidTags);
}

#[test]
fn a_reason_has_at_most_two_hundred_characters() {
    let reason = "x".repeat(201);
    let ask = Command::RequestOrderCancellation(RequestOrderCancellation { reason: reason.clone() });
    given([placed()]).when(ask).then_rejected(Rejection::ReasonLength(201));
    let cancel = Command::CancelOrder(CancelOrder { reason });
    given([placed(), confirmed()]).when(cancel).then_rejected(Rejection::ReasonLength(201));
}
