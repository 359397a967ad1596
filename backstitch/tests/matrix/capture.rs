//! The money that was held cannot be taken, or nobody knows whether it was.

use std::time::Duration;

use domain::order::Status::{Cancelled, Confirmed, Shipped};
use domain::payment::Status::{Captured, Declined, Voided};
use domain::saga::SagaState::{Compensated, Completed, NeedsAttention, Waiting};
use domain::shipment::Status::{Cancelled as NotShipped, Dispatched, Ready as Packed};

use crate::row::{Ends, Row};
use crate::run::rows;

rows!(
    fails_once,
    fails_again,
    fails_and_the_next_card_is_declined,
    answer_lost,
    falls_short,
    provider_gone,
    hold_lapsed,
    hold_lapsed_and_the_next_card_is_declined,
);

/// The row of an order that is packed and leaves.
fn captured(card: &'static str, payments: &[domain::payment::Status]) -> Row {
    let ends = Ends::new(Shipped, "", payments).shipment(Dispatched).stock("MUG", [3, 0, 0]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        card,
        behind: 0,
        settings: |_| {},
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.ready().await;
            })
        },
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("captured", "dispatched"),
        proof: |_| {},
    }
}

/// The row of an order whose money cannot be taken at all.
fn cancelled(card: &'static str, payments: &[domain::payment::Status], shows: &'static str) -> Row {
    let ends = Ends::new(Cancelled, "capture_failed", payments).shipment(NotShipped).stock("MUG", [5, 0, 0]);
    Row { ends: ends.saga("order_fulfilment", Compensated), shows: (shows, "cancelled"), ..captured(card, &[]) }
}

fn fails_once() -> Row {
    Row {
        proof: |found| {
            assert_eq!((found.times("CaptureFailed"), found.times("PaymentAuthorized")), (1, 2));
            assert_eq!((found.entry(0).voided > 0, found.entry(1).captured > 0), (true, true), "never both");
        },
        ..captured("tok_capture_fails_once", &[Voided, Captured])
    }
}

fn fails_again() -> Row {
    Row {
        proof: |found| {
            assert_eq!(
                (found.times("CaptureFailed"), found.times("PaymentAuthorized")),
                (2, 2),
                "once more, no oftener"
            );
        },
        ..cancelled("tok_capture_fails", &[Voided, Voided], "voided")
    }
}

fn fails_and_the_next_card_is_declined() -> Row {
    Row {
        proof: |found| assert_eq!((found.times("CaptureFailed"), found.times("PaymentDeclined")), (1, 1)),
        ..cancelled("tok_capture_fails,tok_decline", &[Voided, Declined], "declined")
    }
}

fn answer_lost() -> Row {
    Row {
        proof: |found| {
            assert!(found.took("capture") >= Duration::from_millis(1_500), "no answer came by itself");
            assert_eq!(found.entry(0).effects.len(), 2, "held once and taken once, although it was asked again");
        },
        ..captured("tok_capture_timeout", &[Captured])
    }
}

/// One cent of what the order costs is taken, and the bank says so when it is asked: nothing leaves, nothing is asked for
/// a second time, and a person is called.
fn falls_short() -> Row {
    let ends = Ends::new(Confirmed, "", &[Captured]).shipment(Packed).stock("MUG", [5, 0, 2]);
    Row {
        ends: ends.saga("order_fulfilment", NeedsAttention),
        shows: ("captured", "ready"),
        proof: |found| {
            let times =
                ["PaymentAuthorizationRequested", "CaptureRequested", "PaymentFellShort", "OrderDispatchAllowed"];
            assert_eq!(times.map(|event| found.times(event)), [1, 1, 1, 0]);
            assert_eq!((found.entry(0).captured, found.told("0.01 EUR of the")), (1, true));
        },
        ..captured("tok_capture_short", &[])
    }
}

/// Nobody knows whether the money was taken until the provider is there again: until then nothing leaves.
fn provider_gone() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.bank_dies_after(|_| true).await;
                shop.ready().await;
                let books = shop.until("PaymentOutcomeUnknown", 1).await;
                let times = |event| books.names.iter().filter(|((_, name), _)| name == event).count();
                assert!(times("OrderDispatchAllowed") <= times("PaymentCaptured"), "nothing leaves unpaid");
                shop.bank_up().await;
                shop.at(15);
            })
        },
        proof: |found| assert_eq!(found.times("PaymentOutcomeUnknown"), 1),
        ends: captured("", &[Captured]).ends.saga("payment_reconciliation", Completed),
        ..captured("tok_approve", &[Captured])
    }
}

fn hold_lapsed() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.at_the_bank(0, "lapse").await;
                shop.until("PaymentExpired", 1).await;
                shop.ready().await;
            })
        },
        proof: |found| {
            assert_eq!((found.times("PaymentExpired"), found.times("PaymentAuthorized")), (1, 2));
            assert_eq!((found.entry(0).captured, found.entry(1).voided), (0, 0));
        },
        ..captured("tok_approve", &[domain::payment::Status::Expired, Captured])
    }
}

fn hold_lapsed_and_the_next_card_is_declined() -> Row {
    Row {
        script: hold_lapsed().script,
        proof: |found| assert_eq!((found.times("PaymentExpired"), found.times("PaymentDeclined")), (1, 1)),
        ..cancelled("tok_approve,tok_decline", &[domain::payment::Status::Expired, Declined], "declined")
    }
}
