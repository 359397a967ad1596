//! The log over HTTP: pages, and server-sent events that go on without a hole or a duplicate.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use domain::order;
use event_store::EventStore as _;
use http_body_util::BodyExt as _;
use projection_service::LiveBounds;
use service_kit::serve::Peer;
use support::stories::{order_id, placed};
use support::{BOUND, Shop};
use tower::ServiceExt as _;

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

async fn until_there_is_a_place(shop: &Shop) {
    while shop.response("/v1/events", &[("accept", "text/event-stream")]).await.status() == 503 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clients_that_read_nothing_or_stay_for_long_lose_their_places_to_others() {
    let mut shop = Shop::start().await;
    let bounds = LiveBounds { connections: 1, stalls: Duration::from_millis(200), ..LiveBounds::default() };
    shop.live_within(bounds);
    for number in 0..60 {
        place(&shop, number).await;
    }
    let stands = live(&shop, "/v1/events?after=0", None).await; // Nobody reads from it.
    let headers = [("accept", "text/event-stream")];
    assert_eq!(shop.response("/v1/events", &headers).await.status(), 503, "there is one place");
    tokio::time::timeout(BOUND, until_there_is_a_place(&shop)).await.expect("its place is taken away");
    drop(stands);
    // Nor does one keep it that reads: it is ended after a while, and goes on where it was.
    shop.live_within(LiveBounds { connections: 1, lasts: Duration::from_millis(200), ..LiveBounds::default() });
    let mut reads = live(&shop, "/v1/events?after=0", None).await;
    let seen = ids(&mut reads, usize::MAX).await; // To its end.
    assert!(tokio::time::timeout(BOUND, until_there_is_a_place(&shop)).await.is_ok(), "{seen:?}");
}

#[tokio::test]
async fn one_address_never_has_all_live_connections() {
    let mut shop = Shop::start().await;
    shop.live_within(LiveBounds { connections: 3, per_address: 2, ..LiveBounds::default() });
    let from = async |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        let mut request = Request::get("/v1/events").header("accept", "text/event-stream").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(address));
        shop.router.clone().oneshot(request).await.unwrap()
    };
    let (one, two) = (from("10.0.0.1:1").await, from("10.0.0.1:2").await);
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    assert_eq!(from("10.0.0.1:3").await.status(), 503);
    assert_eq!(from("10.0.0.2:1").await.status(), 200);
}

#[tokio::test]
async fn a_position_that_the_log_does_not_have_is_refused_and_not_waited_for_in_silence() {
    let shop = Shop::start().await;
    let head = place(&shop, 1).await;
    let beyond = (head + 7).to_string();
    let events = [("accept", "text/event-stream"), ("last-event-id", beyond.as_str())];
    for (path, headers) in [
        ("/v1/events".to_owned(), &events[..]),
        (format!("/v1/events?after={beyond}"), &events[..1]),
        (format!("/v1/events?after={beyond}"), &[]),
        (format!("/v1/events/find?cursor={beyond}"), &[]),
    ] {
        let answer = shop.get_with(&path, headers).await;
        assert_eq!((answer.status, &answer.body["type"]), (410, &"/problems/beyond-the-log".into()), "{path}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("ends at position {head}")), "{detail}");
    }
    // Its very end is a place to go on from.
    assert_eq!(shop.response(&format!("/v1/events?after={head}"), &events[..1]).await.status(), 200);
}

#[tokio::test]
async fn an_event_that_is_read_before_the_head_has_moved_is_a_place_to_go_on_from() {
    let shop = Shop::start().await;
    let before = place(&shop, 1).await;
    let mut committed = shop.log.faults.cut();
    shop.log.faults.cut_after(1); // The next append is committed, and the head stays where it is.
    let (stream, event) = (order_id(2).stream().parse().unwrap(), order::Event::OrderPlaced(placed(2, &[(1, 1)], 0)));
    let _ticket = shop.log.queue(&stream, ("2", "dev"), 0, vec![event.encode()], 0).await;
    committed.wait_for(|committed| *committed).await.unwrap();
    let page = shop.get_with(&format!("/v1/events?after={before}"), &[]).await;
    let position = page.body["items"][0]["position"].as_u64().unwrap();
    assert!(position > before && position > shop.log.store.head().borrow().0, "{position} can be read");
    let next = shop.get_with(&format!("/v1/events?after={position}"), &[]).await;
    assert_eq!((next.status, next.body["items"].as_array().map(Vec::len)), (200, Some(0)), "{}", next.body);
}

#[tokio::test]
async fn a_last_event_id_that_is_none_is_refused_by_name() {
    let shop = Shop::start().await;
    let headers = [("accept", "text/event-stream"), ("last-event-id", "x")];
    assert_eq!(shop.get_with("/v1/events", &headers).await.refused_field(), "header:Last-Event-ID");
    // Also where the answer is a page, and `after` is given.
    let refused = shop.get_with("/v1/events?after=0", &headers[1..]).await;
    assert_eq!(refused.refused_field(), "header:Last-Event-ID");
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
