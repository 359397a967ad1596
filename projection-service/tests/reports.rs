//! The report of sales, and what a range of days means everywhere.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use chrono::{DateTime, Utc};
use domain::ids::{PaymentId, RequestId};
use domain::money::Money;
use domain::order::{self, OrderPlaced};
use domain::payment;
use serde_json::{Value, json};
use support::stories::{captured, order_id, placed, refunded, requested};
use support::{Shop, at};
use uuid::Uuid;

async fn order(shop: &Shop, placed: OrderPlaced, more: &[order::Event]) {
    let (stream, mut events) = (placed.order_id.stream(), vec![order::Event::OrderPlaced(placed)]);
    events.extend(more.iter().cloned());
    shop.log.append(&stream, events.iter().map(order::Event::encode).collect(), 1).await;
}

async fn payment(shop: &Shop, placed: &OrderPlaced, events: &[payment::Event]) {
    let (stream, key) = (PaymentId::derive(placed.order_id, 0).stream(), placed.order_id.to_string());
    shop.log.append_for(&stream, &key, events.iter().map(payment::Event::encode).collect(), 2).await;
}

fn captured_late(amount: Money) -> payment::Event {
    payment::Event::PaymentSucceededLate(payment::PaymentSucceededLate {
        request_id: RequestId(Uuid::nil()),
        provider_ref: None,
        kind: payment::LateSuccess::Captured,
        amount,
    })
}

async fn report(shop: &Shop, query: &str) -> Vec<Value> {
    shop.caught_up().await;
    let body = shop.get(&format!("/v1/reports/sales-by-day?{query}")).await.ok();
    body["items"].as_array().unwrap().clone()
}

/// Euros as JSON, from minor units.
fn eur(amount: i64) -> Value {
    json!({"amount": amount, "currency": "EUR"})
}

#[tokio::test]
async fn money_that_was_captured_late_is_in_the_report_before_its_refund_is_taken_out() {
    let shop = Shop::start().await;
    let placed = placed(1, &[(1, 2)], 0);
    let (id, total) = (PaymentId::derive(placed.order_id, 0), placed.totals.total);
    let cancelled = order::Event::OrderCancelled(order::OrderCancelled { reason: "customer_request".to_owned() });
    order(&shop, placed.clone(), &[cancelled]).await;
    payment(&shop, &placed, &[requested(id, &placed, 0), captured_late(total)]).await;
    let day = report(&shop, "").await.remove(0);
    assert_eq!((&day["captured"], &day["refunded"]), (&json!(total), &eur(0)), "{day}");
    // The program has forgotten what it had in memory by then.
    let shop = shop.restart().await;
    payment(&shop, &placed, &[refunded(placed.order_id, total, &placed)]).await;
    let day = report(&shop, "").await.remove(0);
    assert_eq!((&day["captured"], &day["refunded"], &day["net"]), (&json!(total), &json!(total), &eur(0)));
}

#[tokio::test]
async fn money_taken_after_a_failed_void_is_in_the_tables_and_the_report() {
    let shop = Shop::start().await;
    let placed = placed(1, &[(1, 2)], 0);
    let (id, total, at) = (PaymentId::derive(placed.order_id, 0), placed.totals.total, placed.placed_at);
    let [authorize, capture, void, refund] = [0, 1, 2, 3].map(|n| RequestId(Uuid::from_u128(n)));
    let (provider_ref, portion) = (None, None);
    let past = [
        requested(id, &placed, 0),
        payment::Event::PaymentAuthorized(payment::PaymentAuthorized {
            request_id: authorize,
            provider_ref: None,
            amount: total,
            portion,
            capture_before: at,
        }),
        payment::Event::CaptureRequested(payment::CaptureRequested { request_id: capture, amount: total, at }),
        payment::Event::CaptureFailed(payment::CaptureFailed {
            request_id: capture,
            provider_ref: None,
            failure_code: "hiccup".to_owned(),
        }),
        payment::Event::VoidRequested(payment::VoidRequested { request_id: void, at }),
        payment::Event::VoidFailed(payment::VoidFailed {
            request_id: void,
            provider_ref,
            failure_code: "not_now".to_owned(),
        }),
        captured_late(total),
    ];
    let cancelled = order::Event::OrderCancelled(order::OrderCancelled { reason: "customer_request".to_owned() });
    order(&shop, placed.clone(), &[cancelled]).await;
    payment(&shop, &placed, &past).await;
    let shows = async |state: &str, back: &Value| {
        let day = report(&shop, "").await.remove(0);
        assert_eq!((&day["captured"], &day["refunded"]), (&json!(total), back), "{day}");
        let payment = shop.get(&format!("/v1/payments/{id}")).await.ok();
        let sums = ["authorized", "captured", "refunded"].map(|name| &payment[name]);
        assert_eq!(
            (payment["status"].as_str(), sums),
            (Some(state), [&json!(total), &json!(total), back]),
            "{payment}"
        );
        let order = shop.get(&format!("/v1/orders/{}", placed.order_id)).await.ok();
        assert_eq!((order["payment_status"].as_str(), &order["refunded"]), (Some(state), back), "{order}");
    };
    shows("succeeded_late", &eur(0)).await;
    let reason = "succeeded_late".to_owned();
    let asked = payment::RefundRequested { request_id: refund, amount: total, reason, at };
    let back = refunded(placed.order_id, total, &placed);
    payment(&shop, &placed, &[payment::Event::RefundRequested(asked), back]).await;
    shows("refunded", &json!(total)).await;
}

