//! Short of stock, many at once for it, a hold that was lost.

use domain::ids::{OrderId, ReservationId, StockId};
use domain::order::Status::{Confirmed, Rejected};
use domain::payment::Status::{Authorized, Voided};
use domain::quantity::Quantity;
use domain::saga::SagaState::{Compensated, Waiting};
use domain::shipment::Status::Planned;
use domain::stock::{Event, ReservationExpired, StockReserved};

use crate::row::{Ends, Row};
use crate::run::rows;
use crate::shop::Shop;

rows!(short_on_one_line, contended_for_long, contended_for_a_while, hold_lost, hold_lost_to_another);

fn short_on_one_line() -> Row {
    let ends = Ends::new(Rejected, "out_of_stock", &[]).stock("MUG", [5, 0, 0]).stock("RARE", [1, 0, 0]);
    Row {
        stock: &[("MUG", 5), ("RARE", 1)],
        lines: &[("MUG", 2), ("RARE", 2)],
        card: "tok_approve",
        behind: 0,
        settings: |_| {},
        script: |shop| Box::pin(shop.place()),
        ends: ends.saga("order_fulfilment", Compensated),
        shows: ("none", "none"),
        proof: |found| {
            assert_eq!(found.times("ReservationReleased"), 1, "the other line had been reserved, and was given back");
            assert!(found.told("out-of-stock"));
            assert!(found.bank.entries.is_empty(), "nobody was asked for money");
        },
    }
}

/// More than any command finds in all its attempts.
const FOR_EVER: u32 = 1_000_000;

/// Contention is no answer: the reservation is tried until it passes, and the order is not rejected over it.
fn contended_for_long() -> Row {
    let ends = Ends::new(Confirmed, "", &[Authorized]).shipment(Planned).stock("MUG", [5, 0, 2]);
    Row {
        stock: &[("MUG", 5)],
        lines: &[("MUG", 2)],
        script: |shop| {
            Box::pin(async move {
                if !shop.has("StockReserved").await {
                    shop.faults.contend("stock-MUG@main", FOR_EVER);
                }
                shop.place().await;
                shop.until("StepRetryScheduled", 6).await;
                shop.faults.contend("", 0);
            })
        },
        ends: ends.saga("order_fulfilment", Waiting),
        shows: ("authorized", "planned"),
        proof: |found| {
            assert!(found.times("StepRetryScheduled") >= 6, "tried more often than a step that is refused");
            assert_eq!((found.times("StockReserved"), found.times("CompensationStarted")), (1, 0));
        },
        ..short_on_one_line()
    }
}

fn contended_for_a_while() -> Row {
    Row {
        script: |shop| {
            Box::pin(async move {
                if !shop.has("StepRetryScheduled").await {
                    shop.faults.contend("stock-MUG@main", FOR_EVER);
                }
                shop.place().await;
                shop.until("StepRetryScheduled", 1).await;
                shop.faults.contend("", 0);
            })
        },
        proof: |found| assert!(found.times("StepRetryScheduled") >= 1),
        ..contended_for_long()
    }
}

/// The hold runs out while the customer is asked to confirm (as if the shop had been down for longer than it lasts), and
/// the pieces are taken by somebody else, or not.
async fn confirmed_too_late(shop: &mut Shop, taken: i64) {
    shop.place().await;
    shop.until("PaymentActionRequired", 1).await;
    let (item, order_id): (StockId, _) = ("MUG@main".parse().unwrap(), shop.order());
    let (reservation_id, at) = (ReservationId::derive(order_id, &item, 0), shop.now());
    let mut events = vec![Event::ReservationExpired(ReservationExpired { reservation_id, order_id, quantity: 2, at })];
    if let Ok(quantity) = Quantity::new(taken) {
        let order_id = OrderId(domain::ids::derive(&["somebody else"]));
        let (reservation_id, expires_at) =
            (ReservationId::derive(order_id, &item, 0), at + chrono::TimeDelta::hours(9));
        events.push(Event::StockReserved(StockReserved { reservation_id, order_id, quantity, expires_at }));
    }
    shop.written_by_another("stock-MUG@main", &events.iter().map(Event::encode).collect::<Vec<_>>()).await;
    shop.at_the_bank(0, "approve").await;
}

fn hold_lost() -> Row {
    Row {
        card: "tok_3ds_approve.manual",
        script: |shop| Box::pin(confirmed_too_late(shop, 0)),
        proof: |found| {
            assert_eq!((found.times("ReservationExpired"), found.times("StockReserved")), (1, 2), "reserved once more");
            assert!(found.told("reservation-ended"));
        },
        ..contended_for_a_while()
    }
}

fn hold_lost_to_another() -> Row {
    let ends = Ends::new(Rejected, "reservation_expired", &[Voided]).stock("MUG", [5, 4, 0]);
    Row {
        script: |shop| Box::pin(confirmed_too_late(shop, 4)),
        ends: ends.saga("order_fulfilment", Compensated),
        shows: ("voided", "none"),
        proof: |found| {
            assert_eq!((found.times("ReservationExpired"), found.times("PaymentAuthorized")), (1, 1));
            assert!(found.told("reservation-ended") && found.told("out-of-stock"), "not even once more");
        },
        ..hold_lost()
    }
}
