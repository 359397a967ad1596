//! The log over HTTP: pages, and server-sent events that go on without a hole or a duplicate.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use axum::response::Response;
use domain::order;
use http_body_util::BodyExt as _;
use support::stories::{order_id, placed};
use support::{BOUND, Shop};

async fn place(shop: &Shop, number: u64) -> u64 {
    let placed = order::Event::OrderPlaced(placed(number, &[(1, 1)], 0));
    shop.log.append(&order_id(number).stream(), vec![placed.encode()], 0).await.0
}

async fn live(shop: &Shop, path: &str, last: Option<u64>) -> Response {
    let last = last.map(|last| last.to_string());
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(last.as_deref().map(|last| ("last-event-id", last)));
    let response = shop.response(path, &headers).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// Reads up to `most` ids, or to the end.
async fn ids(response: &mut Response, most: usize) -> Vec<u64> {
    let mut text = String::new();
    let found = |text: &str| -> Vec<u64> {
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
    };
    while found(&text).len() < most {
        let frame = tokio::time::timeout(BOUND, response.body_mut().frame()).await.expect("something comes");
        let Some(Ok(frame)) = frame else { break };
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap_or_default()).unwrap());
    }
    found(&text)
}

#[tokio::test]
async fn a_client_that_comes_back_with_its_last_id_misses_nothing_and_sees_nothing_twice() {
    let shop = Shop::start().await;
    let mut positions = Vec::new();
    for number in 0..5 {
        positions.push(place(&shop, number).await);
    }
    let mut first = live(&shop, "/v1/events?after=0", None).await;
    let mut seen = ids(&mut first, 3).await;
    seen.truncate(3); // The connection breaks here; what came with the last frame is lost with it.
    drop(first);
    for number in 5..9 {
        positions.push(place(&shop, number).await);
    }
    // `Last-Event-ID` goes before the `after` that is still in the address.
    let mut second = live(&shop, "/v1/events?after=0", seen.last().copied()).await;
    let rest = positions.len() - seen.len();
    let mut later = ids(&mut second, rest).await;
    positions.push(place(&shop, 9).await);
    later.extend(ids(&mut second, 1).await);
    seen.extend(later);
    assert_eq!(seen, positions);
}

#[tokio::test]
async fn without_a_place_to_begin_the_live_log_begins_with_what_comes_next() {
    let shop = Shop::start().await;
    place(&shop, 1).await;
    let mut stream = live(&shop, "/v1/events", None).await;
    let next = place(&shop, 2).await;
    assert_eq!(ids(&mut stream, 1).await, [next]);
}

#[tokio::test]
async fn a_category_is_all_that_is_shown_live() {
    let shop = Shop::start().await;
    let mut stream = live(&shop, "/v1/events?category=stock&after=0", None).await;
    place(&shop, 1).await;
    let received =
        domain::stock::StockReceived { item: support::stories::item(1), quantity: support::stories::pieces(3) };
    let event = domain::stock::Event::StockReceived(received).encode();
    let position = shop.log.append(&support::stories::item(1).stream(), vec![event], 0).await.0;
    assert_eq!(ids(&mut stream, 1).await, [position]);
}

#[tokio::test]
async fn live_connections_end_when_the_service_stops() {
    let shop = Shop::start().await;
    let mut stream = live(&shop, "/v1/events?after=0", None).await;
    let position = place(&shop, 1).await;
    assert_eq!(ids(&mut stream, 1).await, [position]);
    shop.tasks.stop();
    assert_eq!(ids(&mut stream, 1).await, [] as [u64; 0]);
}

#[tokio::test]
async fn a_last_event_id_that_is_none_is_refused_by_name() {
    let shop = Shop::start().await;
    let headers = [("accept", "text/event-stream"), ("last-event-id", "x")];
    assert_eq!(shop.get_with("/v1/events", &headers).await.refused_field(), "header:Last-Event-ID");
}

#[tokio::test]
async fn the_log_is_read_page_by_page_both_ways() {
    let shop = Shop::start().await;
    let stream = order_id(1).stream();
    place(&shop, 1).await;
    for _ in 0..4 {
        let held = order::Event::OrderHoldReleased(order::OrderHoldReleased { reason: None });
        shop.log.append(&stream, vec![held.encode()], 0).await;
    }
    place(&shop, 2).await;
    for (direction, expected) in [("forward", [0, 1, 2, 3, 4]), ("backward", [4, 3, 2, 1, 0])] {
        let (mut versions, mut from) = (Vec::new(), String::new());
        loop {
            let page = shop.get(&format!("/v1/streams/{stream}?direction={direction}&limit=2{from}")).await.ok();
            versions.extend(page["items"].as_array().unwrap().iter().map(|event| event["version"].as_u64().unwrap()));
            match page["next"].as_str() {
                Some(next) => from = format!("&from={next}"),
                None => break,
            }
        }
        assert_eq!(versions, expected, "{direction}");
    }
    let page = shop.get("/v1/events?limit=5").await.ok();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["has_more"]), (5, &true.into()));
    let rest = shop.get(&format!("/v1/events?after={}", page["next"].as_str().unwrap())).await.ok();
    assert_eq!(rest["items"][0]["type"], "OrderPlaced");
    assert_eq!(shop.get("/v1/streams?category=order&limit=1").await.ok()["has_more"], true);
    assert_eq!(shop.get("/v1/streams/order-none").await.status, 404);
    assert_eq!(shop.get("/v1/store/stats").await.ok()["events"], 6);
}
