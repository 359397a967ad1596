//! An idempotent producer: acknowledged by all replicas in sync, in order, without a gap, a bounded number under way.
//!
//! Nothing is ever given up: a broker that is away is waited for. When the client can no longer promise order (a fatal
//! error), the publisher has failed for good. Its user makes a new one and begins again from what the topic holds.

use std::sync::Arc;
use std::time::Duration;

use event_store::Position;
use parking_lot::{Mutex, MutexGuard};
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::config::BusConfig;
use crate::connection::{Told, client_error, close_apart};
use crate::error::BusError;
use crate::topics::MAX_RECORD_BYTES;

/// Records under way: a tenth of a second at full speed.
const RECORDS_UNDER_WAY: usize = 10_000;
/// Bytes under way, so that large events cannot fill the memory.
const BYTES_UNDER_WAY: usize = 16 << 20;
/// After this long without any acknowledgement the publisher counts as failed: a broker that is away comes back to another
/// one, and a client that hangs (it must never, and has) is not waited for. A cluster elects a leader in less.
const STALLED: Duration = Duration::from_secs(10);
/// The largest batch, in bytes, where the topics take it: what librdkafka does by default.
const BATCH_BYTES: usize = 1_000_000;
/// After a fatal error, the reports of what was under way come within this: the client has them already.
const REPORTS_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait when the client's own queue is full and nothing moves.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// A producer. Dropped, what is under way is given up.
pub(crate) struct Publisher {
    producer: Option<ThreadedProducer<Reports>>,
    flight: Arc<Flight>,
}

/// A record to publish.
pub(crate) struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: u32,
    /// Which of the publisher's lanes counts it: what was acknowledged is told by lane.
    pub lane: usize,
    pub position: Position,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: OwnedHeaders,
    /// Milliseconds since 1970; `None`: now.
    pub timestamp_ms: Option<i64>,
}

/// What is under way and what has arrived.
#[derive(Default)]
struct Flight {
    // Held for a few additions, never across an await.
    state: Mutex<State>,
    /// Something arrived, or failed.
    moved: Notify,
}

#[derive(Default)]
struct State {
    records: usize,
    bytes: usize,
    lanes: Vec<Lane>,
    failure: Option<Failure>,
    /// The client can go on no longer.
    fatal: Option<String>,
}

/// Why nothing more can be published.
#[derive(Debug, Clone)]
enum Failure {
    /// The broker or the client says so.
    Said(String),
    /// It does not take a record of so many bytes.
    TooLarge { topic: String, position: Position, bytes: usize },
}

impl Failure {
    fn of(error: &KafkaError, sent: &Sent, topic: &str) -> Self {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Self::TooLarge { topic: topic.to_owned(), position: sent.position, bytes: sent.bytes }
            }
            _ => Self::Said(format!("{error} (position {})", sent.position)),
        }
    }

    fn error(&self, topic: &str) -> BusError {
        match self.clone() {
            Self::Said(reason) => BusError::Refused { topic: topic.to_owned(), reason },
            Self::TooLarge { topic, position, bytes } => {
                BusError::TooLarge { topic, position, bytes, needed: MAX_RECORD_BYTES }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// Handed over and not acknowledged, which includes for ever what was refused.
    open: usize,
    acknowledged: Position,
    last_offset: Option<i64>,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What is remembered of a record until it is acknowledged.
struct Sent {
    lane: usize,
    position: Position,
    bytes: usize,
}

struct Reports {
    told: Told,
    flight: Arc<Flight>,
}

impl Publisher {
    /// A producer with so many lanes, each acknowledged up to `start` at first. A batch is not larger than `room`, the
    /// smallest that a topic takes: the broker judges batches, and a large batch of small records is no large record.
    pub fn new(config: &BusConfig, lanes: &[Position], room: Option<usize>) -> Result<Self, BusError> {
        let flight = Arc::new(Flight::default());
        let lane = |start: &Position| Lane { acknowledged: *start, ..Lane::default() };
        flight.lock().lanes = lanes.iter().map(lane).collect();
        let mut client = config.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A record that cannot be delivered is a fatal error, not a hole before those behind it.
            .set("enable.gapless.guarantee", "true")
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("batch.size", room.unwrap_or(BATCH_BYTES).min(BATCH_BYTES).to_string())
            .set("compression.codec", "lz4")
            // One millisecond gathers what one commit of the log brought.
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "100000")
            .set("retry.backoff.ms", "50")
            .set("retry.backoff.max.ms", "500");
        let reports = Reports { told: Told::default(), flight: flight.clone() };
        let producer = client.create_with_context(reports).map_err(|error| client_error(config, error))?;
        Ok(Self { producer: Some(producer), flight })
    }

    /// Hands a record to the client, when there is room. What was handed over is published in this order, lane by lane.
    ///
    /// If the future is dropped while it waits, the record was not handed over.
    pub async fn send(&self, record: Outgoing<'_>) -> Result<(), BusError> {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let topic = record.topic.to_owned();
        let sent = Box::new(Sent { lane: record.lane, position: record.position, bytes });
        let mut wanted = BaseRecord::with_opaque_to(&topic, sent).headers(record.headers);
        wanted.partition = i32::try_from(record.partition).ok();
        (wanted.key, wanted.payload, wanted.timestamp) = (record.key, record.value, record.timestamp_ms);
        loop {
            self.wait_for(&topic, |state| state.records < RECORDS_UNDER_WAY && state.bytes < BYTES_UNDER_WAY).await?;
            let Some(producer) = &self.producer else { return Ok(()) }; // Only while it is being dropped.
            self.flight.lock().take_off(&wanted.delivery_opaque);
            match producer.send(wanted) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    self.flight.lock().take_back(&back.delivery_opaque);
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        return Err(Failure::of(&error, &back.delivery_opaque, &topic).error(&topic));
                    }
                    wanted = back;
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
            }
        }
    }

    /// Waits until all that was handed over on these lanes is acknowledged.
    pub async fn acknowledged(&self, topic: &str, lanes: std::ops::Range<usize>) -> Result<(), BusError> {
        self.wait_for(topic, |state| state.lanes[lanes.clone()].iter().all(|lane| lane.open == 0)).await
    }

    /// Waits until the publisher has failed.
    pub async fn failed(&self, topic: &str) -> BusError {
        match self.wait_for(topic, |_| false).await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Everything at or below is acknowledged, on all of these lanes.
    pub fn position(&self, lanes: std::ops::Range<usize>) -> Position {
        self.flight.lock().position(lanes)
    }

    /// The offset of the last acknowledged record of a lane.
    pub fn last_offset(&self, lane: usize) -> Option<i64> {
        self.flight.lock().lanes[lane].last_offset
    }

    async fn wait_for(&self, topic: &str, is_so: impl Fn(&State) -> bool) -> Result<(), BusError> {
        loop {
            let moved = self.flight.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let fatal = {
                let state = self.flight.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.error(topic));
                }
                if state.fatal.is_none() && is_so(&state) {
                    return Ok(());
                }
                state.fatal.clone()
            };
            if let Some(reason) = fatal {
                if tokio::time::timeout(REPORTS_WITHIN, moved).await.is_err() {
                    return Err(BusError::Refused { topic: topic.to_owned(), reason });
                }
                continue;
            }
            if tokio::time::timeout(STALLED, moved).await.is_err() && self.flight.lock().records > 0 {
                let reason = format!("nothing was acknowledged for {} s", STALLED.as_secs());
                return Err(BusError::Refused { topic: topic.to_owned(), reason });
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            // At once: the next publisher looks at the topic, or creates it again, and must not find records there later
            // that were still under way here.
            producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
            close_apart(producer);
        }
    }
}

