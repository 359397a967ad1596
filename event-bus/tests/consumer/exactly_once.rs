//! A handler's rows are there exactly once, whichever process dies and whichever record comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event_bus::consumer::Received;
use event_bus::testing::Kafka;
use tokio::sync::Semaphore;

use crate::shop::{BOUND, OrderPlaced, Shop, eventually, orders, placed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_is_handled_once_in_order_and_the_next_start_goes_on_there() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 2).await;
    let (first, second) = (orders("a", 10, 10, 0), orders("b", 10, 10, 100));
    shop.publish(0, &first).await;
    let consumer = shop.consumer("once").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 100).await;
    assert_eq!(consumer.counts().handled, 100);
    assert!(consumer.shut_down(BOUND).await, "nothing hangs");
    shop.publish(1, &second).await;
    let consumer = shop.consumer("once").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 200).await;
    assert_eq!(consumer.counts().consumed, 100, "what was dealt with is not read again");
    assert!(consumer.trouble().is_none());
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&[first, second].concat()).await;
}

#[test]
fn a_consumer_that_dies_within_a_transaction_leaves_all_to_its_successor() {
    let world = runtime();
    let shop = Arc::new(world.block_on(async { Shop::open(Kafka::shared().await.unwrap(), 1).await }));
    let events = orders("k", 5, 8, 0);
    world.block_on(shop.publish(0, &events));
    // Dies in the middle of each fifth transaction: with its first row written, before the second statement.
    for round in 0..8_u64 {
        let (reached, hit) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
        let doomed = runtime();
        let (theirs, reach) = (Arc::clone(&shop), Arc::clone(&reached));
        doomed.block_on(async {
            let pool = sqlx::PgPool::connect_with((*theirs.pool.connect_options()).clone()).await.unwrap();
            let builder = theirs.consumer("dying").batch(3).on("OrderPlaced", 1, move |received, connection| {
                insert_and_die(received, connection, Arc::clone(&reach), Arc::clone(&hit), round)
            });
            let consumer = builder.start(&pool).await.unwrap();
            let _dead_in_it = tokio::time::timeout(BOUND, reached.acquire()).await.unwrap().unwrap();
            std::mem::forget(consumer); // Nobody tells it to stop: it is killed.
        });
        doomed.shutdown_background();
    }
    world.block_on(async {
        let before = shop.handled().await.len();
        assert!(before < events.len(), "they died with work left: {before}");
        let consumer = shop.consumer("dying").start(&shop.pool).await.unwrap();
        shop.until("select count(*) from handled", 40).await;
        assert!(consumer.shut_down(BOUND).await);
        shop.assert_each_once(&events).await;
    });
}

