//! What the relay publishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_bus::PartitionSource;
use event_bus::republish::{Range, republish};
use event_store::{Filter, Position};

use crate::world::{BOUND, PARTITIONS, World, follow_to, partition_of, read_topic, the_log_is_in, within};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_published_once_in_commit_order_and_to_the_byte() {
    let world = World::shared("in-order").await;
    world.write(400).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    world.write(100).await; // Live, too.
    relay.acknowledged(world.head()).await;
    relay.stop().await;
    let (records, log) = (world.records().await, world.log().await);
    assert_eq!(log.len(), 1_500);
    the_log_is_in(&records, &log);
    let events: usize = records.iter().flatten().filter(|record| record.is_event()).count();
    assert_eq!(events, log.len(), "nothing failed, so nothing was repeated");
    assert!(records.iter().all(|partition| partition.iter().filter(|record| record.is_event()).count() > 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_dropped_midway_loses_nothing_and_the_next_one_goes_on() {
    let world = World::shared("midway").await;
    world.write(700).await;
    let (mut lives, mut at) = (0, Position::START);
    while at < world.head() {
        let relay = world.relay();
        // Somewhere in the midst: as soon as anything more has arrived.
        let before = at;
        relay.until(|status| status.position > before || status.position >= status.head && status.head.0 > 0).await;
        at = relay.status.borrow().position;
        relay.kill().await;
        lives += 1;
        if lives < 4 {
            world.write(100).await;
        }
    }
    world.relay_all().await;
    let (records, log) = (world.records().await, world.log().await);
    the_log_is_in(&records, &log);
    assert!(lives >= 4, "{lives} relays were dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_relays_one_is_active_and_the_other_takes_over() {
    let world = World::shared("two").await;
    let (one, two) = (world.relay(), world.relay());
    world.write(100).await;
    let head = world.head();
    let (mut first, mut second) = (one.status.clone(), two.status.clone());
    tokio::select! {
        () = one.acknowledged(head) => {}
        () = two.acknowledged(head) => {}
    }
    let one_was = first.borrow_and_update().active;
    assert!(one_was != second.borrow_and_update().active, "one is active");
    let (active, standby) = if one_was { (one, two) } else { (two, one) };
    assert_eq!(standby.status.borrow().position, Position::START, "who stands by publishes nothing");
    world.write(100).await;
    active.kill().await;
    let began = std::time::Instant::now();
    world.write(100).await;
    standby.acknowledged(world.head()).await;
    assert!(standby.status.borrow().active);
    assert!(began.elapsed().as_secs() < 10, "the other took over after {:?}", began.elapsed());
    standby.stop().await;
    the_log_is_in(&world.records().await, &world.log().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn watermarks_move_partitions_that_have_no_events() {
    let world = World::shared("idle").await;
    world.write_to("order-0", 0).await;
    let busy = partition_of(&world.log().await[0]);
    let relay = world.relay();
    for number in 1..4 {
        world.write_to("order-0", number * 3).await;
        let head = world.head();
        for partition in 0..PARTITIONS {
            let source = PartitionSource::new(&world.config, partition);
            let events = follow_to(&source, Position::START, head, Filter::default()).await;
            assert_eq!(events.is_empty(), partition as usize != busy, "partition {partition}");
        }
    }
    relay.stop().await;
    let idle = world.records().await.into_iter().enumerate().filter(|(partition, _)| *partition != busy);
    for (partition, records) in idle {
        assert!(!records.is_empty() && records.iter().all(|record| !record.is_event()), "partition {partition}");
        assert!(records.iter().all(|record| record.key.is_none() && record.value.is_none()));
        assert!(records.len() < 20, "a watermark follows an event, not the clock: {}", records.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_topic_holds_its_category_and_nothing_else_and_can_be_filled_later() {
    let mut world = World::shared("public").await;
    world.write(40).await;
    world.relay_all().await; // Before anybody asked for public topics.
    world.config.public = BTreeMap::from([("order".to_owned(), "public.shop-orders".to_owned())]);
    world.write(40).await;
    world.relay_all().await;
    let orders: Vec<_> = world.log().await.into_iter().filter(|event| event.stream.category() == "order").collect();
    let count = |records: &[Vec<crate::world::Seen>]| records.iter().map(Vec::len).sum::<usize>();
    let public = || {
        let config = world.config.clone();
        tokio::task::spawn_blocking(move || read_topic(&config, "public.shop-orders"))
    };
    assert_eq!(count(&public().await.unwrap()), orders.len() / 2);
    let range = Range { categories: vec!["order".to_owned()], ..Range::default() };
    let done = republish(&world.config, &*world.store, &range, |_, _| {}).await.unwrap();
    assert_eq!(done.events, orders.len() as u64);
    let public = public().await.unwrap();
    assert_eq!(count(&public), orders.len() / 2 + orders.len());
    assert!(public.iter().flatten().all(|record| record.header("ce_subject").starts_with("order-")));
    // What claims nothing changes nothing for those who follow the topic of all events.
    for partition in 0..PARTITIONS {
        let source = PartitionSource::new(&world.config, partition);
        let found = follow_to(&source, Position::START, world.head(), Filter::default()).await;
        let expected = world.log().await.iter().filter(|event| partition_of(event) == partition as usize).count();
        assert_eq!(found.len(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_filled_from_another_log_is_not_published_to() {
    let world = World::shared("another").await;
    world.write(50).await;
    world.relay_all().await;
    let before: usize = world.records().await.iter().map(Vec::len).sum();
    // One that is shorter, as if its end were missing, and one of other events.
    for (shift, appends) in [(0, 5), (1, 200)] {
        let mut other = World::shared("another").await;
        other.config = world.config.clone();
        other.shift = shift;
        other.write(appends).await;
        let relay = other.relay();
        relay.until(|status| status.trouble.as_ref().is_some_and(|text| text.contains("another one"))).await;
        relay.stop().await;
    }
    let after: usize = world.records().await.iter().map(Vec::len).sum();
    assert_eq!(before, after, "nothing was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_closed_and_opened_again_is_followed_again() {
    let world = World::shared("reopened").await;
    world.write(50).await;
    let lend = Arc::new(crate::faults::Lent::new(world.store.clone()));
    let relay = world.relay_of(lend.clone());
    relay.acknowledged(world.head()).await;
    lend.take_away();
    relay.until(|status| status.trouble.is_some()).await;
    world.write(50).await;
    lend.give_back();
    relay.acknowledged(world.head()).await;
    assert!(within(BOUND, async { relay.status.borrow().trouble.is_none() }).await);
    relay.stop().await;
    the_log_is_in(&world.records().await, &world.log().await);
}
