//! The risk check says no, or wants a person to look.

use domain::order::Status::{Confirmed, Rejected};
use domain::payment::Status::Authorized;
use domain::saga::SagaState::{Compensated, Waiting};
use domain::shipment::Status::Planned;

use crate::row::{Ends, Row};
use crate::run::rows;

rows!(refused, review_lapsed, review_refused, review_approved, review_released);

/// The order's total is above this.
const LIMIT: i64 = 500;

fn refused() -> Row {
    let ends = Ends::new(Rejected, "fraud", &[]).stock("MUG", [5, 0, 0]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        card: "tok_approve",
        behind: 0,
        settings: |config| {
            config.saga.risk.refuse_above.insert("EUR".to_owned(), LIMIT);
        },
        script: |shop| Box::pin(shop.place()),
        ends: ends.saga("order_fulfilment", Compensated),
        shows: ("none", "none"),
        proof: |found| {
            assert_eq!((found.times("OrderRiskAssessed"), found.times("ReservationReleased")), (1, 1));
            assert!(found.bank.entries.is_empty(), "nobody was asked for money");
        },
    }
}

/// Nobody looks for 24 hours.
fn review_lapsed() -> Row {
    Row {
        settings: |config| {
            config.saga.risk.review_above.insert("EUR".to_owned(), LIMIT);
        },
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("OrderHeld", 1).await;
                shop.at(8);
                shop.until("ReservationRenewed", 1).await;
                shop.at(25 * 60);
            })
        },
        proof: |found| assert_eq!((found.times("OrderHeld"), found.times("OrderHoldReleased")), (1, 0)),
        ..refused()
    }
}

/// A person looks, and says no.
fn review_refused() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("OrderHeld", 1).await;
                shop.assess("refuse").await;
            })
        },
        proof: |found| {
            assert_eq!((found.times("OrderHeld"), found.times("OrderRiskAssessed")), (1, 2));
            assert!(found.bank.entries.is_empty(), "nobody was asked for money");
        },
        ..review_lapsed()
    }
}

/// A person looks, and says yes.
fn review_approved() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("OrderHeld", 1).await;
                shop.assess("approve").await;
            })
        },
        proof: |found| assert_eq!((found.times("OrderRiskAssessed"), found.times("OrderHoldReleased")), (2, 1)),
        ..review_released()
    }
}

fn review_released() -> Row {
    let ends = Ends::new(Confirmed, "", &[Authorized]).shipment(Planned).stock("MUG", [5, 0, 2]);
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("OrderHeld", 1).await;
                shop.release("HIGH_RISK_OF_FRAUD").await;
            })
        },
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("authorized", "planned"),
        proof: |found| assert_eq!((found.times("OrderHeld"), found.times("OrderHoldReleased")), (1, 1)),
        ..review_lapsed()
    }
}
