//! The broker that the tests stand on is a real one, and it can be killed and paused.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::time::Duration;

use event_bus::testing::Kafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};

fn producer(kafka: &Kafka) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("enable.idempotence", "true")
        .set("reconnect.backoff.max.ms", "300")
        .create()
        .unwrap()
}

async fn send(producer: &FutureProducer, topic: &str, value: &str) {
    let record: FutureRecord<'_, str, str> = FutureRecord::to(topic).payload(value).partition(0);
    producer.send(record, Duration::from_secs(30)).await.unwrap();
}

/// The end of a topic's only partition, as the broker says.
fn end_of(kafka: &Kafka, topic: &str) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap();
    consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_and_a_pause_of_the_broker() {
    let kafka = Kafka::start().await.unwrap();
    let topic = kafka.topic("kept", 1).await.unwrap();
    let producer = producer(&kafka);
    send(&producer, &topic, "before").await;
    kafka.kill();
    kafka.restart().await.unwrap();
    send(&producer, &topic, "after").await;
    kafka.pause();
    let waiting = tokio::time::timeout(Duration::from_millis(300), send(&producer, &topic, "during")).await;
    assert!(waiting.is_err(), "a paused broker acknowledges nothing");
    kafka.resume();
    send(&producer, &topic, "at last").await;
    assert!(end_of(&kafka, &topic) >= 4, "all four are there (the one in between was on its way)");
}

#[tokio::test]
async fn the_shared_broker_gives_every_test_a_topic_of_its_own() {
    let kafka = Kafka::shared().await.unwrap();
    let (one, other) = (kafka.topic("mine", 1).await.unwrap(), kafka.topic("mine", 1).await.unwrap());
    assert_ne!(one, other);
    send(&producer(kafka), &one, "1").await;
    assert_eq!((end_of(kafka, &one), end_of(kafka, &other)), (1, 0));
    assert!(kafka.create_topic(&one, 1, &[]).await.is_err(), "a name is taken once");
}
