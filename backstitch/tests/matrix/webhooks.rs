//! What the provider tells twice, in the wrong order, or before it has answered.

use domain::order::Status::Shipped;
use domain::payment::Status::Captured;
use domain::saga::SagaState::Waiting;
use domain::shipment::Status::Dispatched;

use crate::row::{Ends, Row};
use crate::run::rows;

rows!(told_three_times, told_out_of_order, told_before_the_answer);

fn told_three_times() -> Row {
    let ends = Ends::new(Shipped, "", &[Captured]).shipment(Dispatched).stock("MUG", [3, 0, 0]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        card: "tok_duplicate_webhooks",
        behind: 0,
        settings: |_| {},
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.ready().await;
                shop.until("OrderShipped", 1).await;
                shop.until_bank(|bank| bank.webhooks_owed == 0).await;
            })
        },
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("captured", "dispatched"),
        proof: |found| {
            assert_eq!((found.times("PaymentAuthorized"), found.times("PaymentCaptured")), (1, 1));
            assert_eq!(found.bank.webhooks_delivered, 6, "each of two three times");
            assert!(found.books.names.keys().all(|(category, _)| category != "provider_inbox"), "each fitted");
        },
    }
}

/// That the customer must confirm is told after he has.
fn told_out_of_order() -> Row {
    Row {
        card: "tok_reordered_webhooks",
        proof: |found| {
            assert_eq!((found.times("PaymentAuthorized"), found.times("PaymentCaptured")), (1, 1));
            assert_eq!(found.bank.webhooks_delivered, 3, "all were told, the oldest last");
        },
        ..told_three_times()
    }
}

fn told_before_the_answer() -> Row {
    Row {
        card: "tok_webhook_first",
        proof: |found| {
            assert_eq!((found.times("PaymentAuthorized"), found.bank.webhooks_delivered), (1, 2));
        },
        ..told_three_times()
    }
}
