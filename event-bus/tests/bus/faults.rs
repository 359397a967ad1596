//! Kafka and the store, killed and taken away under load.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use event_bus::PartitionSource;
use event_bus::testing::Kafka;
use event_store::port::Feed;
use event_store::{
    Delegate, Delivery, Direction, EventStore, Filter, Position, ReadError, RecordedEvent, Source, SqliteStore,
    StreamName, Subscription,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::world::{BOUND, PARTITIONS, World, partition_of, the_log_is_in, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_under_load_and_started_again_costs_nothing() {
    let kafka = Kafka::start().await.unwrap();
    let world = Arc::new(World::on(&kafka, "killed"));
    let relay = world.relay();
    let (count, written) = watch::channel(0_u64);
    let (load, stop) = (world.clone(), CancellationToken::new());
    let stopped = stop.clone();
    let writer = world.tasks.spawn("writer", async move {
        // 3 000 events a second at most, so that reading it all back does not take longer than the faults.
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while !stopped.is_cancelled() {
            beat.tick().await;
            load.write(20).await;
            count.send_modify(|count| *count += 20);
        }
    });
    let followed = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
    let mut followers = Vec::new();
    for partition in 0..PARTITIONS {
        let mut feed =
            PartitionSource::new(&world.config, partition).follow(Position::START, Filter::default()).await.unwrap();
        let (followed, seen) = (followed.clone(), watch::Sender::new(Position::START));
        followers.push(seen.subscribe());
        world.tasks.spawn("follower", async move {
            while let Some(delivery) = feed.next().await {
                if let Ok(Delivery::Events { events, up_to }) = delivery {
                    followed.lock().unwrap()[partition as usize].extend(events.iter().map(|event| event.position));
                    seen.send_replace(up_to);
                }
            }
        });
    }
    for _ in 0..2 {
        // Under load: something was acknowledged since it began, and more is on its way.
        let before = relay.status.borrow().position;
        relay.until(|status| status.position.0 > before.0 + 500).await;
        kafka.kill();
        let wrote = *written.borrow();
        within(BOUND, written.clone().wait_for(|count| *count > wrote + 200)).await.unwrap();
        assert!(relay.status.borrow().position < world.head(), "nothing is acknowledged by a dead broker");
        kafka.restart().await.unwrap();
    }
    relay.until(|status| status.position.0 > 3_000).await;
    stop.cancel();
    within(BOUND, writer).await.unwrap();
    let head = world.head();
    relay.acknowledged(head).await;
    for mut seen in followers {
        within(BOUND, seen.wait_for(|seen| *seen >= head)).await.unwrap();
    }
    relay.stop().await;
    let log = world.log().await;
    assert!(log.len() > 2_000, "{} events were under way", log.len());
    the_log_is_in(&world.records().await, &log);
    let followed = followed.lock().unwrap().clone();
    for (partition, found) in followed.into_iter().enumerate() {
        let of_partition = log.iter().filter(|event| partition_of(event) == partition);
        assert_eq!(found, of_partition.map(|event| event.position).collect::<Vec<_>>(), "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_waited_for() {
    let kafka = Kafka::start().await.unwrap();
    let world = World::on(&kafka, "hangs");
    world.write(100).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    kafka.pause();
    world.write(100).await;
    let hung = tokio::time::timeout(Duration::from_secs(2), relay.acknowledged(world.head())).await;
    assert!(hung.is_err(), "nothing is acknowledged meanwhile");
    kafka.resume();
    relay.acknowledged(world.head()).await;
    relay.stop().await;
    the_log_is_in(&world.records().await, &world.log().await);
}

/// A store that can be taken away, as a server that stops.
pub struct Lent {
    store: Arc<SqliteStore>,
    there: watch::Sender<bool>,
}

impl Lent {
    pub fn new(store: Arc<SqliteStore>) -> Self {
        Self { store, there: watch::Sender::new(true) }
    }

    pub fn take_away(&self) {
        self.there.send_replace(false);
    }

    pub fn give_back(&self) {
        self.there.send_replace(true);
    }

    fn ask(&self) -> Result<(), ReadError> {
        if *self.there.borrow() { Ok(()) } else { Err(away()) }
    }
}

fn away() -> ReadError {
    ReadError::Unavailable { path: "lent".to_owned(), reason: "it was taken away".to_owned() }
}

struct LentFeed(Subscription, watch::Receiver<bool>);

#[async_trait]
impl Feed for LentFeed {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        tokio::select! {
            _ = self.1.wait_for(|there| !there) => Some(Err(away())),
            delivery = self.0.next() => delivery,
        }
    }
}

#[async_trait]
impl Delegate for Lent {
    fn inner(&self) -> &dyn EventStore {
        &*self.store
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.ask()?;
        self.store.read_stream(stream, from, direction, limit).await
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.ask()?;
        self.store.read_all(from, direction, limit, filter).await
    }

    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        self.ask()?;
        Ok(Subscription::new(LentFeed(self.store.subscribe(after, filter).await?, self.there.subscribe())))
    }
}