/// Writes the row; at the event whose turn it is, never comes back.
fn insert_and_die(
    received: Received<OrderPlaced>,
    connection: &mut sqlx::PgConnection,
    reached: Arc<Semaphore>,
    hit: Arc<AtomicU64>,
    round: u64,
) -> event_bus::consumer::Handled<'_> {
    Box::pin(async move {
        sqlx::query("insert into handled (stream, version, position, amount, place) values ($1, $2, $3, $4, 'dying')")
            .bind(received.event.stream.as_str())
            .bind(received.event.version.cast_signed())
            .bind(received.event.position.0.cast_signed())
            .bind(received.data.amount)
            .execute(&mut *connection)
            .await?;
        if hit.fetch_add(1, Ordering::SeqCst) == 2 + round % 5 {
            reached.add_permits(1);
            std::future::pending::<()>().await;
        }
        Ok(())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redelivery_of_everything_from_offset_0_changes_nothing() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    let events = orders("r", 7, 20, 0);
    shop.publish(0, &events).await;
    let consumer = shop.consumer("again").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 140).await;
    assert!(consumer.shut_down(BOUND).await);
    // The relay repeats everything; and an operator sets the group back to the beginning.
    shop.publish(0, &events).await;
    sqlx::query("update bus_offsets set next_offset = 0, mark = ''").execute(&shop.pool).await.unwrap();
    let consumer = shop.consumer("again").start(&shop.pool).await.unwrap();
    let last = placed("last", 0, 141);
    shop.publish(0, std::slice::from_ref(&last)).await;
    shop.until("select count(*) from handled where position = 141", 1).await;
    let counts = consumer.counts();
    assert!(counts.consumed >= 281, "all that the topic holds was consumed again: {counts:?}");
    assert_eq!((counts.handled, counts.repeated), (1, 280));
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&[events, vec![last]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_deleted_and_filled_again_is_read_from_its_start_without_doubles() {
    let kafka = Kafka::shared().await.unwrap();
    let shop = Shop::open(kafka, 1).await;
    let events = orders("n", 4, 10, 0);
    shop.publish(0, &events[..30]).await;
    let consumer = shop.consumer("anew").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 30).await;
    assert!(consumer.shut_down(BOUND).await);
    // Anew, with more in it than was dealt with: the offset that was reached is there, and is another record's.
    let options = rdkafka::admin::AdminOptions::new();
    kafka.admin().unwrap().delete_topics(&[&shop.topic], &options).await.unwrap();
    eventually("the old one is deleted", async || kafka.create_topic(&shop.topic, 1, &[]).await.ok()).await;
    shop.publish(0, &events[20..30]).await;
    shop.publish(0, &events).await;
    let consumer = shop.consumer("anew").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 40).await;
    assert!(consumer.counts().consumed >= 50, "all of it was consumed: {:?}", consumer.counts());
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_while_its_consumer_cannot_look_loses_nothing() {
    let kafka = Kafka::start().await.unwrap();
    let mut shop = Shop::open(&kafka, 1).await;
    // So long that it stays the partition's, and does not begin again by itself.
    shop.config.session_timeout_ms = 60_000;
    let events = orders("u", 4, 15, 0);
    shop.publish(0, &events[..30]).await;
    shop.publish(0, &events[20..30]).await;
    let consumer = shop.consumer("unseen").start(&shop.pool).await.unwrap();
    shop.until("select count(*) from bus_offsets where next_offset = 40", 1).await;
    // Without the repeats: what is new begins before the offset that was reached.
    let anew = Shop { topic: kafka.topic("anew", 1).await.unwrap(), ..Shop::open(&kafka, 1).await };
    anew.publish(0, &events).await;
    kafka.restart_with_records_of(&anew.topic, &shop.topic, 1).await.unwrap();
    shop.until("select count(*) from handled", 60).await;
    assert!(consumer.counts().consumed >= 100, "from its beginning: {:?}", consumer.counts());
    assert!(consumer.shut_down(BOUND).await);
    shop.assert_each_once(&events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_partitions_among_each_other_changes_nothing() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 3).await;
    let parts = [orders("x", 3, 20, 0), orders("y", 3, 20, 60), orders("z", 3, 20, 120)];
    // The last positions first: what lies in one partition says nothing about another.
    for partition in [2, 0, 1] {
        shop.publish(partition, &parts[partition.cast_unsigned() as usize]).await;
    }
    let consumer = shop.consumer("any-order").batch(7).start(&shop.pool).await.unwrap();
    shop.until("select count(*) from handled", 180).await;
    assert!(consumer.shut_down(Duration::from_secs(10)).await);
    shop.assert_each_once(&parts.concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_consumer_may_follow_several_topics_and_each_stands_for_itself() {
    let kafka = Kafka::shared().await.unwrap();
    let (one, other) = (Shop::open(kafka, 1).await, Shop::open(kafka, 2).await);
    let (first, second) = (orders("t", 2, 10, 0), orders("u", 2, 10, 0)); // The same positions, of two logs.
    one.publish(0, &first).await;
    other.publish(1, &second).await;
    let builder = one.consumer("several").topic(&one.topic).topic(&other.topic);
    let consumer = builder.start(&one.pool).await.unwrap();
    one.until("select count(*) from handled", 40).await;
    assert_eq!(consumer.counts().repeated, 0);
    assert!(consumer.shut_down(BOUND).await);
    one.assert_each_once(&[first, second].concat()).await;
}
