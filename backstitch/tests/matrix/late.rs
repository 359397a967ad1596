//! What the bank says when the order has long ended, and what it does not say for as long.

use domain::order::Status::Rejected;
use domain::payment::Status::{Refunded, Voided};
use domain::saga::SagaState::{Compensated, Completed};

use crate::row::{Ends, Row};
use crate::run::rows;
use crate::shop::Shop;

rows!(authorised_late, charged_late, provider_gone);

/// The row of an order that was rejected, and whose money goes back by itself.
fn taken_back(card: &'static str, payment: domain::payment::Status, shows: &'static str) -> Row {
    let ends = Ends::new(Rejected, "payment_timeout", &[payment]).stock("MUG", [5, 0, 0]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        card,
        behind: 36,
        settings: |_| {},
        script: |shop| Box::pin(shop.place()),
        ends: ends.saga("order_fulfilment", Compensated).saga("payment_reconciliation", Completed),
        shows: (shows, "none"),
        proof: |_| {},
    }
}

/// Nobody confirms for 30 minutes, and the order is rejected.
async fn given_up(shop: &mut Shop) {
    for renewals in 1..=3 {
        shop.at(8 * renewals);
        shop.until("ReservationRenewed", renewals as usize).await;
    }
    shop.at(33);
    shop.until("OrderRejected", 1).await;
}

fn authorised_late() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("PaymentActionRequired", 1).await;
                given_up(shop).await;
                shop.at_the_bank(0, "approve").await;
            })
        },
        proof: |found| {
            assert_eq!((found.times("PaymentExpired"), found.times("PaymentSucceededLate")), (1, 1));
            assert!(found.entry(0).authorized > 0 && found.entry(0).voided == found.entry(0).authorized);
        },
        ..taken_back("tok_3ds_abandon.never", Voided, "voided")
    }
}

fn charged_late() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("PaymentActionRequired", 1).await;
                given_up(shop).await;
                shop.at_the_bank(0, "charge").await;
            })
        },
        proof: |found| {
            assert_eq!((found.times("PaymentExpired"), found.times("PaymentSucceededLate")), (1, 1));
            assert!(found.entry(0).captured > 0 && found.entry(0).refunded == found.entry(0).captured);
        },
        ..taken_back("tok_3ds_abandon.never", Refunded, "refunded")
    }
}

/// It held the money, gave no answer, and cannot be asked: its outcome is unknown. Given up after 30 minutes, the hold is
/// let go when it is there again.
fn provider_gone() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.bank_dies_after(|bank| bank.payments == 1).await;
                shop.until("PaymentOutcomeUnknown", 1).await;
                given_up(shop).await;
                shop.bank_up().await;
                shop.at(42);
            })
        },
        proof: |found| {
            // Of the authorization; of the void too, where the provider stays away from it for 30 s.
            assert!((1..=2).contains(&found.times("PaymentOutcomeUnknown")));
            let entry = found.entry(0);
            assert!(entry.authorized > 0 && entry.voided == entry.authorized, "it was charged, and let go: {entry:?}");
        },
        ..taken_back("tok_timeout_charged", Voided, "voided")
    }
}
