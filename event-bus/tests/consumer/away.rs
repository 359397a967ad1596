//! Kafka or Postgres hang, die and come back; nothing is lost and nothing is done twice.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use event_bus::consumer::Received;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, Consumer, HandlerError, Retry};
use futures_util::future::BoxFuture;
use service_kit::postgres::testing::TestCluster;
use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;

use crate::shop::{BOUND, OrderPlaced, Shop, database, eventually, make_tables, orders, write};

/// How long a broker hangs: longer than the session time-out, so that it forgets its members.
const HANGS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_and_one_that_is_killed_and_restarted_lose_and_repeat_nothing() {
    let kafka = Kafka::start().await.unwrap();
    let shop = Shop::open(&kafka, 2).await;
    let events = orders("q", 6, 20, 0);
    let consumer = shop.consumer("patient").start(&shop.pool).await.unwrap();
    shop.publish(0, &events[..40]).await;
    shop.until("select count(*) from handled", 40).await;
    kafka.pause();
    let mut sending = Box::pin(shop.publish(0, &events[40..80]));
    assert!(tokio::time::timeout(HANGS, &mut sending).await.is_err(), "a broker that hangs takes nothing");
    kafka.resume();
    sending.await;
    shop.until("select count(*) from handled", 80).await;
    kafka.kill();
    eventually("it says that Kafka is away", async || consumer.trouble()).await;
    let (sent, restarted) = tokio::join!(shop.publish(0, &events[80..]), kafka.restart());
    let ((), ()) = (sent, restarted.unwrap());
    shop.until("select count(*) from handled", 120).await;
    eventually("nothing is wrong any more", async || consumer.trouble().is_none().then_some(())).await;
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_killed_is_waited_for_and_no_event_is_blamed() {
    let cluster = TestCluster::start().await.unwrap();
    let url = cluster.fresh_database().await.unwrap();
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(5)).connect(&url).await.unwrap();
    make_tables(&pool).await;
    let shop = Shop { pool, ..shop };
    let events = orders("g", 5, 20, 0);
    let consumer = shop.consumer("postgres").batch(2).start(&shop.pool).await.unwrap();
    shop.publish(0, &events[..50]).await;
    shop.until("select count(*) from handled", 50).await;
    let pid = cluster.postgres().pid().unwrap();
    // SAFETY: kill(2) takes any two numbers; the pid is that of this test's own postmaster.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    shop.publish(0, &events[50..]).await;
    eventually("Postgres comes back", async || sqlx::query("select 1").execute(&shop.pool).await.ok()).await;
    shop.until("select count(*) from handled", 100).await;
    assert_eq!((consumer.counts().parked, consumer.counts().handler_errors), (0, 0));
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&events).await;
    drop(shop);
    cluster.stop().await;
}

/// How often the handler below was called.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// What it needs is away ten times; then it fails twice, of the three attempts that a record has.
fn unlucky(received: Received<OrderPlaced>, connection: &mut PgConnection) -> BoxFuture<'_, Result<(), HandlerError>> {
    Box::pin(async move {
        match CALLS.fetch_add(1, Ordering::Relaxed) {
            0..10 => Err(HandlerError::away("the mail server is away")),
            10..12 => Err(HandlerError::failed("the address is not there yet")),
            _ => write(received, connection).await,
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_no_attempt_at_the_record_that_it_meets() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    let retry = Retry { attempts: 3, first_pause: Duration::from_millis(1), ..Retry::default() };
    let retry = Retry { longest_pause: Duration::from_millis(5), ..retry };
    let builder = Consumer::builder(&shop.config, "outage").retry(retry).on("OrderPlaced", 1, unlucky);
    let consumer = builder.start(&shop.pool).await.unwrap();
    let events = orders("o", 1, 1, 0);
    shop.publish(0, &events).await;
    shop.until("select count(*) from handled", 1).await;
    assert_eq!((consumer.counts().parked, consumer.counts().handler_errors), (0, 2));
    assert!(consumer.shut_down(BOUND).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_it_from_starting_is_said_in_one_line() {
    let kafka = Kafka::shared().await.unwrap();
    let shop = Shop::open(kafka, 1).await;
    let none = Consumer::builder(&shop.config, "idle").start(&shop.pool).await.unwrap_err();
    assert_eq!(none.to_string(), "the consumer `idle` has no handler; give it one with `.on(type, version, handler)`");
    let nowhere = BusConfig { brokers: None, ..shop.config.clone() };
    let nowhere = Shop { config: nowhere, ..shop };
    let said = nowhere.consumer("idle").start(&nowhere.pool).await.unwrap_err().to_string();
    assert!(said.contains("`brokers`"), "{said}");
    // A topic that is not there yet is waited for, and told meanwhile.
    let misspelt =
        BusConfig { brokers: Some(kafka.brokers().to_owned()), topic: "misspelt".to_owned(), ..BusConfig::default() };
    let waiting = Shop { config: misspelt, ..nowhere }.consumer("waits");
    let (pool, _) = database().await;
    let consumer = waiting.start(&pool).await.unwrap();
    let said = eventually("it says what is wrong", async || consumer.trouble()).await;
    assert!(said.contains("the topic `misspelt` does not exist"), "{said}");
    assert!(consumer.shut_down(BOUND).await);
}
