//! The query API: cursors, filters, how new an answer is, until=settled, and what is refused by which name.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::HashSet;

use domain::ids::{PaymentId, ShipmentId};
use domain::saga;
use domain::{EncodedEvent, order, payment, shipment};
use support::stories::{Dice, captured, customer, item, order_id, placed, requested, saga_waits, shop};
use support::{Answer, Shop};

fn order_placed(number: u64, seconds: i64) -> Vec<EncodedEvent> {
    vec![order::Event::OrderPlaced(placed(number, &[(number % 4, 1 + number as i64 % 5)], seconds)).encode()]
}

/// Follows `next` to the end of a list.
async fn walk(shop: &Shop, path: &str, key: &str, mut between: impl AsyncFnMut(usize)) -> Vec<String> {
    let (mut keys, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let body = shop.get(&format!("{path}{cursor}")).await.ok();
        keys.extend(body["items"].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()));
        pages += 1;
        between(pages).await;
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => {
                assert_eq!(body["has_more"], false);
                return keys;
            }
        }
    }
}

#[tokio::test]
async fn cursors_walk_everything_exactly_once_while_orders_come_in() {
    let shop = Shop::start().await;
    for number in 0..30 {
        // Several at the same moment: the id decides between them.
        shop.log.append(&order_id(number).stream(), order_placed(number, number as i64 / 7), 0).await;
    }
    shop.caught_up().await;
    let walked = walk(&shop, "/v1/orders?limit=4", "id", async |page| {
        let number = 100 + page as u64;
        shop.log.append(&order_id(number).stream(), order_placed(number, 1_000), 0).await;
        shop.caught_up().await;
    })
    .await;
    let unique: HashSet<&String> = walked.iter().collect();
    assert_eq!(unique.len(), walked.len(), "nothing twice");
    assert!((0..30).all(|number| walked.contains(&order_id(number).to_string())), "nothing left out");
    assert_eq!(walked.len(), 30, "what came in meanwhile is newer than where the walk began");
}

#[tokio::test]
async fn every_list_walks_to_its_end_by_its_own_cursors() {
    let shop_ = Shop::start().await;
    let mut dice = Dice(11);
    for story in shop(&mut dice, 10) {
        shop_.log.append_for(&story.stream, &story.key, story.events, 5).await;
    }
    shop_.caught_up().await;
    let lists = [
        ("/v1/payments", "id", "payments"),
        ("/v1/shipments", "id", "shipments"),
        ("/v1/stock", "sku", "stock_levels"),
        ("/v1/reservations", "reservation_id", "reservations"),
        ("/v1/products", "sku", "products"),
        ("/v1/reports/sales-by-day", "day", "sales_by_day"),
    ];
    for (path, key, table) in lists {
        let walked = walk(&shop_, &format!("{path}?limit=2"), key, async |_| {}).await;
        assert_eq!(walked.len(), shop_.rows(table).await.len(), "{path}");
        assert_eq!(walked.iter().collect::<HashSet<_>>().len(), walked.len(), "{path}");
    }
}

#[tokio::test]
async fn a_reader_that_gives_the_commit_position_sees_what_it_wrote() {
    let shop = Shop::start().await;
    for number in 0..20 {
        let position = shop.log.append(&order_id(number).stream(), order_placed(number, 0), 0).await.to_string();
        let path = format!("/v1/orders/{}", order_id(number));
        let answer = shop.get_with(&path, &[("X-Min-Position", &position), ("Prefer", "wait=30")]).await;
        assert_eq!(answer.headers["preference-applied"], "wait=30");
        assert_eq!(answer.headers["etag"], "\"0\"");
        let reflects: u64 = answer.headers["x-position"].to_str().unwrap().parse().unwrap();
        assert!(reflects >= position.parse().unwrap());
        assert_eq!(answer.ok()["number"], order_id(number).number());
    }
}

#[tokio::test]
async fn a_position_that_is_not_reached_in_time_is_503_with_retry_after() {
    let shop = Shop::start().await;
    shop.caught_up().await;
    let answer = shop.get_with("/v1/orders", &[("X-Min-Position", "999999"), ("Prefer", "wait=0")]).await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert!(answer.body["detail"].as_str().unwrap().contains("999999"));
}

