//! The customer's second thoughts: before the money is taken, after it, and too late.

use domain::order::Status::{CancelPending, Cancelled, Shipped};
use domain::payment::Status::{Captured, Refunded, Voided};
use domain::saga::SagaState::{Compensated, Completed, HandedOver, NeedsAttention, Waiting};
use domain::shipment::Status::{Cancelled as NotShipped, Dispatched, None as NotPlanned, Ready};
use serde_json::json;

use crate::row::{Ends, Row};
use crate::run::rows;
use crate::shop::Shop;

rows!(before_the_capture, while_the_customer_should_confirm, after_the_capture, after_the_dispatch, refund_fails);

/// The row of an order that is cancelled before its money is taken.
fn before_the_capture() -> Row {
    let ends = Ends::new(Cancelled, "customer_request", &[Voided]).shipment(NotShipped).stock("MUG", [5, 0, 0]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        card: "tok_approve",
        behind: 0,
        settings: |_| {},
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.cancel().await;
            })
        },
        ends: ends.saga("order_fulfilment", Compensated),
        shows: ("voided", "cancelled"),
        proof: |found| {
            assert_eq!((found.times("OrderConfirmed"), found.times("PaymentCaptured")), (1, 0));
            assert_eq!(found.entry(0).voided, found.entry(0).authorized);
        },
    }
}

fn while_the_customer_should_confirm() -> Row {
    let ends = Ends::new(Cancelled, "customer_request", &[Voided]).shipment(NotPlanned).stock("MUG", [5, 0, 0]);
    Row {
        card: "tok_3ds_approve.manual",
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("PaymentActionRequired", 1).await;
                shop.cancel().await;
            })
        },
        ends: ends.saga("order_fulfilment", Compensated),
        shows: ("voided", "none"),
        proof: |found| assert_eq!((found.entry(0).authorized, found.times("OrderConfirmed")), (0, 0)),
        ..before_the_capture()
    }
}

/// A hold keeps the order between the capture and the dispatch.
async fn cancelled_after_the_capture(shop: &mut Shop) {
    shop.captured_and_held().await;
    shop.cancel().await;
}

fn after_the_capture() -> Row {
    let ends = Ends::new(Cancelled, "customer_request", &[Refunded]).shipment(NotShipped).stock("MUG", [5, 0, 0]);
    Row {
        script: |shop| Box::pin(cancelled_after_the_capture(shop)),
        ends: ends.saga("order_fulfilment", HandedOver).saga("order_refund", Completed),
        shows: ("refunded", "cancelled"),
        proof: |found| {
            assert_eq!((found.times("PaymentCaptured"), found.times("OrderDispatchAllowed")), (1, 0));
            assert!(found.entry(0).captured > 0 && found.entry(0).refunded == found.entry(0).captured);
        },
        ..before_the_capture()
    }
}

/// The order decided for the dispatch first: the customer is told that it is too late.
fn after_the_dispatch() -> Row {
    let ends = Ends::new(Shipped, "", &[Captured]).shipment(Dispatched).stock("MUG", [3, 0, 0]);
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.ready().await;
                shop.until("OrderDispatchAllowed", 1).await;
                let path = format!("/v1/orders/{}/cancel", shop.order());
                let refused = shop.try_ask(&path, &json!({"reason": "too late"})).await;
                assert_eq!(refused.status, 409, "{}", refused.body);
            })
        },
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("captured", "dispatched"),
        proof: |found| assert_eq!(found.times("OrderCancellationRequested"), 0),
        ..before_the_capture()
    }
}

/// Nothing else moves until a person acts.
fn refund_fails() -> Row {
    let ends = Ends::new(CancelPending, "changed my mind", &[Captured]).shipment(Ready).stock("MUG", [5, 0, 2]);
    Row {
        card: "tok_refund_fails",
        ends: ends.saga("order_fulfilment", HandedOver).saga("order_refund", NeedsAttention),
        shows: ("refund_failed", "ready"),
        proof: |found| assert_eq!((found.times("RefundFailed"), found.entry(0).refunded), (1, 0)),
        ..after_the_capture()
    }
}
