//! What a topic must be like, and what is said when Kafka is not there.

use std::time::{Duration, Instant};

use event_bus::testing::Kafka;
use event_bus::word::{self, Word};
use event_bus::{BusConfig, BusError, Group};
use event_store::conformance::{append, stream};
use event_store::{EventStore as _, Expected, Position};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};

use crate::world::{BOUND, World, the_log_is_in, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_lose_history_or_has_other_partitions_is_refused_in_one_line() {
    let kafka = Kafka::shared().await.unwrap();
    let cases = [
        ("compacted", 3, ("cleanup.policy", "compact"), "cleanup.policy=compact"),
        ("both", 3, ("cleanup.policy", "compact,delete"), "cleanup.policy="),
        ("short", 3, ("retention.ms", "604800000"), "retention.ms=604800000"),
        ("small", 3, ("retention.bytes", "1000000"), "retention.bytes=1000000"),
        ("four", 4, ("retention.ms", "-1"), "has 4 partitions, not 3"),
    ];
    for (name, partitions, setting, told) in cases {
        let world = World::on(kafka, &format!("refused-{name}"));
        kafka.create_topic(&world.config.topic, partitions, &[setting]).await.unwrap();
        world.write(1).await;
        let relay = world.relay();
        let mut outcome = relay.outcome.clone();
        let refused = within(BOUND, outcome.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
        assert!(
            refused.contains(&world.config.topic) && refused.contains(told) && refused.contains("set"),
            "{refused}"
        );
        assert!(!refused.contains('\n'), "{refused}");
        let joining = within(BOUND, Group::join(&world.config, "refused")).await.unwrap_err();
        assert_eq!(joining.to_string(), refused, "followers refuse it too");
        assert!(world.records().await.iter().all(Vec::is_empty), "nothing was published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_made_to_keep_everything() {
    let world = World::shared("made").await;
    world.write(1).await;
    world.relay_all().await;
    assert_eq!(world.records().await.len(), 3);
    let admin = Kafka::shared().await.unwrap().admin().unwrap();
    let of_topic = ResourceSpecifier::Topic(&world.config.topic);
    let found = admin.describe_configs(&[of_topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    for (name, value) in [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")] {
        assert_eq!(found.get(name).unwrap().value.as_deref(), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_not_there_is_waited_for_and_named() {
    let world = World::at("127.0.0.1:9", "nowhere");
    world.write(1).await;
    let relay = world.relay();
    relay.until(|status| status.trouble.is_some()).await;
    let trouble = relay.status.borrow().trouble.clone().unwrap();
    assert!(
        trouble.contains("127.0.0.1:9") && trouble.contains("refused") && trouble.contains("`brokers`"),
        "{trouble}"
    );
    assert!(relay.outcome.borrow().is_none(), "it is tried again");
    let began = Instant::now();
    relay.stop().await;
    assert!(began.elapsed().as_secs() < 10, "stopping does not wait for Kafka: {:?}", began.elapsed());
}

#[tokio::test]
async fn without_brokers_there_is_no_bus() {
    let error = Group::join(&BusConfig::default(), "g").await.unwrap_err();
    assert!(matches!(error, BusError::NoBrokers), "{error}");
}

/// Settings of a topic that takes no record of more than 6 000 bytes.
const SMALL: [(&str, &str); 3] = [("retention.ms", "-1"), ("retention.bytes", "-1"), ("max.message.bytes", "6000")];

/// Writes an event that is larger than such a topic takes, and one behind it.
async fn write_large(world: &World) {
    // Digests do not compress.
    let noise: String =
        (0..1200_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))).collect();
    let mut large = append(&stream("order-large"), Expected::NoStream, 0, 1);
    large.events[0].data = serde_json::value::to_raw_value(&serde_json::json!({ "noise": noise })).unwrap();
    world.store.append(large).await.unwrap().durable().await.unwrap();
    world.write(1).await;
}

/// Lets the topic take it.
async fn enlarge(kafka: &Kafka, world: &World) {
    let admin = kafka.admin().unwrap();
    let settings =
        SMALL.iter().filter(|(name, _)| *name != "max.message.bytes").chain([&("max.message.bytes", "5242880")]);
    let topic = ResourceSpecifier::Topic(&world.config.topic);
    let larger = settings.fold(AlterConfig::new(topic), |all, (name, value)| all.set(name, value));
    admin.alter_configs(&[larger], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
}

/// What the relay said last, as soon as it is of this kind.
async fn heard(world: &World, is_so: impl Fn(&Word) -> bool) -> Word {
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let heard = async {
        loop {
            look.tick().await;
            // The topic may not be there yet.
            match word::heard(&world.config).await {
                Ok(Some(word)) if is_so(&word) => return word,
                Ok(_) | Err(_) => {}
            }
        }
    };
    within(BOUND, heard).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_is_known_before_and_named_to_all_who_wait() {
    let kafka = Kafka::shared().await.unwrap();
    let world = World::on(kafka, "too-large");
    kafka.create_topic(&world.config.topic, 3, &SMALL).await.unwrap();
    let relay = world.relay();
    relay.until(|status| status.note.as_ref().is_some_and(|note| note.contains("up to 6000 bytes"))).await;
    world.write(2).await;
    relay.acknowledged(world.head()).await;
    let before = world.head();
    write_large(&world).await;
    relay.until(|status| status.cause == Some("record_too_large")).await;
    let told = relay.status.borrow().trouble.clone().unwrap();
    for named in
        [&*format!("position {}", before.0 + 1), &world.config.topic, "max.message.bytes=5242880", "kafka-configs"]
    {
        assert!(told.contains(named), "{named}: {told}");
    }
    assert!(relay.status.borrow().position <= before, "nothing overtakes it");
    // Who follows hears of it, and how old the newest event is that came.
    let word = heard(&world, |_| true).await;
    assert_eq!((word.cause.as_deref(), word.trouble), (Some("record_too_large"), Some(told)));
    // Made larger, the topic takes it, and everything goes on in order.
    enlarge(kafka, &world).await;
    relay.acknowledged(world.head()).await;
    relay.until(|status| status.trouble.is_none() && status.note.is_none()).await;
    relay.stop().await;
    the_log_is_in(&world.records().await, &world.log().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_goes_on_takes_back_what_another_one_complained_of() {
    let kafka = Kafka::shared().await.unwrap();
    let world = World::on(kafka, "taken-back");
    kafka.create_topic(&world.config.topic, 3, &SMALL).await.unwrap();
    let relay = world.relay();
    write_large(&world).await;
    heard(&world, |word| word.cause.as_deref() == Some("record_too_large")).await;
    relay.kill().await;
    enlarge(kafka, &world).await;
    let successor = world.relay();
    successor.acknowledged(world.head()).await;
    let word = heard(&world, |word| word.trouble.is_none()).await;
    assert!(word.position > Position::START, "said of what was published by then");
    successor.stop().await;
}
