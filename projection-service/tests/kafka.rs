//! The read side on a real Kafka: the relay publishes the log, two replicas share the topic, and what it all comes to are
//! the rows of a plain fold, however often the whole topic is consumed.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use domain::order;
use event_bus::testing::Kafka;
use event_bus::{BusConfig, Group, Relay};
use event_store::port::Feed;
use event_store::{Delivery, Filter, Position, ReadError, Source, Subscription};
use service_kit::Tasks;
use service_kit::postgres::testing::fresh_database;
use support::applying::{all_events, all_rows, tell};
use support::books::{Books, in_order};
use support::split::Member;
use support::stories::{Dice, order_id, placed};
use support::{BOUND, Log, lives};

/// A partition that is consumed from its beginning whenever it is followed, and counted.
struct Again {
    partition: Arc<dyn Source>,
    consumed: Arc<AtomicUsize>,
}

#[async_trait]
impl Source for Again {
    fn partition(&self) -> u32 {
        self.partition.partition()
    }

    async fn follow(&self, _: Position, filter: Filter) -> Result<Subscription, ReadError> {
        let feed = self.partition.follow(Position::START, filter).await?;
        Ok(Subscription::new(Counted { feed, consumed: Arc::clone(&self.consumed) }))
    }
}

struct Counted {
    feed: Subscription,
    consumed: Arc<AtomicUsize>,
}

#[async_trait]
impl Feed for Counted {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        let next = self.feed.next().await;
        if let Some(Ok(Delivery::Events { events, .. })) = &next {
            self.consumed.fetch_add(events.len(), Ordering::Relaxed);
        }
        next
    }
}

/// Feeds a replica what the group gives it, until its tasks are told to stop.
fn join(member: &Member, bus: &BusConfig, consumed: Option<Arc<AtomicUsize>>) {
    let (feeder, bus, tasks) = (member.feeder.clone(), bus.clone(), member.tasks.clone());
    member.tasks.spawn("group", async move {
        let stopping = tasks.stopping();
        let mut group = Group::join(&bus, &bus.group("projections")).await.unwrap();
        loop {
            let assigned = tokio::select! {
                assigned = group.next() => assigned.unwrap(),
                () = stopping.cancelled() => break,
            };
            let (feeder, consumed) = (feeder.clone(), consumed.clone());
            tasks.spawn("partition", async move {
                let partition = Arc::clone(&assigned.source);
                let source = match consumed {
                    Some(consumed) => Arc::new(Again { partition, consumed }),
                    None => partition,
                };
                feeder.feed(source, assigned.revoked.clone()).await;
                drop(assigned);
            });
        }
        group.leave().await;
    });
}

async fn assert_as_folded(log: &Log, url: &str, what: &str) {
    let (books, rows) = (Books::fold(&all_events(log).await), all_rows(url).await);
    books.tables().for_each(|table| assert_eq!(in_order(rows[table].clone()), books.rows(table), "{table}, {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_kafka_the_rows_equal_a_plain_fold_however_often_it_is_consumed() {
    let (kafka, url) = (Kafka::shared().await.unwrap(), fresh_database().await.unwrap());
    let bus = BusConfig {
        brokers: Some(kafka.brokers().to_owned()),
        topic: "projections.events".to_owned(),
        partitions: 3,
        group_prefix: "projections-test.".to_owned(),
        ..BusConfig::default()
    };
    let (log, mut dice, relaying) = (Log::new(), Dice(61), Tasks::new());
    let (relay, stop) = (Relay::new(bus.clone(), log.store.clone()), relaying.stopping());
    relaying.spawn("relay", async move { relay.run(stop).await.unwrap() });
    let replicas = ["a", "b"].map(|name| Member::start(&log, &url, name, bus.partitions));
    replicas.iter().for_each(|replica| join(replica, &bus, None));
    let mut stories = lives::of_orders(&mut dice, 60);
    while !stories.is_empty() {
        let piece = stories.drain(..stories.len().min(100)).collect();
        tell(&log, &mut dice, piece).await;
    }
    for replica in &replicas {
        replica.caught_up().await;
    }
    assert_as_folded(&log, &url, "as it came").await;
    for replica in replicas {
        replica.stop().await;
    }
    // Another one, to which all partitions are given, and to whose checkpoints nobody listens.
    let (again, consumed) = (Member::start(&log, &url, "c", bus.partitions), Arc::new(AtomicUsize::new(0)));
    join(&again, &bus, Some(Arc::clone(&consumed)));
    let events = all_events(&log).await.len();
    let repeated = async {
        while consumed.load(Ordering::Relaxed) < events {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(BOUND, repeated).await.is_ok(), "{consumed:?} of {events} were consumed again");
    let order = order::Event::OrderPlaced(placed(9_999, &[(1, 1)], 0)).encode();
    log.append(&order_id(9_999).stream(), vec![order], 0).await;
    again.caught_up().await;
    assert_as_folded(&log, &url, "after all of it came again").await;
    assert!(consumed.load(Ordering::Relaxed) >= events);
    again.stop().await;
    assert!(relaying.shut_down(BOUND).await);
}
