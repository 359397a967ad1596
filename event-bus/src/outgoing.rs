//! The log as records, each with its claim: what a relay and `republish` have in common.

use std::sync::Arc;

use event_store::{Position, RecordedEvent, partition};

use crate::cloudevents::{self, Claim};
use crate::config::BusConfig;
use crate::error::BusError;
use crate::publisher::{Outgoing, Publisher};
use crate::topics::Room;

/// What Kafka and our headers add to a record's key and value, in bytes: some 20 headers of up to 40 each.
const RECORD_OVERHEAD: usize = 1_024;

/// A record that its topic takes only if it compresses well enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Large {
    pub topic: String,
    pub position: Position,
    pub bytes: usize,
    pub takes: usize,
}

impl Large {
    /// What [`Self::told`] begins with.
    pub const TOLD: &str = "the event at position";

    /// What it means, for people.
    pub fn told(&self) -> String {
        let Self { topic, position, bytes, takes } = self;
        format!(
            "{} {position} is a record of about {bytes} bytes, and the topic `{topic}` takes {takes}: it goes through only if \
             it compresses well enough",
            Self::TOLD
        )
    }
}

/// Publishes a run of the log, in order, from a position on.
pub(crate) struct Run {
    config: Arc<BusConfig>,
    publisher: Publisher,
    /// What each topic takes.
    room: Room,
    /// A record that is larger than its topic takes uncompressed: where, and how large.
    large: Option<Large>,
    /// Up to where each partition's records claim the log; `None`: they claim nothing.
    claimed: Option<Vec<Position>>,
}

impl Run {
    /// A run that begins behind `after`. One that leaves events out claims nothing.
    pub fn new(config: Arc<BusConfig>, after: Position, claims: bool, room: Room) -> Result<Self, BusError> {
        // A lane for each partition, one for all public topics.
        let lanes = vec![after; config.partitions as usize + 1];
        let publisher = Publisher::new(&config, &lanes, room.values().min().copied())?;
        let claimed = claims.then(|| vec![after; config.partitions as usize]);
        Ok(Self { config, publisher, room, large: None, claimed })
    }

    /// Publishes the events, which follow those before without a hole. Their public copies are acknowledged before the
    /// topic of all events has them: where that one ends is from where a next run begins.
    pub async fn publish(&mut self, events: &[Arc<RecordedEvent>]) -> Result<(), BusError> {
        let public = self.public_lane();
        let config = Arc::clone(&self.config);
        let copies = events.iter().filter_map(|event| Some((event, config.public.get(event.stream.category())?)));
        let mut copied = 0_u64;
        for (event, topic) in copies {
            self.large = measure(&self.room, topic, event).or(self.large.take());
            self.publisher.send(self.record(event, topic, public, None)).await?;
            copied += 1;
        }
        if copied > 0 {
            self.publisher.acknowledged(&self.config.topic, public..public + 1).await?;
            metrics::counter!("backstitch_bus_published_total", "kind" => "public").increment(copied);
        }
        for event in events {
            let lane = self.partition(event) as usize;
            let since = self.claimed.as_mut().map(|claimed| std::mem::replace(&mut claimed[lane], event.position));
            self.large = measure(&self.room, &self.config.topic, event).or(self.large.take());
            self.publisher.send(self.record(event, &self.config.topic, lane, since)).await?;
        }
        metrics::counter!("backstitch_bus_published_total", "kind" => "event").increment(events.len() as u64);
        Ok(())
    }

    /// Tells each partition, where it does not know, that the log has nothing more up to `position`; with `again`, each.
    pub async fn watermark(&mut self, position: Position, partitions: &[u32], again: bool) -> Result<(), BusError> {
        let Some(claimed) = &mut self.claimed else { return Ok(()) };
        for partition in partitions {
            let lane = *partition as usize;
            if claimed[lane] >= position && !again {
                continue;
            }
            let since = std::mem::replace(&mut claimed[lane], position);
            let headers = cloudevents::watermark(Claim { position, since: Some(since) });
            let topic = &self.config.topic;
            let (key, value, timestamp_ms) = (None, None, None);
            let record = Outgoing { topic, partition: *partition, lane, position, key, value, headers, timestamp_ms };
            self.publisher.send(record).await?;
            metrics::counter!("backstitch_bus_published_total", "kind" => "watermark").increment(1);
        }
        Ok(())
    }

    /// The last record that was handed over although its topic may not take it.
    pub fn large(&self) -> Option<&Large> {
        self.large.as_ref()
    }

    /// Waits until everything is acknowledged.
    pub async fn acknowledged(&self) -> Result<(), BusError> {
        self.publisher.acknowledged(&self.config.topic, 0..self.public_lane() + 1).await
    }

    /// Waits until nothing more can be published.
    pub async fn failed(&self) -> BusError {
        self.publisher.failed(&self.config.topic).await
    }

    /// Everything at or below is acknowledged, in all partitions.
    pub fn position(&self) -> Position {
        self.publisher.position(0..self.public_lane())
    }

    /// The offset of the last acknowledged record of a partition.
    pub fn last_offset(&self, partition: u32) -> Option<i64> {
        self.publisher.last_offset(partition as usize)
    }

    fn public_lane(&self) -> usize {
        self.config.partitions as usize
    }

    fn partition(&self, event: &RecordedEvent) -> u32 {
        partition::of(event.metadata.partition_key.as_bytes(), self.config.partitions)
    }

    fn record<'a>(
        &self,
        event: &'a RecordedEvent,
        topic: &'a str,
        lane: usize,
        since: Option<Position>,
    ) -> Outgoing<'a> {
        Outgoing {
            topic,
            partition: self.partition(event),
            lane,
            position: event.position,
            key: Some(event.metadata.partition_key.as_bytes()),
            value: Some(event.data.get().as_bytes()),
            headers: cloudevents::headers(event, &self.config.source, since),
            timestamp_ms: Some(event.recorded_at.timestamp_millis()),
        }
    }
}

/// Whether a record is larger than its topic takes, before it is handed over. Told once, here: whether it compresses well
/// enough, only the broker knows.
fn measure(room: &Room, topic: &str, event: &RecordedEvent) -> Option<Large> {
    let takes = *room.get(topic)?;
    let bytes =
        event.data.get().len() + event.metadata.partition_key.len() + event.stream.as_str().len() + RECORD_OVERHEAD;
    if bytes <= takes {
        return None;
    }
    let position = event.position;
    tracing::warn!(
        topic, %position, bytes, takes,
        "an event may be larger than its topic takes: if it does not compress, the relay waits there until \
         `max.message.bytes` of the topic is raised to {}",
        crate::topics::MAX_RECORD_BYTES
    );
    metrics::counter!("backstitch_bus_large_records_total", "topic" => topic.to_owned()).increment(1);
    Some(Large { topic: topic.to_owned(), position, bytes, takes })
}
