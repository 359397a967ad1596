//! What a follower of a partition gets, from wherever it begins.

use std::sync::Arc;

use event_bus::PartitionSource;
use event_bus::republish::{Range, republish};
use event_bus::testing::Kafka;
use event_store::{Delivery, Filter, Position, ReadError, RecordedEvent, Source, Subscription};
use futures_util::future::join_all;
use rdkafka::admin::AdminOptions;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::world::{BOUND, PARTITIONS, Seen, World, follow_to, partition_of, the_log_is_in, within};

/// Follows every partition from many positions; each follower gets exactly what the log has after its own.
async fn from_anywhere_exactly(world: &World, log: &[RecordedEvent]) {
    let (head, filter) = (world.head(), Filter::categories(["order", "stock"]));
    for partition in 0..PARTITIONS {
        let source = PartitionSource::new(&world.config, partition);
        let step = (head.0 / 12).max(1);
        let afters = (0..head.0).step_by(usize::try_from(step).unwrap()).chain([1, head.0 - 1, head.0 - 2]);
        let followers = afters.map(|after| {
            let (source, filter) = (source.clone(), if after % 2 == 0 { Filter::default() } else { filter.clone() });
            async move {
                let found = follow_to(&source, Position(after), head, filter.clone()).await;
                let expected = log.iter().filter(|event| {
                    event.position.0 > after
                        && partition_of(event) == partition as usize
                        && filter.admits(&event.stream)
                });
                let text = |event: &RecordedEvent| format!("{event:?}");
                let expected: Vec<String> = expected.map(text).collect();
                assert_eq!(found.iter().map(|event| text(event)).collect::<Vec<_>>(), expected, "after {after}");
            }
        });
        join_all(followers).await;
    }
}

