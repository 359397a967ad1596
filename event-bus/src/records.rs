//! The records of one partition, read at will. Blocks: for threads of our own.

use std::cell::Cell;
use std::time::{Duration, Instant};

use event_store::Position;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::cloudevents::{self, Claim};
use crate::config::BusConfig;
use crate::connection::{Told, client_error};
use crate::error::BusError;

/// Between two attempts to seek in a partition that is not being read yet.
const SEEK_PAUSE: Duration = Duration::from_millis(10);

/// A reader of one partition.
pub(crate) struct Records {
    config: BusConfig,
    topic: String,
    partition: i32,
    consumer: BaseConsumer<Told>,
    assigned: Cell<bool>,
}

/// What comes next.
pub(crate) enum Next<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// The end was reached.
    End,
    /// Nothing within the time.
    Nothing,
    /// The offset is not there: the topic was made anew or cut.
    Gone,
    /// Kafka cannot be reached, or not this topic. It is tried again by itself.
    Away(String),
}

impl Records {
    /// A reader of a partition, not yet anywhere.
    pub fn new(config: &BusConfig, topic: &str, partition: u32) -> Result<Self, BusError> {
        if config.brokers.is_none() {
            return Err(BusError::NoBrokers);
        }
        let partition = i32::try_from(partition).map_err(|_| BusError::Settings(format!("partition {partition}")))?;
        let made = config.reader().create_with_context(Told::default());
        let consumer = made.map_err(|error| client_error(config, error))?;
        Ok(Self { config: config.clone(), topic: topic.to_owned(), partition, consumer, assigned: Cell::new(false) })
    }

    /// The first offset, and the one behind the last.
    pub fn ends(&self) -> Result<(i64, i64), BusError> {
        let ends = self.consumer.fetch_watermarks(&self.topic, self.partition, self.config.request_timeout());
        ends.map_err(|error| self.consumer.context().unreachable(&self.config, &error))
    }

    /// The next record is the one at `offset`, or the first behind it.
    ///
    /// The partition is assigned once and sought in from then on: assigned again before the assignment of before has ended,
    /// it makes librdkafka 2.12 stop its fetcher twice and abort the process (librdkafka #5573).
    pub fn seek(&self, offset: i64) -> Result<(), BusError> {
        if !self.assigned.replace(true) {
            let mut place = TopicPartitionList::with_capacity(1);
            let assigned = place
                .add_partition_offset(&self.topic, self.partition, Offset::Offset(offset))
                .and_then(|()| self.consumer.assign(&place));
            return assigned.map_err(|error| client_error(&self.config, error));
        }
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            let timeout = self.config.request_timeout();
            match self.consumer.seek(&self.topic, self.partition, Offset::Offset(offset), timeout) {
                Ok(()) => return Ok(()),
                // The first assignment has not begun yet; it does when the partition's broker is known.
                Err(_) if Instant::now() < deadline => std::thread::sleep(SEEK_PAUSE),
                Err(error) => return Err(self.consumer.context().unreachable(&self.config, &error)),
            }
        }
    }

    /// What comes next, within a time.
    pub fn next(&self, within: Duration) -> Next<'_> {
        match self.consumer.poll(within) {
            None => Next::Nothing,
            Some(Ok(record)) => Next::Record(record),
            Some(Err(KafkaError::PartitionEOF(_))) => Next::End,
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => Next::Gone,
                _ => Next::Away(self.consumer.context().last().unwrap_or_else(|| error.to_string())),
            },
        }
    }

    /// The offset and the claim of the first record of ours at or behind `offset` and before `end`.
    pub fn first_claim(&self, offset: i64, end: i64) -> Result<Option<(i64, Claim)>, BusError> {
        let mut found = None;
        self.each(offset, end, |at, record| {
            found = cloudevents::claim(record).map(|claim| (at, claim));
            found.is_none()
        })?;
        Ok(found)
    }

    /// The last claim in the partition and the position that it is for: how far the partition has come. `START` if there
    /// is none. Looks backward in growing steps: at the end there may be what claims nothing.
    pub fn last_claim(&self) -> Result<Position, BusError> {
        let (low, high) = self.ends()?;
        let (mut to, mut back) = (high, 1);
        while to > low {
            let from = (high - back).max(low);
            let mut last = None;
            self.each(from, to, |_, record| {
                last = cloudevents::claim(record).filter(|claim| claim.since.is_some()).or(last);
                true
            })?;
            if let Some(claim) = last {
                return Ok(claim.position);
            }
            (to, back) = (from, back * 16);
        }
        Ok(Position::START)
    }

    /// Calls `visit` with each record from `offset` on that lies before `end`, until it says `false`.
    pub fn each(
        &self,
        offset: i64,
        end: i64,
        mut visit: impl FnMut(i64, &BorrowedMessage<'_>) -> bool,
    ) -> Result<(), BusError> {
        if offset >= end {
            return Ok(());
        }
        self.seek(offset)?;
        let mut deadline = Instant::now() + self.config.request_timeout();
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Next::Record(record) => {
                    deadline = Instant::now() + self.config.request_timeout();
                    let at = record.offset();
                    if at >= end || !visit(at, &record) || at + 1 >= end {
                        return Ok(());
                    }
                }
                Next::End => return Ok(()),
                Next::Nothing | Next::Away(_) | Next::Gone if Instant::now() < deadline => {}
                Next::Nothing | Next::Away(_) | Next::Gone => {
                    let timed_out = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(self.consumer.context().unreachable(&self.config, &timed_out));
                }
            }
        }
    }
}
