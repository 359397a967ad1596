//! The read side as it is deployed: replicas over a served log, a real Kafka with its relay, and one Postgres, asked by HTTP.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use domain::order;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, Relay};
use event_store::serve::{ServeOptions, Server};
use event_store::{EventStoreConfig, Position};
use projection_service::config::PostgresConfig;
use projection_service::service::{Config, Service};
use serde_json::Value;
use service_kit::postgres::testing::fresh_database;
use service_kit::{Clock, HttpConfig, Tasks};
use support::stories::{order_id, placed};
use support::{BOUND, Log};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A log that is served, and relayed to a topic of its own.
async fn world() -> (Log, Config, Tasks) {
    let (log, tasks, kafka) = (Log::new(), Tasks::new(), Kafka::shared().await.unwrap());
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(log.store.clone(), ServeOptions::on(nowhere).unwrap()).await.unwrap();
    let (url, stop) = (server.connection_string(), tasks.stopping());
    tasks.spawn("log", async move { server.run(stop.cancelled_owned()).await.unwrap() });
    let bus = BusConfig {
        brokers: Some(kafka.brokers().to_owned()),
        topic: "service.events".to_owned(),
        partitions: 4,
        group_prefix: "service-test.".to_owned(),
        ..BusConfig::default()
    };
    let (relay, stop) = (Relay::new(bus.clone(), log.store.clone()), tasks.stopping());
    tasks.spawn("relay", async move { relay.run(stop).await.unwrap() });
    let config = Config {
        http: HttpConfig { listen: nowhere, ..HttpConfig::default() },
        event_store: EventStoreConfig { url: Some(url.into()), ..EventStoreConfig::default() },
        bus,
        postgres: PostgresConfig { url: Some(fresh_database().await.unwrap().into()) },
        ..Config::default()
    };
    (log, config, tasks)
}

/// The status, the head as it is, and the body of an answer.
async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String, Value) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Waits until a replica says that it is ready, with Kafka and the log.
async fn ready(service: &Service) {
    let begun = Instant::now();
    loop {
        let (status, _, report) = get(service.address, "/health", &[]).await;
        let up = |name: &str| report["dependencies"][name]["status"] == "up";
        if status == 200 && report["ready"] == true && up("kafka") && up("event-store") && up("read-models") {
            return;
        }
        assert!(begun.elapsed() < BOUND, "{report}");
        tokio::task::yield_now().await;
    }
}

async fn place(log: &Log, number: u64) -> Position {
    let placed = order::Event::OrderPlaced(placed(number, &[(1, 2)], 0)).encode();
    log.append(&order_id(number).stream(), vec![placed], 0).await
}

/// Places some orders and reads each of them, no older than it is, from this replica.
async fn sell_and_read(log: &Log, numbers: std::ops::Range<u64>, replica: &Service) {
    for number in numbers {
        let position = place(log, number).await.to_string();
        let headers = [("X-Min-Position", position.as_str()), ("Prefer", "wait=30")];
        let (status, head, order) = get(replica.address, &format!("/v1/orders/{}", order_id(number)), &headers).await;
        assert_eq!((status, &order["status"]), (200, &Value::from("pending")), "{head}\n{order}");
        assert!(head.contains(&format!("x-position: {position}")), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_work_answer_for_each_other_and_one_that_stops_hands_over() {
    let (log, config, tasks) = world().await;
    let first = Service::start(&config, Clock::system()).await.unwrap();
    let second = Service::start(&config, Clock::system()).await.unwrap();
    ready(&first).await;
    ready(&second).await;
    sell_and_read(&log, 0..10, &first).await;
    sell_and_read(&log, 10..20, &second).await;
    let (status, _, listed) = get(second.address, "/v1/projections", &[]).await;
    assert_eq!((status, listed["items"][0]["partitions"].as_array().unwrap().len()), (200, 4), "{listed}");
    let stops = Instant::now();
    first.stop().await;
    println!("stopped in {:?}", stops.elapsed());
    sell_and_read(&log, 20..30, &second).await;
    let sums = support::rows(config.postgres.url.as_ref().unwrap().reveal(), "sales_by_day").await;
    assert_eq!(sums[0]["orders"], 30);
    second.stop().await;
    assert!(tasks.shut_down(BOUND).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_cannot_do_without_is_named_with_what_to_type() {
    let bus = BusConfig { brokers: Some("127.0.0.1:1".to_owned()), ..BusConfig::default() };
    let http = HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpConfig::default() };
    let postgres = |url: &str| PostgresConfig { url: Some(url.to_owned().into()) };
    for (config, what, hint) in [
        (Config { bus: bus.clone(), ..Config::default() }, "postgres.url", "DATABASE_URL"),
        (Config { postgres: postgres("nowhere"), ..Config::default() }, "postgres.url", "DATABASE_URL"),
        (Config { postgres: postgres("postgres://h/d"), ..Config::default() }, "brokers", "BACKSTITCH__BUS__BROKERS"),
        (
            Config { postgres: postgres("postgres://h/d"), bus, http, ..Config::default() },
            "event_store.url",
            "kurrentdb://",
        ),
    ] {
        let error = Service::start(&config, Clock::system()).await.unwrap_err();
        assert!(error.what.contains(what) && error.hint.contains(hint), "{error}; {}", error.hint);
    }
}