/// A plain producer that writes records again, as a relay does that was paused and wakes.
async fn write_again(world: &World, partition: usize, records: &[Seen]) {
    let (config, records) = (world.config.clone(), records.to_vec());
    let writing = tokio::task::spawn_blocking(move || {
        let brokers = config.brokers.as_deref().unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        for record in &records {
            let headers = record
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let mut again: BaseRecord<'_, str, str> =
                BaseRecord::to(&config.topic).partition(i32::try_from(partition).unwrap()).headers(headers);
            (again.key, again.payload) = (record.key.as_deref(), record.value.as_deref());
            producer.send(again).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(BOUND).unwrap();
    });
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_any_position_a_follower_gets_exactly_the_log_after_it_whatever_was_repeated() {
    let world = World::shared("anywhere").await;
    world.write(500).await;
    world.relay_all().await;
    let log = world.log().await;
    from_anywhere_exactly(&world, &log).await;
    // A republish from the midst that ended early, one of a category, a zombie's records at several places.
    let range = |from, to, only: &[&str]| Range {
        from: Position(from),
        to: Some(Position(to)),
        categories: only.iter().map(|name| (*name).to_owned()).collect(),
    };
    republish(&world.config, &*world.store, &range(300, 700, &[]), |_, _| {}).await.unwrap();
    republish(&world.config, &*world.store, &range(1, 900, &["order"]), |_, _| {}).await.unwrap();
    world.write(100).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    let records = world.records().await;
    for (partition, records) in records.iter().enumerate() {
        write_again(&world, partition, &records[100..120]).await;
    }
    world.write(100).await;
    relay.acknowledged(world.head()).await;
    relay.stop().await;
    let log = world.log().await;
    the_log_is_in(&world.records().await, &log);
    from_anywhere_exactly(&world, &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_behind_the_repeats_of_a_relay_that_woke_is_told_by_the_active_one() {
    let world = World::shared("woke").await;
    world.write(200).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    for (partition, records) in world.records().await.iter().enumerate() {
        write_again(&world, partition, &records[..20]).await;
    }
    // All that the topic ends with is at or before this; what is after it lies further ahead.
    let after = Position(60);
    let log = world.log().await;
    for partition in 0..PARTITIONS {
        let source = PartitionSource::new(&world.config, partition);
        let found = follow_to(&source, after, world.head(), Filter::default()).await;
        let expected = log.iter().filter(|event| event.position > after && partition_of(event) == partition as usize);
        assert_eq!(found.len(), expected.count(), "partition {partition}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_when_it_has_caught_up_and_of_what_follows() {
    let world = World::shared("caught-up").await;
    let source = PartitionSource::new(&world.config, 0);
    world.write(50).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    let head = world.head();
    let mut feed = source.follow(Position::START, Filter::default()).await.unwrap();
    let (mut up_to, mut caught_up) = (Position::START, false);
    let mut next = async |caught_up: &mut bool| match within(BOUND, feed.next()).await.unwrap().unwrap() {
        Delivery::Events { up_to, .. } => up_to,
        Delivery::CaughtUp => {
            assert!(!*caught_up, "it is said once");
            *caught_up = true;
            Position::START
        }
    };
    while !caught_up {
        up_to = up_to.max(next(&mut caught_up).await);
    }
    assert_eq!(up_to, head);
    world.write(10).await;
    while up_to < world.head() {
        up_to = up_to.max(next(&mut caught_up).await);
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_in_our_topic_is_passed_by() {
    let world = World::shared("foreign").await;
    world.write(100).await;
    world.relay_all().await;
    let nothing = Seen { offset: 0, kind: String::new(), position: 0, key: None, value: None, headers: Vec::new() };
    let mut future = world.records().await[0][0].clone();
    future.headers.iter_mut().filter(|(name, _)| name == "ce_specversion").for_each(|(_, value)| *value = "2.0".into());
    for partition in 0..PARTITIONS as usize {
        write_again(&world, partition, &[nothing.clone(), future.clone()]).await;
    }
    world.write(100).await;
    world.relay_all().await;
    from_anywhere_exactly(&world, &world.log().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_cut_is_noticed_and_filled_again_by_what_the_message_says() {
    let world = World::shared("cut").await;
    world.write(200).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    let mut cut = TopicPartitionList::new();
    for (partition, records) in world.records().await.iter().enumerate() {
        let middle = Offset::Offset(records[records.len() / 2].offset);
        cut.add_partition_offset(&world.config.topic, i32::try_from(partition).unwrap(), middle).unwrap();
    }
    let admin = Kafka::shared().await.unwrap().admin().unwrap();
    admin.delete_records(&cut, &AdminOptions::new()).await.unwrap();
    let source: Arc<dyn Source> = Arc::new(PartitionSource::new(&world.config, 1));
    let mut feed = source.follow(Position::START, Filter::default()).await.unwrap();
    let Err(ReadError::Unavailable { reason, .. }) = within(BOUND, feed.next()).await.unwrap() else {
        panic!("a hole was not noticed")
    };
    assert!(reason.contains("partition 1") && reason.contains("backstitch bus republish --from 0"), "{reason}");
    republish(&world.config, &*world.store, &Range::default(), |_, _| {}).await.unwrap();
    let mut found = 0;
    let mut seen = Position::START;
    while seen < world.head() {
        if let Delivery::Events { events, up_to } = within(BOUND, feed.next()).await.unwrap().unwrap() {
            (found, seen) = (found + events.len(), up_to);
        }
    }
    assert_eq!(found, world.log().await.iter().filter(|event| partition_of(event) == 1).count());
    relay.stop().await;
    from_anywhere_exactly(&world, &world.log().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_is_filled_anew_and_followers_go_on() {
    let world = World::shared("deleted").await;
    world.write(200).await;
    let relay = world.relay();
    relay.acknowledged(world.head()).await;
    let mut feeds = Vec::new();
    for partition in 0..PARTITIONS {
        let source = PartitionSource::new(&world.config, partition);
        feeds.push((partition, source.follow(Position::START, Filter::default()).await.unwrap()));
    }
    let admin = Kafka::shared().await.unwrap().admin().unwrap();
    let deleted = admin.delete_topics(&[&world.config.topic], &AdminOptions::new()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    world.write(200).await;
    let (head, log) = (world.head(), world.log().await);
    for (partition, feed) in &mut feeds {
        let (mut found, mut seen, mut told) = (Vec::new(), Position::START, Vec::new());
        while seen < head {
            let next = tokio::time::timeout(BOUND, feed.next()).await;
            let relay = (relay.status.borrow(), relay.outcome.borrow());
            let next = next.unwrap_or_else(|_| panic!("partition {partition} at {seen}, told {told:?}; {relay:?}"));
            match next.unwrap() {
                Ok(Delivery::Events { events, up_to }) => {
                    found.extend(events.iter().map(|event| event.position));
                    seen = up_to;
                }
                Ok(Delivery::CaughtUp) => {}
                Err(error) => told.push(error.to_string()),
            }
        }
        let of_partition = log.iter().filter(|event| partition_of(event) == *partition as usize);
        assert_eq!(found, of_partition.map(|event| event.position).collect::<Vec<_>>(), "partition {partition}");
    }
    relay.stop().await;
    the_log_is_in(&world.records().await, &log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_while_nobody_could_look_is_read_again() {
    let kafka = Kafka::start().await.unwrap();
    let mut world = World::on(&kafka, "unseen");
    let topic = world.config.topic.clone();
    // In portions, each with its watermarks; the next one has none between, so that the same events lie at lower offsets.
    for _ in 0..2 {
        world.write(100).await;
        world.relay_all().await;
    }
    let (then, before) = (world.head(), world.records().await);
    let mut feeds = Vec::new();
    for partition in 0..PARTITIONS {
        let mut feed =
            PartitionSource::new(&world.config, partition).follow(Position::START, Filter::default()).await.unwrap();
        follow_on(&mut feed, then).await;
        feeds.push(feed);
    }
    (world.config.topic, world.config.watermark_ms) = ("unseen.anew".to_owned(), 600_000);
    world.write(200).await;
    world.relay_all().await;
    let anew = world.records().await;
    for (before, anew) in before.iter().zip(&anew) {
        assert!(anew[before.len()].header("ce_since").parse::<u64>().unwrap() > then.0, "there looks to be a hole");
    }
    kafka.restart_with_records_of(&world.config.topic, &topic, PARTITIONS).await.unwrap();
    let log = world.log().await;
    for (partition, feed) in feeds.iter_mut().enumerate() {
        let found = follow_on(feed, world.head()).await;
        let rest = log.iter().filter(|event| event.position > then && partition_of(event) == partition);
        assert_eq!(found, rest.map(|event| event.position).collect::<Vec<_>>(), "partition {partition}");
    }
}

/// The positions of the events that a feed brings until everything up to `end` was there.
async fn follow_on(feed: &mut Subscription, end: Position) -> Vec<Position> {
    let mut found = Vec::new();
    loop {
        if let Delivery::Events { events, up_to } = within(BOUND, feed.next()).await.unwrap().unwrap() {
            found.extend(events.iter().map(|event| event.position));
            if up_to >= end {
                return found;
            }
        }
    }
}
