//! Orchestrators as in a cluster, over a log that another process serves and fed by a real Kafka: one that stops is taken
//! over, and the whole feed once more changes nothing.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use domain::ids::OrderId;
use domain::saga::{SagaState, View};
use event_bus::testing::Kafka;
use event_bus::{BusConfig, Relay};
use event_store::kurrentdb::KurrentStore;
use event_store::serve::{ServeOptions, Server};
use event_store::{Direction, EventStore, Filter, Position, StreamSnapshot};
use futures_util::future::join_all;
use saga_orchestrator::service::{Config, Service, open_log};
use service_kit::{Clock, Health, Tasks};
use world::cluster::Fate;
use world::node::Town;
use world::running::order;

const PARTITIONS: u32 = 3;

/// A shop whose log is served, and relayed to a topic of its own.
struct Relayed {
    town: Town,
    bus: BusConfig,
    log_url: String,
    tasks: Tasks,
}

async fn relayed(name: &str) -> Relayed {
    let kafka = Kafka::shared().await.unwrap();
    let town = Town::open(PARTITIONS, Clock::system()).await;
    let bus = BusConfig {
        brokers: Some(kafka.brokers().to_owned()),
        topic: format!("{name}.events"),
        partitions: PARTITIONS,
        group_prefix: format!("{name}."),
        session_timeout_ms: 1_500,
        watermark_ms: 50,
        ..BusConfig::default()
    };
    let tasks = Tasks::new();
    let options = ServeOptions::on("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = Server::bind(town.store.clone(), options).await.unwrap();
    let (log_url, stop) = (server.connection_string(), tasks.stopping());
    tasks.spawn("log", async move { server.run(stop.cancelled_owned()).await.unwrap() });
    let relay = Relay::new(bus.clone(), KurrentStore::connect(&log_url).await.unwrap());
    let stop = tasks.stopping();
    tasks.spawn("relay", async move { relay.run(stop).await.unwrap() });
    Relayed { town, bus, log_url, tasks }
}

impl Relayed {
    /// A process that runs sagas.
    async fn service(&self) -> Service {
        let (_, commands) = self.town.ways(&Fate::stopping_at(usize::MAX));
        let mut config = Config { bus: self.bus.clone(), ..Config::default() };
        config.http.listen.set_port(0);
        config.event_store.url = Some(self.log_url.clone().into());
        let health = Health::new(self.town.clock.clone());
        let log = open_log(&config, &health, &self.tasks).await.unwrap();
        Service::start(&config, log, commands, health, self.town.clock.clone()).await.unwrap()
    }
}

/// Waits until `/health` says this of the sagas.
async fn says(service: &Service, what: impl Fn(&str) -> bool) {
    let waits = async {
        loop {
            let report = service.health.report();
            if report.dependencies["sagas"].detail.as_deref().is_some_and(&what) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waits).await;
    assert!(waited.is_ok(), "{:?}", service.health.report());
}

fn at_the_warehouse(view: &View) -> bool {
    view.step() == Some("plan_shipment") && view.settled()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_that_stops_was_doing_another_goes_on_with_within_seconds() {
    let shop = relayed("sagas-take-over").await;
    let town = &shop.town;
    let one = shop.service().await;
    says(&one, |detail| detail == "runs partitions 0, 1, 2").await;
    let other = shop.service().await;
    says(&other, |detail| detail.starts_with("runs partition")).await;
    let orders: Vec<OrderId> = (1..=12).map(order).collect();
    for id in &orders {
        town.place(*id, "tok_approve").await;
    }
    join_all(orders.iter().map(|id| town.until(*id, "at the warehouse", at_the_warehouse))).await;
    let began = Instant::now();
    one.stop().await;
    join_all(orders.iter().map(|id| town.to_its_end(*id))).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    says(&other, |detail| detail == "runs partitions 0, 1, 2").await;
    let (ends, stock) = town.ends(&orders).await;
    assert!(ends.iter().all(|end| end.saga == SagaState::Completed && end.taken == 200), "{ends:#?}");
    assert_eq!(stock, [(988, 0, 0); 2]);
    town.assert_everything_happened_once().await;
    other.stop().await;
    shop.tasks.shut_down(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_topic_once_more_from_offset_0_changes_nothing() {
    let Relayed { town, bus, tasks, .. } = relayed("sagas-again").await;
    let first = town.healthy();
    first.join(&bus).await;
    let orders: Vec<OrderId> = (1..=12).map(order).collect();
    for (n, id) in (1..).zip(&orders) {
        town.place(*id, if n % 4 == 0 { "tok_decline" } else { "tok_approve" }).await;
    }
    join_all(orders.iter().map(|id| town.to_its_end(*id))).await;
    first.close().await;
    for partition in 0..PARTITIONS {
        let state = r#"{"position":0,"active":[]}"#.to_owned();
        let stream = format!("saga_checkpoint-{partition}").parse().unwrap();
        town.store.save_snapshot(&stream, StreamSnapshot { version: 0, schema: 1, state }).await.unwrap();
    }
    let log = town.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await.unwrap();
    let heard = log.iter().filter(|event| event.stream.category() != "stock").count();
    let ends = town.ends(&orders).await;
    let second = Arc::new(town.healthy());
    second.join(&bus).await;
    // One more order, and it has come through all that was before.
    town.place(order(13), "tok_approve").await;
    town.to_its_end(order(13)).await;
    let all = async {
        while second.handed_over.load(Relaxed) < heard {
            tokio::task::yield_now().await;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(30), all).await;
    let handed_over = second.handed_over.load(Relaxed);
    assert!(all.is_ok(), "only {handed_over} of {heard} events came once more");
    assert_eq!(town.ends(&orders).await.0, ends.0);
    let news = town.store.read_all(log.last().unwrap().position, Direction::Forward, 1_000, &Filter::default()).await;
    let of_13 = order(13).to_string();
    let foreign = |event: &&event_store::RecordedEvent| {
        event.metadata.partition_key != of_13 && event.stream.category() != "stock"
    };
    assert_eq!(news.unwrap().iter().filter(foreign).count(), 0, "nothing of the others was written");
    let sent = second.sender.sent().len();
    assert!((8..=20).contains(&sent), "only the new order's commands were sent, not {sent}");
    town.assert_everything_happened_once().await;
    second.close().await;
    tasks.shut_down(Duration::from_secs(10)).await;
}
