//! What the warehouse and the carrier do: all well, nothing, no, lost.

use domain::order::Status::{Cancelled, Completed as Done, Shipped};
use domain::payment::Status::{Captured, Refunded, Voided};
use domain::saga::SagaState::{Compensated, Completed, HandedOver, NeedsAttention, Waiting};
use domain::shipment::Status::{Cancelled as NotShipped, Delivered, Dispatched, Lost};
use serde_json::json;

use crate::row::{Ends, Row};
use crate::run::rows;

rows!(
    delivered,
    held_until_released,
    cancelled_before_the_capture,
    cancelled_after_the_capture,
    silent_for_three_days,
    lost,
);

fn delivered() -> Row {
    let ends = Ends::new(Done, "", &[Captured]).shipment(Delivered).stock("MUG", [3, 0, 0]).stock("TEE", [4, 0, 0]);
    Row {
        stock: &[("MUG", 5), ("TEE", 5)],
        lines: &[("MUG", 2), ("TEE", 1)],
        card: "tok_approve",
        behind: 0,
        settings: |_| {},
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.ready().await;
                shop.until("OrderShipped", 1).await;
                shop.shipment("deliver", &json!({})).await;
            })
        },
        ends: ends.saga("order_fulfilment", Completed),
        shows: ("captured", "delivered"),
        proof: |found| {
            let told = ["OrderPlaced", "OrderRiskAssessed", "OrderConfirmed", "OrderDispatchAllowed", "OrderShipped"];
            assert!(told.iter().chain(&["OrderCompleted"]).all(|event| found.times(event) == 1));
            assert_eq!(found.entry(0).captured, found.books.orders[&found.order].placed.totals.total.amount);
        },
    }
}

/// The row of an order that has left.
fn shipped() -> Row {
    let ends = Ends::new(Shipped, "", &[Captured]).shipment(Dispatched).stock("MUG", [3, 0, 0]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("captured", "dispatched"),
        ..delivered()
    }
}

fn held_until_released() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                let books = shop.captured_and_held().await;
                assert!(
                    books.count("order", "OrderDispatchAllowed") == 0 || books.count("order", "OrderHoldReleased") > 0
                );
                shop.release("INCORRECT_ADDRESS").await;
            })
        },
        proof: |found| assert_eq!((found.times("OrderHeld"), found.times("OrderHoldReleased")), (1, 1)),
        ..shipped()
    }
}

fn cancelled_before_the_capture() -> Row {
    let ends = Ends::new(Cancelled, "shipment_cancelled", &[Voided]).shipment(NotShipped).stock("MUG", [5, 0, 0]);
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.shipment("cancel", &json!({"reason": "broken in the warehouse"})).await;
            })
        },
        ends: ends.saga("order_fulfilment", Compensated),
        shows: ("voided", "cancelled"),
        proof: |found| assert_eq!((found.times("ShipmentCancelled"), found.times("PaymentCaptured")), (1, 0)),
        ..shipped()
    }
}

/// A hold keeps the order between the capture and the dispatch.
fn cancelled_after_the_capture() -> Row {
    let ends = Ends::new(Cancelled, "shipment_cancelled", &[Refunded]).shipment(NotShipped).stock("MUG", [5, 0, 0]);
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.captured_and_held().await;
                shop.shipment("cancel", &json!({"reason": "broken in the warehouse"})).await;
            })
        },
        ends: ends.saga("order_fulfilment", HandedOver).saga("order_refund", Completed),
        shows: ("refunded", "cancelled"),
        proof: |found| assert_eq!((found.times("PaymentCaptured"), found.times("ShipmentCancelled")), (1, 1)),
        ..shipped()
    }
}

/// A person is called, and the saga goes on all the same when the warehouse does.
fn silent_for_three_days() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.at(73 * 60);
                shop.until("SagaNeedsAttention", 1).await;
                shop.ready().await;
            })
        },
        proof: |found| assert!(found.told("SagaNeedsAttention") && found.told("overdue")),
        ..shipped()
    }
}

fn lost() -> Row {
    let ends = Ends::new(Shipped, "", &[Captured]).shipment(Lost).stock("MUG", [3, 0, 0]);
    Row {
        script: |shop| {
            Box::pin(async move {
                shop.place().await;
                shop.until("ShipmentPlanned", 1).await;
                shop.ready().await;
                shop.until("OrderShipped", 1).await;
                shop.shipment("lost", &json!({"reason": "fell off the ship"})).await;
            })
        },
        ends: ends.saga("order_fulfilment", NeedsAttention),
        shows: ("captured", "lost"),
        proof: |found| assert!(found.told("shipment_lost"), "a person is told why"),
        ..shipped()
    }
}
