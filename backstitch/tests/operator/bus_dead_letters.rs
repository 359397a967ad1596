//! A record that another team's consumer cannot handle, found and repaired by the command line while the consumer runs.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_bus::consumer::Received;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, Consumer, HandlerError, Retry, cloudevents};
use event_store::{Metadata, Position, RecordedEvent};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use serde_json::value::RawValue;
use service_kit::postgres::testing::fresh_database;
use sqlx::PgPool;

const BOUND: Duration = Duration::from_secs(60);

async fn backstitch(url: &str, arguments: &'static [&'static str]) -> (Option<i32>, String, String) {
    let url = url.to_owned();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
        command.args(["bus", "dead-letters"]).args(arguments).args(["--postgres", &url]).env("NO_COLOR", "1");
        command.output().unwrap()
    };
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn event(order: &str, version: u64, position: u64) -> RecordedEvent {
    let at = chrono::DateTime::from_timestamp_millis(1_790_000_000_000).unwrap();
    let id = uuid::Uuid::from_u128(position.into());
    let metadata = Metadata {
        partition_key: order.to_owned(),
        correlation_id: id,
        causation_id: id,
        command_id: id,
        command_hash: None,
        traceparent: None,
        actor: "test".to_owned(),
        occurred_at: at,
    };
    RecordedEvent {
        id,
        stream: format!("order-{order}").parse().unwrap(),
        version,
        position: Position(position),
        event_type: "OrderPlaced".into(),
        schema_version: 1,
        data: RawValue::from_string("{}".to_owned()).unwrap(),
        metadata: Arc::new(metadata),
        recorded_at: at,
    }
}

async fn publish(config: &BusConfig, events: &[RecordedEvent]) {
    let servers = config.brokers.clone().unwrap();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    for event in events {
        let headers = cloudevents::headers(event, "/test", Some(Position(event.position.0 - 1)));
        let key = &event.metadata.partition_key;
        let record = FutureRecord::to(&config.topic).key(key).payload("{}").partition(0).headers(headers);
        producer.send(record, BOUND).await.unwrap();
    }
}

async fn until(pool: &PgPool, query: &'static str, wanted: i64) {
    let reached = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() != wanted {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(BOUND, reached).await.unwrap_or_else(|_| panic!("{query}: {wanted}"));
}

/// A consumer that takes down the order of each event, and cannot handle those of `bad` while `broken`.
async fn consumer(config: &BusConfig, pool: &PgPool, broken: Arc<AtomicBool>) -> Consumer {
    let retry = Retry { attempts: 2, first_pause: Duration::from_millis(10), ..Retry::default() };
    let consumer = Consumer::builder(config, "billing").retry(retry);
    let consumer = consumer
        .on("OrderPlaced", 1, move |received, connection| work(received, connection, broken.load(Ordering::SeqCst)));
    consumer.start(pool).await.unwrap()
}

fn work(
    received: Received<Value>,
    connection: &mut sqlx::PgConnection,
    broken: bool,
) -> event_bus::consumer::Handled<'_> {
    Box::pin(async move {
        let stream = received.event.stream.to_string();
        if broken && stream == "order-bad" {
            return Err(HandlerError::failed("no such customer"));
        }
        sqlx::query("insert into seen (stream) values ($1)").bind(stream).execute(connection).await?;
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_found_retried_and_discarded_while_its_consumer_runs() {
    let kafka = Kafka::shared().await.unwrap();
    let topic = kafka.topic("consumed", 1).await.unwrap();
    let config = BusConfig { brokers: Some(kafka.brokers().to_owned()), topic, partitions: 1, ..BusConfig::default() };
    let url = fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let (code, _, said) = backstitch(&url, &["list"]).await;
    assert_eq!(code, Some(2), "nobody keeps anything there yet: {said}");
    assert!(said.contains("\n\nhint: --postgres"), "{said}");

    sqlx::query("create table seen (stream text not null)").execute(&pool).await.unwrap();
    let broken = Arc::new(AtomicBool::new(true));
    let running = consumer(&config, &pool, Arc::clone(&broken)).await;
    publish(&config, &[event("bad", 0, 1), event("good", 0, 2), event("bad", 1, 3)]).await;
    until(&pool, "select count(*) from bus_dead_letters", 2).await;

    let (code, listed, _) = backstitch(&url, &["list"]).await;
    assert_eq!(code, Some(0));
    assert!(listed.contains("billing") && listed.contains("no such customer"), "{listed}");
    let (_, shown, _) = backstitch(&url, &["show", "1", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["cause"], &shown["waiting"], &shown["key"]), (&"failed".into(), &1.into(), &"bad".into()));
    let (code, said, _) = backstitch(&url, &["retry", "1"]).await;
    assert_eq!((code, said.as_str()), (Some(1), "1: it stands again: no such customer\n"));

    let (code, _, said) = backstitch(&url, &["discard", "1", "--yes"]).await;
    assert_eq!(code, Some(2), "only with a reason: {said}");
    broken.store(false, Ordering::SeqCst);
    let (code, said, _) = backstitch(&url, &["retry", "1"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "1: handled\n"));
    until(&pool, "select count(*) from seen", 3).await;

    broken.store(true, Ordering::SeqCst);
    publish(&config, &[event("bad", 2, 4)]).await;
    until(&pool, "select count(*) from bus_dead_letters", 1).await;
    let (code, said, _) = backstitch(&url, &["discard", "3", "--reason", "a test's order", "--yes"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "3: discarded\n"));
    let (code, _, said) = backstitch(&url, &["retry", "3"]).await;
    assert_eq!(code, Some(1), "it is out for ever: {said}");
    let (_, listed, said) = backstitch(&url, &["list"]).await;
    assert_eq!((listed.as_str(), said.as_str()), ("", "nothing is parked: the consumers handle all keys\n"));
    assert!(running.shut_down(BOUND).await);
}
