//! Consumers of one group come and go under load; partitions change hands and nothing is done twice.

use std::time::Duration;

use event_bus::consumer::Received;
use event_bus::testing::Kafka;

use crate::shop::{BOUND, OrderPlaced, Shop, orders};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_hand_partitions_over_under_load_without_double_effects() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 4).await;
    let parts: Vec<_> = (0..4_u64).map(|n| orders(&format!("s{n}-"), 5, 40, n * 1_000)).collect();
    let one = shop.consumer("shared").batch(5).start(&shop.pool).await.unwrap();
    let load = async {
        // In portions, taking turns, so that it lasts over the hand-overs.
        for portion in 0..20 {
            for (partition, events) in (0..).zip(&parts) {
                shop.publish(partition, &events[portion * 10..(portion + 1) * 10]).await;
            }
        }
    };
    let hands = async {
        shop.until("select (count(*) >= 40)::int::bigint from handled", 1).await;
        let other = shop.consumer("shared").batch(5).start(&shop.pool).await.unwrap();
        shop.until("select (count(*) >= 400)::int::bigint from handled", 1).await;
        assert!(one.shut_down(BOUND).await);
        other
    };
    let ((), other) = tokio::join!(load, hands);
    shop.until("select count(*) from handled", 800).await;
    assert!(other.counts().handled > 0, "it had its share");
    assert!(other.shut_down(BOUND).await);
    shop.assert_each_once(&parts.concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_partition_another_has_moved_commits_nothing_and_follows() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    let events = orders("z", 4, 25, 0);
    let one = shop.consumer("zombie").batch(1).start(&shop.pool).await.unwrap();
    shop.publish(0, &events[..50]).await;
    shop.until("select count(*) from handled", 50).await;
    // What a member sees that was paused until another had taken over, and has woken.
    let moved_away =
        sqlx::query("update bus_offsets set next_offset = next_offset + 10, mark = '', position = position + 10")
            .execute(&shop.pool)
            .await
            .unwrap();
    assert_eq!(moved_away.rows_affected(), 1);
    shop.publish(0, &events[50..]).await;
    shop.until("select count(*) from handled", 90).await;
    assert!(one.shut_down(BOUND).await);
    let skipped = shop.count("select count(*) from handled where position between 51 and 60").await;
    assert_eq!(skipped, 0, "what another had dealt with was not done again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_finishes_open_work_within_its_bound_even_if_a_handler_hangs() {
    let shop = Shop::open(Kafka::shared().await.unwrap(), 1).await;
    shop.publish(0, &orders("h", 1, 3, 0)).await;
    let (entered, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let hanging = shop.consumer("hangs").on("OrderPlaced", 1, move |_: Received<OrderPlaced>, _| {
        let entered = entered.clone();
        Box::pin(async move {
            entered.send(()).unwrap();
            std::future::pending().await
        })
    });
    let consumer = hanging.start(&shop.pool).await.unwrap();
    tokio::time::timeout(BOUND, seen.recv()).await.unwrap().unwrap();
    let began = std::time::Instant::now();
    assert!(!consumer.shut_down(Duration::from_millis(500)).await, "it says that something hangs");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(shop.handled().await, [], "and nothing of it is there");
}