#[tokio::test]
async fn a_rejected_order_is_no_sale_and_a_cancelled_one_is_counted_as_such() {
    let shop = Shop::start().await;
    let (sold, rejected, cancelled) = (placed(1, &[(1, 2)], 0), placed(2, &[(1, 5)], 0), placed(3, &[(2, 1)], 0));
    let no = order::Event::OrderRejected(order::OrderRejected { reason: order::RejectReason::PaymentDeclined });
    let off = order::Event::OrderCancelled(order::OrderCancelled { reason: "customer_request".to_owned() });
    let gross = sold.totals.subtotal.amount + cancelled.totals.subtotal.amount;
    order(&shop, sold, &[]).await;
    order(&shop, rejected, &[no]).await;
    order(&shop, cancelled, &[off]).await;
    let day = report(&shop, "").await.remove(0);
    let counts = ["orders", "units", "cancelled", "rejected"].map(|name| day[name].as_i64().unwrap());
    assert_eq!((counts, &day["gross"]), ([2, 3, 1, 1], &eur(gross)), "{day}");
}

#[tokio::test]
async fn a_day_is_the_same_day_in_the_list_of_orders_and_in_the_report_and_in_the_log() {
    let shop = Shop::start().await;
    for number in 0..3 {
        order(&shop, placed(number, &[(1, 1)], 0), &[]).await;
    }
    order(&shop, placed(9, &[(1, 1)], 3 * 86_400), &[]).await;
    let day = at(0).date_naive();
    let in_report = report(&shop, &format!("from={day}&to={day}")).await;
    assert_eq!((in_report.len(), &in_report[0]["orders"]), (1, &json!(3)));
    let orders = shop.get(&format!("/v1/orders?from={day}&to={day}")).await.ok();
    assert_eq!(orders["items"].as_array().unwrap().len(), 3);
    let events = shop.get(&format!("/v1/events/find?type=OrderPlaced&since={day}&until={day}")).await.ok();
    assert_eq!(events["items"].as_array().unwrap().len(), 4, "all occurred on that day");
    for (path, field) in [
        (format!("/v1/orders?from={day}&to=2020-01-01"), "query:to"),
        ("/v1/orders?tz=Berlin".to_owned(), "query:tz"),
        (format!("/v1/reports/sales-by-day?from={day}&tz=Europe/Berlin"), "query:to"),
        ("/v1/reports/sales-by-day?from=2026-01-01&to=2026-12-31&tz=Europe/Berlin".to_owned(), "query:to"),
        ("/v1/events/find?until=never".to_owned(), "query:until"),
    ] {
        assert_eq!(shop.get(&path).await.refused_field(), field, "{path}");
    }
}

#[tokio::test]
async fn the_days_of_a_time_zone_have_its_own_midnights_and_the_sums_of_the_same_orders() {
    let shop = Shop::start().await;
    let seconds = |moment: &str| (moment.parse::<DateTime<Utc>>().unwrap() - at(0)).num_seconds();
    // In Berlin clocks are put back on 25 October 2026: that day begins at 22:00 and ends at 23:00 UTC.
    let moments = ["2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"];
    for (number, moment) in (0..).zip(moments) {
        let placed = placed(number, &[(1, 1)], seconds(moment));
        let id = PaymentId::derive(placed.order_id, 0);
        order(&shop, placed.clone(), &[]).await;
        let total = placed.totals.total;
        payment(&shop, &placed, &[requested(id, &placed, 0), captured(placed.order_id, total, &placed)]).await;
    }
    let rejected = order::Event::OrderRejected(order::OrderRejected { reason: order::RejectReason::PaymentDeclined });
    order(&shop, placed(8, &[(1, 1)], seconds("2026-10-25T12:00:00Z")), &[rejected]).await;
    let berlin = report(&shop, "from=2026-10-24&to=2026-10-26&tz=Europe/Berlin").await;
    let days: Vec<_> =
        berlin.iter().map(|day| (day["day"].as_str().unwrap(), day["orders"].as_i64().unwrap())).collect();
    assert_eq!(days, [("2026-10-26", 1), ("2026-10-25", 2), ("2026-10-24", 1)]);
    let total = placed(0, &[(1, 1)], 0).totals.total.amount;
    assert_eq!((&berlin[1]["captured"], &berlin[1]["rejected"]), (&eur(2 * total), &json!(1)));
    let listed = shop.get("/v1/orders?from=2026-10-25&to=2026-10-25&tz=Europe/Berlin").await.ok();
    let listed: Vec<_> = listed["items"].as_array().unwrap().iter().map(|order| order["id"].clone()).collect();
    assert_eq!(listed, [2, 8, 1].map(|number| json!(order_id(number))));
    // A zone that is always UTC says the same as UTC, though it is counted from the orders.
    let (utc, zone) = (report(&shop, "from=2026-10-20&to=2026-10-30"), "from=2026-10-20&to=2026-10-30&tz=Etc/GMT");
    let (utc, zone) = (utc.await, report(&shop, zone).await);
    assert_eq!(utc, zone);
}
