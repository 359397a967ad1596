//! The status of the bus for operators: the progress of each partition and of each group of ours.

use event_store::Position;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;

use crate::config::BusConfig;
use crate::connection::{Asker, Told, blocking, client_error, close_apart};
use crate::error::BusError;
use crate::records::Records;

/// The status of the topic and of its consumer groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Addresses of the Kafka brokers, as the settings name them.
    pub brokers: String,
    /// Name of the topic with our events.
    pub topic: String,
    /// Position up to which all events have been relayed.
    pub position: Position,
    /// Number of relays, the active one and those on standby.
    pub relays: usize,
    /// Status of each partition of the topic.
    pub partitions: Vec<Partition>,
    /// Each consumer group of ours that Kafka knows, by name.
    pub groups: Vec<Group>,
}

/// The status of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Number of the partition, from 0.
    pub partition: u32,
    /// Offset of the first record of the partition.
    pub first_offset: i64,
    /// Offset after the last record of the partition.
    pub end_offset: i64,
    /// Position up to which the partition is complete.
    pub position: Position,
}

/// The status of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Name of the consumer group.
    pub name: String,
    /// State of the group in Kafka's words, such as `Stable`.
    pub state: String,
    /// Number of the group's members.
    pub members: usize,
    /// By partition, the number of records that the group has not handled; `None` where it has committed no offset.
    pub lag_records: Vec<Option<i64>>,
}

/// Asks Kafka for the status of the topic and its groups.
///
/// # Errors
/// [`BusError`]: it does not answer, or has no such topic.
pub async fn status(config: &BusConfig) -> Result<Status, BusError> {
    let config = config.clone();
    blocking(move || ask(&config)).await
}

fn ask(config: &BusConfig) -> Result<Status, BusError> {
    let asker = Asker::new(config)?;
    let found = asker.partitions(&config.topic)?.ok_or_else(|| BusError::Topic {
        topic: config.topic.clone(),
        what: "does not exist".to_owned(),
        way_out: "start a relay, which makes it: backstitch relay".to_owned(),
    })?;
    let mut partitions = Vec::new();
    for partition in 0..found {
        let records = Records::new(config, &config.topic, partition)?;
        let (first_offset, end_offset) = records.ends()?;
        partitions.push(Partition { partition, first_offset, end_offset, position: records.last_claim()? });
        close_apart(records);
    }
    let position = partitions.iter().map(|partition| partition.position).min().unwrap_or_default();
    let mut groups = asker.groups()?;
    let control = config.control_topic();
    let relays = groups.iter().find(|group| group.name == control).map_or(0, |group| group.members);
    groups.retain(|group| group.name.starts_with(&config.group_prefix) && group.name != control);
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    for group in &mut groups {
        group.lag_records = lag(config, &group.name, &partitions)?;
    }
    close_apart(asker);
    Ok(Status { brokers: config.place().to_owned(), topic: config.topic.clone(), position, relays, partitions, groups })
}

fn lag(config: &BusConfig, group: &str, partitions: &[Partition]) -> Result<Vec<Option<i64>>, BusError> {
    let mut client = config.client();
    client.set("group.id", group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<Told> =
        client.create_with_context(Told::default()).map_err(|error| client_error(config, error))?;
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(&config.topic, i32::try_from(partition.partition).unwrap_or(i32::MAX));
    }
    let answer = consumer.committed_offsets(asked, config.request_timeout());
    let committed = answer.map_err(|error| consumer.context().unreachable(config, &error))?;
    let lag = partitions.iter().map(|partition| {
        let found = i32::try_from(partition.partition).ok().and_then(|it| committed.find_partition(&config.topic, it));
        match found?.offset() {
            Offset::Offset(offset) => Some((partition.end_offset - offset).max(0)),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        }
    });
    let lag = lag.collect();
    close_apart(consumer);
    Ok(lag)
}
