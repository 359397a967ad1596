//! How replicas share the partitions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_bus::status::status;
use event_bus::{Assigned, Group};
use event_store::{Filter, Position};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::world::{BOUND, PARTITIONS, World, within};

/// Who holds which partition; a second holder of one is a failed test.
#[derive(Clone, Default)]
struct Holders(Arc<Mutex<BTreeSet<u32>>>);

/// A replica that works on what it is given until it is taken away, and then needs a moment to end.
struct Replica {
    held: watch::Receiver<BTreeSet<u32>>,
    leave: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Replica {
    async fn start(world: &World, holders: &Holders, to_end: Duration) -> Self {
        let mut group = Group::join(&world.config, &world.config.group("sharing")).await.unwrap();
        let (held, leave, holders, tasks) =
            (watch::Sender::new(BTreeSet::new()), CancellationToken::new(), holders.clone(), world.tasks.clone());
        let (seen, left) = (held.subscribe(), leave.clone());
        let task = world.tasks.spawn("replica", async move {
            loop {
                let assigned = tokio::select! {
                    () = left.cancelled() => return group.leave().await,
                    assigned = group.next() => assigned.unwrap(),
                };
                let (held, holders) = (held.clone(), holders.clone());
                tasks.spawn("holder", async move {
                    work(assigned, &held, &holders, to_end).await;
                });
            }
        });
        Self { held: seen, leave, task }
    }

    async fn has(&self, count: usize) {
        within(BOUND, self.held.clone().wait_for(|held| held.len() == count)).await.unwrap();
    }
}

async fn work(assigned: Assigned, held: &watch::Sender<BTreeSet<u32>>, holders: &Holders, to_end: Duration) {
    let partition = assigned.partition;
    assert!(holders.0.lock().unwrap().insert(partition), "partition {partition} has two holders");
    held.send_modify(|held| _ = held.insert(partition));
    assigned.revoked.cancelled().await;
    // What is under way takes a moment.
    let (_never, mut nothing) = mpsc::channel::<()>(1);
    let _ = tokio::time::timeout(to_end, nothing.recv()).await;
    holders.0.lock().unwrap().remove(&partition);
    held.send_modify(|held| _ = held.remove(&partition));
    drop(assigned);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_has_one_holder_while_replicas_come_and_go() {
    let world = World::shared("holders").await;
    let (holders, to_end) = (Holders::default(), Duration::from_millis(300));
    let one = Replica::start(&world, &holders, to_end).await;
    one.has(PARTITIONS as usize).await;
    let two = Replica::start(&world, &holders, to_end).await;
    within(BOUND, two.held.clone().wait_for(|held| !held.is_empty())).await.unwrap();
    let three = Replica::start(&world, &holders, to_end).await;
    for replica in [&one, &two, &three] {
        replica.has(1).await;
    }
    two.leave.cancel();
    within(BOUND, two.task).await.unwrap();
    within(BOUND, async {
        let (mut one, mut three) = (one.held.clone(), three.held.clone());
        while one.borrow_and_update().len() + three.borrow_and_update().len() < PARTITIONS as usize {
            tokio::select! {
                changed = one.changed() => changed.unwrap(),
                changed = three.changed() => changed.unwrap(),
            }
        }
    })
    .await;
    assert_eq!(holders.0.lock().unwrap().len(), PARTITIONS as usize);
    for replica in [one, three] {
        replica.leave.cancel();
        within(BOUND, replica.task).await.unwrap();
    }
    assert!(holders.0.lock().unwrap().is_empty(), "who leaves holds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_does_not_end_holds_up_a_handover_for_the_bound_and_no_longer() {
    let mut world = World::shared("stubborn").await;
    world.config.handover_ms = 1_500;
    let mut one = Group::join(&world.config, &world.config.group("stubborn")).await.unwrap();
    let mut held = Vec::new();
    while held.len() < PARTITIONS as usize {
        held.push(within(BOUND, one.next()).await.unwrap());
    }
    let began = Instant::now();
    let mut two = Group::join(&world.config, &world.config.group("stubborn")).await.unwrap();
    let given = within(BOUND, two.next()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1_500), "after {:?}", began.elapsed());
    let stubborn = held.iter().find(|one| one.partition == given.partition).unwrap();
    assert!(stubborn.revoked.is_cancelled(), "it was told");
    drop((held, given));
    tokio::join!(one.leave(), two.leave());
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_own_tools_see_how_far_a_group_is() {
    let world = World::shared("offsets").await;
    world.write(60).await;
    world.relay_all().await;
    let name = world.config.group("seen");
    let mut group = Group::join(&world.config, &name).await.unwrap();
    let mut working = Vec::new();
    for _ in 0..PARTITIONS {
        let assigned = within(BOUND, group.next()).await.unwrap();
        let mut feed = assigned.source.follow(Position::START, Filter::default()).await.unwrap();
        while !matches!(within(BOUND, feed.next()).await.unwrap().unwrap(), event_store::Delivery::CaughtUp) {}
        working.push((assigned, feed));
    }
    let ends: Vec<i64> =
        world.records().await.iter().map(|records| records.last().map_or(0, |last| last.offset + 1)).collect();
    let (config, topic) = (world.config.clone(), world.config.topic.clone());
    let committed = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", config.brokers.as_deref().unwrap())
            .set("group.id", &name)
            .create()
            .unwrap();
        let began = Instant::now();
        loop {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_range(&topic, 0, i32::try_from(PARTITIONS).unwrap() - 1);
            let found = consumer.committed_offsets(asked, BOUND).unwrap();
            let found: Vec<Offset> = found.elements().iter().map(|partition| partition.offset()).collect();
            if found == ends.iter().map(|end| Offset::Offset(*end)).collect::<Vec<_>>() {
                return;
            }
            assert!(began.elapsed() < BOUND, "{found:?}, not {ends:?}");
        }
    });
    within(BOUND, committed).await.unwrap();
    world.write(60).await;
    world.relay_all().await; // Nobody has dealt with these.
    let status = status(&world.config).await.unwrap();
    assert_eq!((status.position, status.relays), (world.head(), 0));
    let ours: Vec<_> = status.groups.iter().filter(|group| group.name == world.config.group("seen")).collect();
    let lag: i64 = ours[0].lag_records.iter().map(|lag| lag.unwrap()).sum();
    assert!(ours[0].members == 1 && lag >= 180, "{status:?}");
    drop(working);
    group.leave().await;
}