impl State {
    fn take_off(&mut self, sent: &Sent) {
        self.records += 1;
        self.bytes += sent.bytes;
        self.lanes[sent.lane].open += 1;
    }

    /// The client did not take it.
    fn take_back(&mut self, sent: &Sent) {
        self.lands(sent);
        self.lanes[sent.lane].open -= 1;
    }

    fn arrives(&mut self, sent: &Sent, offset: i64) {
        self.lands(sent);
        let lane = &mut self.lanes[sent.lane];
        lane.open -= 1;
        // Durable from here.
        lane.acknowledged = lane.acknowledged.max(sent.position);
        lane.last_offset = Some(offset);
    }

    /// Its lane stays open: what other lanes bring is not acknowledged past it.
    fn is_refused(&mut self, sent: &Sent, failure: Failure) {
        self.lands(sent);
        // Which record it was is worth more than that others behind it were dropped.
        let better = matches!(failure, Failure::TooLarge { .. });
        if self.failure.is_none() || (better && !matches!(self.failure, Some(Failure::TooLarge { .. }))) {
            self.failure = Some(failure);
        }
    }

    fn lands(&mut self, sent: &Sent) {
        self.records -= 1;
        self.bytes -= sent.bytes;
    }

    /// Everything at or below is acknowledged, on all of these lanes.
    fn position(&self, lanes: std::ops::Range<usize>) -> Position {
        let lanes = &self.lanes[lanes];
        let open = lanes.iter().filter(|lane| lane.open > 0).map(|lane| lane.acknowledged).min();
        open.or_else(|| lanes.iter().map(|lane| lane.acknowledged).max()).unwrap_or_default()
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.told.log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            tracing::error!(reason, "the Kafka producer can go on no longer; another one will");
            // Which record it was is told by its own report, a moment later.
            self.flight.lock().fatal.get_or_insert_with(|| reason.to_owned());
            self.flight.moved.notify_waiters();
        }
        self.told.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let mut state = self.flight.lock();
        match result {
            Ok(record) => state.arrives(&sent, record.offset()),
            Err((error, record)) => {
                let failure = Failure::of(error, &sent, record.topic());
                state.is_refused(&sent, failure);
            }
        }
        drop(state);
        self.flight.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lane: usize, position: u64) -> Sent {
        Sent { lane, position: Position(position), bytes: 10 }
    }

    #[test]
    fn nothing_that_arrives_later_moves_the_position_past_a_refused_record() {
        let lane = Lane { acknowledged: Position(4), ..Lane::default() };
        let mut state = State { lanes: vec![lane; 3], ..State::default() };
        let (refused, next, last) = (sent(0, 5), sent(1, 6), sent(2, 7));
        for record in [&refused, &next, &last] {
            state.take_off(record);
        }
        state.arrives(&next, 0);
        assert_eq!(state.position(0..3), Position(4));
        let failure = Failure::TooLarge { topic: "events".to_owned(), position: refused.position, bytes: 10 };
        state.is_refused(&refused, failure);
        state.arrives(&last, 0);
        assert_eq!(state.position(0..3), Position(4), "position 5 is in no topic");
        assert_eq!((state.records, state.bytes), (0, 0), "and takes no room any more");
    }

    #[test]
    fn a_record_that_the_client_did_not_take_leaves_no_trace() {
        let mut state = State { lanes: vec![Lane::default(); 2], ..State::default() };
        state.take_off(&sent(0, 1));
        state.arrives(&sent(0, 1), 0);
        state.take_off(&sent(1, 2));
        state.take_back(&sent(1, 2));
        assert_eq!((state.position(0..2), state.records), (Position(1), 0));
    }
}
