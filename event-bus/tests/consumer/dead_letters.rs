//! What cannot be handled is put aside with its cause, holds up its own key and nothing else, and goes on in order.

use std::time::Duration;

use event_bus::consumer::Received;
use event_bus::dead_letter::Cause;
use event_bus::testing::Kafka;
use event_bus::{DeadLetters, Retry, cloudevents};
use event_store::{Position, RecordedEvent};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, OwnedHeaders};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::value::RawValue;

use crate::shop::{BOUND, OrderPlaced, Shop, orders, placed};

const PARKED: &str = "select count(*) from bus_dead_letters where discarded_at is null";

async fn refuse(shop: &Shop, stream: &str) {
    sqlx::query("create table if not exists refused (stream text)").execute(&shop.pool).await.unwrap();
    sqlx::query("insert into refused values ($1)").bind(stream).execute(&shop.pool).await.unwrap();
}

/// The headers of the first record of the topic of dead letters.
fn first_letter(kafka: &Kafka, topic: &str) -> Vec<(String, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "looks")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&format!("{topic}.dead-letters"), 0, Offset::Beginning).unwrap();
    consumer.assign(&place).unwrap();
    let record = consumer.poll(BOUND).unwrap().unwrap().detach();
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
    record.headers().unwrap().iter().map(|it| (it.key.to_owned(), text(it.value))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_becomes_a_dead_letter_and_blocks_only_its_key_until_repair() {
    let kafka = Kafka::shared().await.unwrap();
    let shop = Shop::open(kafka, 1).await;
    let events = orders("p", 4, 5, 0);
    refuse(&shop, "order-p2").await;
    shop.publish(0, &events).await;
    let consumer = shop.consumer("poisoned").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 15).await;
    shop.until(PARKED, 5).await;
    assert_eq!(shop.count("select count(*) from handled where stream = 'order-p2'").await, 0, "nothing of it was done");

    let letters = DeadLetters::new(shop.pool.clone(), "public");
    let listed = letters.list(Some("poisoned"), 0, 10).await.unwrap();
    assert_eq!(listed.len(), 1, "one line for the key: {listed:?}");
    let letter = &listed[0];
    assert_eq!((letter.cause, letter.attempts, letter.waiting, letter.offset), (Cause::Failed, 3, 4, 2));
    assert_eq!((letter.key.as_deref(), letter.event_type.as_deref()), (Some("p2"), Some("OrderPlaced")));
    assert_eq!(letter.error, "the order is refused by hand");
    let headers = first_letter(kafka, &shop.topic);
    for (name, value) in [
        ("ce_id", events[2].id.to_string().as_str()),
        ("deadletter_cause", "failed"),
        ("deadletter_error", "the order is refused by hand"),
        ("deadletter_attempts", "3"),
        ("deadletter_group", "poisoned"),
        ("deadletter_topic", &shop.topic),
        ("deadletter_partition", "0"),
        ("deadletter_offset", "2"),
    ] {
        assert!(headers.contains(&(name.to_owned(), value.to_owned())), "{name}={value}: {headers:?}");
    }

    // A retry while the cause is still there changes nothing but the count of attempts.
    assert_eq!(letters.retry(letter.id, "ada").await.unwrap(), 5);
    shop.until("select max(attempts)::bigint from bus_dead_letters", 4).await;
    assert_eq!(shop.count("select count(*) from handled").await, 15);
    // The cause is gone: the key goes on in order, and what comes later comes after.
    sqlx::query("delete from refused").execute(&shop.pool).await.unwrap();
    letters.retry(letter.id, "ada").await.unwrap();
    shop.until(PARKED, 0).await;
    let later = [placed("p2", 5, 21), placed("p1", 5, 22)];
    shop.publish(0, &later).await;
    shop.until("select count(*) from handled", 22).await;
    assert_eq!(consumer.counts().settled, 5);
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&[events, later.to_vec()].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discarded_record_is_out_for_ever_and_those_behind_it_go_on() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    let mut events = vec![placed("d", 0, 1), placed("d", 1, 2), placed("d", 2, 3)];
    events[0].data = RawValue::from_string("{\"amount\":\"much\"}".to_owned()).unwrap();
    shop.publish(0, &events).await;
    let consumer = shop.consumer("discards").start(&shop.pool).await.unwrap();
    shop.until(PARKED, 3).await;
    let letters = DeadLetters::new(shop.pool.clone(), "public");
    let letter = letters.list(None, 0, 10).await.unwrap().remove(0);
    let shown = letters.show(letter.id).await.unwrap().unwrap();
    assert_eq!((shown.value.as_deref(), shown.letter.cause), (Some("{\"amount\":\"much\"}"), Cause::Undecodable));
    assert!(shown.letter.error.contains("amount") || shown.letter.error.contains("i64"), "{}", shown.letter.error);
    assert!(letters.discard(letter.id, "ada", "a test's order").await.unwrap());
    assert!(!letters.discard(letter.id, "ada", "again").await.unwrap(), "once");
    shop.until("select count(*) from handled", 2).await;
    shop.until(PARKED, 0).await;
    let gone = letters.show(letter.id).await.unwrap().unwrap().letter.discarded.unwrap();
    assert_eq!((gone.1.as_str(), gone.2.as_str()), ("ada", "a test's order"));
    shop.publish(0, &[placed("d", 3, 4)]).await;
    shop.until("select count(*) from handled", 3).await;
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&[placed("d", 1, 2), placed("d", 2, 3), placed("d", 3, 4)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_and_future_records_are_parked_and_unwanted_types_are_skipped() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    let newer = RecordedEvent { schema_version: 9, ..placed("newer", 0, 1) };
    let other = RecordedEvent { event_type: "OrderSeen".into(), ..placed("other", 0, 2) };
    shop.publish(0, &[newer, other]).await;
    shop.send(0, "foreign".to_owned(), "<xml/>".to_owned(), OwnedHeaders::new()).await;
    // Like one of ours but for its data, and like one of the far future.
    let headers = cloudevents::headers(&placed("broken", 0, 3), "/test", None);
    shop.send(0, "broken".to_owned(), "{\"amount\":".to_owned(), headers).await;
    let future = OwnedHeaders::new().insert(rdkafka::message::Header { key: "ce_specversion", value: Some("7.0") });
    shop.send(0, "future".to_owned(), "{}".to_owned(), future).await;
    let watermark = cloudevents::watermark(cloudevents::Claim { position: Position(3), since: Some(Position(0)) });
    shop.send(0, "w".to_owned(), String::new(), watermark).await;
    shop.publish(0, &[placed("fine", 0, 4), placed("newer", 1, 5)]).await;
    let consumer = shop.consumer("foreign").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 1).await;
    shop.until("select count(*) from bus_dead_letters", 5).await;
    let rows: Vec<(Option<String>, String, String)> = sqlx::query_as(
        "select convert_from(record_key, 'UTF8'), cause, error from bus_dead_letters order by record_offset",
    )
    .fetch_all(&shop.pool)
    .await
    .unwrap();
    let said: Vec<String> = rows.iter().map(|(key, cause, error)| format!("{key:?} {cause}: {error}")).collect();
    for (row, words) in [
        "OrderPlaced has schema version 9; this consumer reads 1",
        "it is no CloudEvent",
        "the data is no JSON",
        "version `7.0`",
        "behind",
    ]
    .iter()
    .enumerate()
    {
        assert!(said[row].contains(words), "{said:#?}");
    }
    let counts = consumer.counts();
    assert_eq!((counts.parked, counts.behind, counts.other_types, counts.handled), (4, 1, 1, 1));
    assert!(consumer.shut_down(BOUND).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_or_hangs_fails_like_any_other_and_leaves_nothing() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    shop.publish(0, &[placed("panics", 0, 1), placed("hangs", 0, 2), placed("fine", 0, 3)]).await;
    let retry = Retry { attempts: 1, time_limit: Duration::from_millis(300), ..Retry::default() };
    let consumer =
        shop.consumer("unruly").retry(retry).on("OrderPlaced", 1, |received: Received<OrderPlaced>, connection| {
            Box::pin(async move {
                let stream = received.event.stream.as_str();
                sqlx::query("insert into handled (stream, version, position, amount, place) values ($1, 0, 0, 0, '')")
                    .bind(stream)
                    .execute(connection)
                    .await?;
                assert_ne!(stream, "order-panics", "on purpose");
                if stream == "order-hangs" {
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
        });
    let consumer = consumer.start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 1).await;
    let errors: Vec<String> =
        sqlx::query_scalar("select error from bus_dead_letters order by id").fetch_all(&shop.pool).await.unwrap();
    assert!(errors[0].contains("panicked") && errors[0].contains("on purpose"), "{errors:?}");
    assert_eq!(errors[1], "the handler took longer than 300 ms");
    assert_eq!(shop.handled().await, [("order-fine".to_owned(), 0)]);
    assert!(consumer.shut_down(BOUND).await);
}
