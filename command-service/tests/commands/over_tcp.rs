//! The write side behind a real socket: what a client sees that no router shows.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use service_kit::serve::{self, Options};
use service_kit::{Limits, Problem};
use tokio::net::TcpListener;

use crate::world::World;

async fn served(world: &World) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options::new("http", &Limits::default(), Duration::ZERO);
    world.tasks.spawn("http", serve::run(listener, world.router.clone(), options, None, world.tasks.stopping()));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_10_mb_reads_why_it_was_refused() {
    let world = World::new();
    let address = served(&world).await;
    let body = format!("{{\"quantity\": 5, \"pad\": \"{}\"}}", "x".repeat(10_000_000));
    let request = reqwest::Client::new()
        .post(format!("http://{address}/v1/stock/SKU/main/receive"))
        .header("content-type", "application/json")
        .header("idempotency-key", "k");
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.json::<Problem>().await.unwrap().slug(), "body-too-large");
    assert_eq!(world.head().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_answers_what_it_has_begun() {
    let world = World::selling().await;
    let address = served(&world).await;
    let client = reqwest::Client::new();
    let request = |key: &'static str| {
        let request = client.post(format!("http://{address}/v1/stock/SKU/main/receive"));
        let request = request.header("content-type", "application/json").header("idempotency-key", key);
        request.body(r#"{"quantity": 5}"#).send()
    };
    assert_eq!(request("a").await.unwrap().status(), 200);
    assert!(world.tasks.shut_down(Duration::from_secs(5)).await, "it stops within the bound");
    assert!(request("b").await.is_err(), "nobody listens any more");
}
