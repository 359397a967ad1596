//! The card is refused, the customer does not confirm, the provider does not answer.

use std::time::Duration;

use domain::order::Status::{Confirmed, Rejected};
use domain::payment::Status::{Authorized, Declined, Expired};
use domain::saga::SagaState::{Compensated, Waiting};
use domain::shipment::Status::Planned;

use crate::row::{Ends, Row};
use crate::run::rows;

rows!(
    declined,
    abandoned,
    never_confirmed,
    confirmed,
    timed_out_but_charged,
    timed_out_and_not_charged,
    failing_twice,
    webhook_lost,
);

/// The row of a card that is authorized in the end: the order waits for the warehouse.
fn authorised(card: &'static str) -> Row {
    let ends = Ends::new(Confirmed, "", &[Authorized]).shipment(Planned).stock("MUG", [5, 0, 2]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        card,
        behind: 0,
        settings: |_| {},
        script: |shop| Box::pin(shop.place()),
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("authorized", "planned"),
        proof: |_| {},
    }
}

/// The row of a payment that comes to nothing.
fn rejected(card: &'static str, reason: &str, payment: domain::payment::Status, shows: &'static str) -> Row {
    let ends = Ends::new(Rejected, reason, &[payment]).stock("MUG", [5, 0, 0]);
    Row { ends: ends.saga("order_fulfilment", Compensated), shows: (shows, "none"), ..authorised(card) }
}

fn declined() -> Row {
    Row {
        proof: |found| {
            assert_eq!((found.times("PaymentDeclined"), found.times("StockReserved")), (1, 1));
            assert_eq!(found.bank.payments, 1, "the bank was asked, and said no");
        },
        ..rejected("tok_decline.insufficient_funds", "payment_declined", Declined, "declined")
    }
}

fn abandoned() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("PaymentActionRequired", 1).await;
                shop.at_the_bank(0, "abandon").await;
            })
        },
        proof: |found| {
            assert_eq!((found.times("PaymentActionRequired"), found.times("PaymentExpired")), (1, 1));
            assert!(!found.told("TimedOut"), "the bank said so, not the clock");
        },
        ..rejected("tok_3ds_abandon.never", "payment_timeout", Expired, "expired")
    }
}

/// The hold of stock (15 min) is renewed at half of its time while the payment is open, and after 30 minutes it is over.
fn never_confirmed() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("PaymentActionRequired", 1).await;
                for renewals in 1..=3 {
                    shop.at(8 * renewals);
                    shop.until("ReservationRenewed", renewals as usize).await;
                }
                shop.at(33);
            })
        },
        proof: |found| {
            assert!(found.told("TimedOut"), "nobody ever confirmed");
            let waited = found.between(("StepStarted", "authorise"), ("CompensationStarted", ""));
            assert!(waited >= Duration::from_secs(30 * 60), "the customer has 30 minutes, not {waited:?}");
            assert!(found.times("ReservationRenewed") >= 3);
        },
        ..rejected("tok_3ds_abandon.never", "payment_timeout", Expired, "expired")
    }
}

fn confirmed() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("PaymentActionRequired", 1).await;
                shop.at_the_bank(0, "approve").await;
            })
        },
        proof: |found| assert_eq!(found.times("PaymentActionRequired"), 1),
        ..authorised("tok_3ds_approve.manual")
    }
}

/// How long the server waits for the provider's answer here (`settings_for`).
const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);

fn timed_out_but_charged() -> Row {
    Row {
        proof: |found| {
            assert!(found.took("authorise") >= CALL_TIMEOUT, "no answer came by itself: {:?}", found.took("authorise"));
            assert_eq!(found.entry(0).effects.len(), 1, "one key, although it was asked more than once");
        },
        ..authorised("tok_timeout_charged")
    }
}

fn timed_out_and_not_charged() -> Row {
    Row {
        proof: |found| {
            assert!(found.took("authorise") >= CALL_TIMEOUT, "no answer came by itself: {:?}", found.took("authorise"));
        },
        ..authorised("tok_timeout_not_charged")
    }
}

fn failing_twice() -> Row {
    Row {
        // A quarter of a second after the first failure, half of one after the second, each less a quarter by chance.
        proof: |found| assert!(found.took("authorise") >= Duration::from_millis(500), "it was asked three times"),
        ..authorised("tok_error_twice")
    }
}

fn webhook_lost() -> Row {
    Row {
        proof: |found| assert!(found.took("authorise") > Duration::from_millis(100), "it was asked for later"),
        ..authorised("tok_lost_webhook")
    }
}