#[tokio::test]
async fn an_order_is_found_by_its_id_and_by_its_number_as_people_write_it() {
    let shop = Shop::start().await;
    shop.log.append(&order_id(1).stream(), order_placed(1, 0), 0).await;
    shop.caught_up().await;
    let number = order_id(1).number();
    for name in [order_id(1).to_string(), number.clone(), number.to_lowercase().replace('1', "l").replace('0', "o")] {
        let body = shop.get(&format!("/v1/orders/{name}")).await.ok();
        assert_eq!(body["id"], order_id(1).to_string(), "{name}");
    }
    assert_eq!(shop.get(&format!("/v1/orders/{}", order_id(2))).await.status, 404);
    assert_eq!(shop.get(&format!("/v1/orders/{}", order_id(2).number())).await.status, 404);
    assert_eq!(shop.get("/v1/orders/nonsense").await.refused_field(), "path:id");
}

#[tokio::test]
async fn the_payment_of_the_latest_authorisation_decides_and_amounts_are_summed() {
    let shop = Shop::start().await;
    let placed = placed(1, &[(1, 2)], 0);
    shop.log.append(&order_id(1).stream(), order_placed(1, 0), 0).await;
    let (first, second) = (PaymentId::derive(order_id(1), 0), PaymentId::derive(order_id(1), 1));
    let key = order_id(1).to_string();
    let expired = payment::Event::PaymentExpired(payment::PaymentExpired { request_id: None });
    // The second one's events come first: the group decides, not the time.
    let events = [requested(second, &placed, 1), captured(placed.order_id, placed.totals.total, &placed)];
    shop.log.append_for(&second.stream(), &key, events.iter().map(payment::Event::encode).collect(), 1).await;
    let events = [requested(first, &placed, 0), expired];
    shop.log.append_for(&first.stream(), &key, events.iter().map(payment::Event::encode).collect(), 2).await;
    shop.caught_up().await;
    let body = shop.get(&format!("/v1/orders/{key}")).await.ok();
    assert_eq!(
        (body["payment_status"].as_str(), body["payment_id"].as_str()),
        (Some("captured"), Some(&*second.to_string()))
    );
    assert_eq!(body["captured"]["amount"], placed.totals.total.amount);
    assert_eq!(body["fulfilment_status"], "none");
    let payment = shop.get(&format!("/v1/payments/{second}")).await.ok();
    assert_eq!(payment["ledger"].as_array().unwrap().len(), 2);
    assert_eq!(shop.get(&format!("/v1/payments?order_id={key}")).await.ok()["items"].as_array().unwrap().len(), 2);
    let timeline = shop.get(&format!("/v1/orders/{key}/timeline")).await.ok();
    assert_eq!(timeline["items"].as_array().unwrap().len(), 5);
    assert_eq!(timeline["items"][0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn filters_give_what_they_name_and_nothing_else() {
    let shop = Shop::start().await;
    for number in 0..12 {
        shop.log.append(&order_id(number).stream(), order_placed(number, number as i64 * 86_400), 0).await;
    }
    let held = order::Event::OrderHeld(order::OrderHeld { reason: order::HoldReason::IncorrectAddress });
    shop.log.append(&order_id(3).stream(), vec![held.encode()], 1).await;
    shop.caught_up().await;
    let count =
        async |query: &str| shop.get(&format!("/v1/orders?{query}")).await.ok()["items"].as_array().unwrap().len();
    assert_eq!(count("held=true").await, 1);
    assert_eq!(count("held=false").await, 11);
    assert_eq!(count(&format!("customer={}", customer(1))).await, 4);
    assert_eq!(count(&format!("sku={}", item(2).sku)).await, 3);
    assert_eq!(count(&format!("sku={}&held=true", item(3).sku)).await, 1);
    assert_eq!(count(&format!("sku={}&from={}", item(2).sku, support::at(6 * 86_400).date_naive())).await, 2);
    assert_eq!(count("status=pending").await, 12);
    assert_eq!(count("status=shipped").await, 0);
    let day = |seconds| support::at(seconds).date_naive().to_string();
    assert_eq!(count(&format!("from={}&to={}", day(86_400), day(4 * 86_400))).await, 4);
    assert_eq!(count("min_total=609&max_total=728").await, 3 + 3);
    let orders = shop.get(&format!("/v1/customers/{}/orders?limit=1", customer(1))).await.ok();
    assert_eq!(orders["lifetime"][0]["orders"], 4);
    assert_eq!((orders["items"].as_array().unwrap().len(), &orders["has_more"]), (1, &true.into()));
}

#[tokio::test]
async fn the_orders_of_an_item_are_listed_once_each_however_many_lines_have_it() {
    let shop = Shop::start().await;
    for number in 0..9 {
        // Two lines of the same item, and several orders at the same moment.
        let placed = placed(number, &[(1, 1), (1, 2), (2, 1)], number as i64 / 4);
        let events = vec![order::Event::OrderPlaced(placed).encode()];
        shop.log.append(&order_id(number).stream(), events, 0).await;
    }
    shop.caught_up().await;
    let walked = walk(&shop, &format!("/v1/orders?sku={}&limit=2", item(1).sku), "id", async |_| {}).await;
    let all = walk(&shop, "/v1/orders?limit=2", "id", async |_| {}).await;
    assert_eq!((walked.len(), walked), (9, all));
}

#[tokio::test]
async fn what_is_wrong_in_a_query_is_refused_by_its_name() {
    let shop = Shop::start().await;
    shop.caught_up().await;
    let foreign = "c3RvY2sKYQpi"; // A cursor of the stock list.
    let wrong = [
        ("/v1/orders?limit=0".to_owned(), "query:limit"),
        ("/v1/orders?limit=201".to_owned(), "query:limit"),
        ("/v1/orders?limit=x".to_owned(), "query:limit"),
        ("/v1/orders?cursor=%00".to_owned(), "query:cursor"),
        (format!("/v1/orders?cursor={foreign}"), "query:cursor"),
        ("/v1/orders?status=lost".to_owned(), "query:status"),
        ("/v1/orders?status=%00".to_owned(), "query:status"),
        ("/v1/orders?customer=7".to_owned(), "query:customer"),
        ("/v1/orders?held=maybe".to_owned(), "query:held"),
        ("/v1/orders?from=yesterday".to_owned(), "query:from"),
        ("/v1/orders?min_total=1.5".to_owned(), "query:min_total"),
        ("/v1/orders?sku=%00".to_owned(), "query:sku"),
        ("/v1/orders?sku=%F0%9F%A7%B5".to_owned(), "query:sku"),
        (format!("/v1/orders?customer_id={}&customer=7", uuid::Uuid::nil()), "query:customer"),
        ("/v1/sagas?step=a%1Bb".to_owned(), "query:step"),
        ("/v1/events/find?actor=a%E2%80%AEb".to_owned(), "query:actor"),
        ("/v1/orders?stauts=pending".to_owned(), "query:stauts"),
        ("/v1/orders?limit=1&limit=2".to_owned(), "query:limit"),
        (format!("/v1/orders/{}?until=done", order_id(1)), "query:until"),
        ("/v1/payments/7".to_owned(), "path:id"),
        ("/v1/payments?order_id=7".to_owned(), "query:order_id"),
        ("/v1/shipments/x".to_owned(), "path:id"),
        ("/v1/shipments?status=gone".to_owned(), "query:status"),
        ("/v1/customers/x/orders".to_owned(), "path:id"),
        ("/v1/products/a%20b".to_owned(), "path:sku"),
        ("/v1/stock/a/B".to_owned(), "path:location"),
        ("/v1/stock?low=few".to_owned(), "query:low"),
        ("/v1/reservations?state=open".to_owned(), "query:state"),
        ("/v1/reservations?expiring_within=5".to_owned(), "query:expiring_within"),
        ("/v1/sagas?state=stuck".to_owned(), "query:state"),
        ("/v1/sagas?stuck_for=5%20minutes".to_owned(), "query:stuck_for"),
        ("/v1/reports/sales-by-day?from=2026-02-30".to_owned(), "query:from"),
        ("/v1/streams?category=a-b".to_owned(), "query:category"),
        ("/v1/streams?after=a%20b".to_owned(), "query:after"),
        ("/v1/streams/a%20b".to_owned(), "path:name"),
        ("/v1/streams/order-1?direction=up".to_owned(), "query:direction"),
        ("/v1/streams/order-1?from=-1".to_owned(), "query:from"),
        ("/v1/events?after=-1".to_owned(), "query:after"),
        ("/v1/projections?x=1".to_owned(), "query:x"),
    ];
    for (path, field) in wrong {
        let answer = shop.get(&path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert_eq!(answer.refused_field(), field, "{path}");
    }
    let headers = [
        ("X-Min-Position", "x", "header:X-Min-Position"),
        ("X-Min-Position", "9007199254740992", "header:X-Min-Position"),
        ("Prefer", "wait=x", "header:Prefer"),
    ];
    for (name, value, field) in headers {
        assert_eq!(shop.get_with("/v1/orders", &[(name, value)]).await.refused_field(), field);
    }
}

#[tokio::test]
async fn the_largest_and_the_strangest_valid_values_are_answered() {
    let shop = Shop::start().await;
    shop.caught_up().await;
    for path in [
        "/v1/orders?min_total=-9223372036854775808&max_total=9223372036854775807",
        "/v1/orders?from=0001-01-01&to=9999-12-31",
        "/v1/stock?low=-5",
        "/v1/sagas?stuck_for=36500d",
        "/v1/streams/x?from=9007199254740991",
    ] {
        let answer = shop.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
}

fn saga_stream(number: u64) -> String {
    format!("saga_order_fulfilment-{}", order_id(number))
}

async fn until_settled(shop: &Shop, number: u64, wait_s: u32) -> Answer {
    let path = format!("/v1/orders/{}?until=settled", order_id(number));
    shop.get_with(&path, &[("Prefer", &format!("wait={wait_s}"))]).await
}

#[tokio::test]
async fn until_settled_waits_until_the_saga_waits_for_the_warehouse() {
    let shop = Shop::start().await;
    shop.log.append(&order_id(1).stream(), order_placed(1, 0), 0).await;
    shop.caught_up().await;
    let late = until_settled(&shop, 1, 0).await;
    assert_eq!(late.headers["preference-applied"], "wait=0");
    assert_eq!(late.ok()["settled"], false, "on time-out the order as it is");
    let (answer, ()) = tokio::join!(until_settled(&shop, 1, 30), async {
        tokio::task::yield_now().await;
        shop.log.append_for(&saga_stream(1), &order_id(1).to_string(), saga_waits(1), 1).await;
    });
    let body = answer.ok();
    assert_eq!((&body["settled"], body["saga_state"].as_str()), (&true.into(), Some("waiting")));
    assert_eq!(body["saga"], format!("order_fulfilment-{}", order_id(1)));
    let sagas = shop.get("/v1/sagas?state=waiting").await.ok();
    assert_eq!(sagas["items"][0]["step"], "plan_shipment");
    assert_eq!(sagas["items"][0]["waits_for"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn news_that_the_saga_has_not_seen_yet_unsettles_its_order() {
    let shop = Shop::start().await;
    let key = order_id(1).to_string();
    shop.log.append(&order_id(1).stream(), order_placed(1, 0), 0).await;
    let shipment = ShipmentId::derive(order_id(1), 0);
    let planned = shipment::Event::ShipmentPlanned(shipment::ShipmentPlanned { order_id: order_id(1), lines: vec![] });
    shop.log.append_for(&shipment.stream(), &key, vec![planned.encode()], 1).await;
    shop.log.append_for(&saga_stream(1), &key, saga_waits(1), 1).await;
    shop.caught_up().await;
    assert_eq!(until_settled(&shop, 1, 0).await.ok()["settled"], true);
    let ready = shipment::Event::ShipmentReady(shipment::ShipmentReady { order_id: order_id(1) });
    shop.log.append_for(&shipment.stream(), &key, vec![ready.encode()], 2).await;
    shop.caught_up().await;
    assert_eq!(until_settled(&shop, 1, 0).await.ok()["settled"], false, "the parcel is ready, the saga has not heard");
    let done = saga::Event::SagaCompleted(saga::SagaCompleted {});
    shop.log.append_for(&saga_stream(1), &key, vec![done.encode()], 3).await;
    assert_eq!(until_settled(&shop, 1, 30).await.ok()["settled"], true);
}

#[tokio::test]
async fn a_cancellation_that_the_saga_has_not_seen_yet_unsettles_its_order() {
    let shop = Shop::start().await;
    let key = order_id(1).to_string();
    shop.log.append(&order_id(1).stream(), order_placed(1, 0), 0).await;
    shop.log.append_for(&saga_stream(1), &key, saga_waits(1), 1).await;
    let asked = order::Event::OrderCancellationRequested(order::OrderCancellationRequested { reason: "no".to_owned() });
    let position = shop.log.append(&order_id(1).stream(), vec![asked.encode()], 2).await.to_string();
    let path = format!("/v1/orders/{key}?until=settled");
    let answer = shop.get_with(&path, &[("X-Min-Position", &position)]).await;
    assert_eq!(answer.ok()["settled"], false);
}

#[tokio::test]
async fn the_stuck_are_those_to_which_nothing_has_happened_for_so_long() {
    let shop = Shop::start().await;
    shop.log.append_for(&saga_stream(1), &order_id(1).to_string(), saga_waits(1), 0).await;
    shop.caught_up().await;
    let stuck = async || shop.get("/v1/sagas?stuck_for=5m").await.ok()["items"].as_array().unwrap().len();
    assert_eq!(stuck().await, 0);
    shop.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!(stuck().await, 1);
}
