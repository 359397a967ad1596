//! The thread that reads a partition for one follower.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::{Delivery, Filter, Position, ReadError, RecordedEvent};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use service_kit::Pauses;
use service_kit::clock::Timestamp;
use tokio::sync::mpsc::Sender;

use crate::arrived::Reading;
use crate::cloudevents;
use crate::config::BusConfig;
use crate::connection::Asker;
use crate::coverage::{AtEnd, Coverage, Step, search};
use crate::error::BusError;
use crate::records::{Next, Records};
use crate::silence::Silence;
use crate::source::Read;

/// Events in one delivery: as many as the embedded log gives.
const EVENTS_PER_DELIVERY: usize = 1_024;
/// How long the thread waits for records before it looks whether anybody still follows.
const LOOK_UP: Duration = Duration::from_millis(100);
/// A broker that restarts is back within 4 s, a cluster elects a leader within some: longer is worth telling.
const SILENT_FOR: Duration = Duration::from_secs(10);
/// Between two attempts to find the place while Kafka is away.
const PAUSE: Duration = Duration::from_millis(200);
/// The times after which a reported gap is looked at again: the topic may have been created again meanwhile, of which there
/// is no notice.
const LOOK_AGAIN: Pauses = Pauses::doubling(Duration::from_secs(10), Duration::from_mins(10));

/// Reads one partition for one follower.
pub(crate) struct Follower {
    config: Arc<BusConfig>,
    partition: u32,
    filter: Filter,
    coverage: Coverage,
    /// Behind this offset lies what came after it began to follow; `None`: that was told.
    catching_up_to: Option<i64>,
    /// Since when nothing could be read, and whether that was told.
    away: Option<(Instant, bool)>,
    /// The gaps that were reported, so that each is reported once.
    hole: Option<Hole>,
    silence: Silence,
    batch: Batch,
    /// Tells this process what has arrived.
    reading: Reading,
    /// The newest event since the last delivery, admitted or not.
    newest: Option<(Position, Timestamp)>,
}

/// What is read and not yet delivered.
struct Batch {
    events: Vec<Arc<RecordedEvent>>,
    /// How far the last delivery went.
    delivered: Position,
    next_offset: i64,
}

/// A gap that was reported.
struct Hole {
    after: Position,
    look_at: Instant,
    pauses: Pauses,
}

/// Why reading on from here ends.
enum Stop {
    /// To find a place again, before this offset.
    Find(i64),
    /// The topic may not be the one it was: to find a place again, anywhere.
    Anew,
    /// Nobody follows any more.
    Left,
}

/// Read on, or not.
type Flow = ControlFlow<Stop>;

impl Follower {
    pub fn new(config: Arc<BusConfig>, partition: u32, after: Position, filter: Filter, reading: Reading) -> Self {
        let batch = Batch { events: Vec::new(), delivered: after, next_offset: -1 };
        let (coverage, silence) = (Coverage::new(after, 0, 0), Silence::new());
        let (catching_up_to, away, hole) = (Some(i64::MAX), None, None);
        let newest = None;
        Self { config, partition, filter, coverage, catching_up_to, away, hole, silence, batch, reading, newest }
    }

    /// Until nobody follows any more.
    pub fn run(mut self, to: &Sender<Read>) {
        let (mut reader, mut before) = (None, i64::MAX);
        while !to.is_closed() {
            let found = match reader.take() {
                Some(records) => Ok(records),
                None => Records::new(&self.config, &self.config.topic, self.partition),
            };
            let found = found.and_then(|records| self.find(&records, before).map(|()| records));
            match found {
                Ok(records) => match self.read(&records, to) {
                    Stop::Left => return,
                    Stop::Find(offset) => (reader, before) = (Some(records), offset),
                    // A reader of the topic that was is no good for the one that is.
                    Stop::Anew => (reader, before) = (None, i64::MAX),
                },
                Err(error) => {
                    if self.is_away(&error, to).is_break() {
                        return;
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Finds the place from where to read, before an offset.
    fn find(&mut self, records: &Records, before: i64) -> Result<(), BusError> {
        let (low, high) = records.ends()?;
        let high = high.min(before).max(low);
        let probe =
            |offset| Ok::<_, BusError>(records.first_claim(offset, high)?.map(|(at, claim)| (at, claim.position)));
        let from = search(low, high, self.coverage.up_to, probe)?;
        tracing::debug!(
            topic = self.config.topic, partition = self.partition, after = %self.coverage.up_to, from, low, high,
            "reading a partition"
        );
        self.coverage.begin(from, low);
        // Where the partition ended when it was first seen.
        self.catching_up_to = self.catching_up_to.map(|end| end.min(high));
        self.batch.next_offset = from;
        records.seek(from)
    }

    /// Reads on from where it is.
    fn read(&mut self, records: &Records, to: &Sender<Read>) -> Stop {
        loop {
            if to.is_closed() {
                return Stop::Left;
            }
            if let ControlFlow::Break(stop) = self.read_next(records, to) {
                return stop;
            }
        }
    }

    fn read_next(&mut self, records: &Records, to: &Sender<Read>) -> Flow {
        // What can be delivered is not held back to be delivered with more.
        let pending = self.coverage.up_to != self.batch.delivered;
        match records.next(if pending { Duration::ZERO } else { LOOK_UP }) {
            Next::Record(record) => {
                self.away = None;
                self.silence.ends();
                self.take(&record)?;
                if self.batch.events.len() < EVENTS_PER_DELIVERY { Flow::Continue(()) } else { self.deliver(to) }
            }
            Next::End => {
                self.away = None;
                self.silence.ends();
                self.deliver(to)?;
                self.at_end(to)
            }
            Next::Nothing if self.away.is_some() => match records.ends() {
                Ok(_) => {
                    self.away = None;
                    Flow::Continue(())
                }
                Err(error) => self.is_away(&error, to),
            },
            Next::Nothing if self.silence.is_long() => self.look(records, to),
            Next::Nothing => {
                self.deliver(to)?;
                // The client tells of the end only when a request for more has waited in vain.
                match self.catching_up_to {
                    Some(end) if self.batch.next_offset >= end => self.at_end(to),
                    Some(_) | None => Flow::Continue(()),
                }
            }
            Next::Gone => {
                tracing::warn!(
                    topic = self.config.topic, partition = self.partition, after = %self.coverage.up_to,
                    "the topic is not the one it was; looking for the place again"
                );
                Flow::Break(Stop::Anew)
            }
            Next::Away(reason) => {
                let error = BusError::Unreachable { brokers: self.config.place().to_owned(), reason };
                self.is_away(&error, to)
            }
        }
    }

    /// Whether there is really nothing to be read.
    fn look(&mut self, records: &Records, to: &Sender<Read>) -> Flow {
        match records.ends() {
            Ok((_, end)) if self.silence.is_a_hang(self.batch.next_offset, end) => {
                tracing::warn!(
                    topic = self.config.topic,
                    partition = self.partition,
                    offset = self.batch.next_offset,
                    end,
                    "records are there and do not come; reading them with another client"
                );
                metrics::counter!("backstitch_bus_readers_replaced_total", "partition" => self.partition.to_string())
                    .increment(1);
                Flow::Break(Stop::Anew)
            }
            Ok((_, end)) if end == self.batch.next_offset => self.at_end(to),
            Ok(_) => Flow::Continue(()),
            Err(error) => self.is_away(&error, to),
        }
    }

    fn take(&mut self, record: &BorrowedMessage<'_>) -> Flow {
        self.batch.next_offset = record.offset() + 1;
        let (claim, event) = match cloudevents::decode(record) {
            Ok(read) => {
                if read.event.is_some() {
                    metrics::counter!("backstitch_bus_records_total", "partition" => self.partition.to_string())
                        .increment(1);
                }
                (read.claim, read.event)
            }
            Err(error) => {
                metrics::counter!("backstitch_bus_undecodable_total", "partition" => self.partition.to_string())
                    .increment(1);
                tracing::error!(
                    topic = self.config.topic, partition = self.partition, offset = record.offset(), %error,
                    "a record in our topic cannot be read and is passed by"
                );
                let Some(claim) = cloudevents::claim(record) else { return Flow::Continue(()) };
                (claim, None)
            }
        };
        match self.coverage.step(claim) {
            Step::PassBy => {}
            Step::LookBefore(offset) => return Flow::Break(Stop::Find(offset)),
            Step::Take => {
                self.newest = event.as_ref().map(|event| (event.position, event.recorded_at)).or(self.newest);
                let admitted = event.filter(|event| self.filter.admits(&event.stream));
                self.batch.events.extend(admitted.map(Arc::new));
            }
        }
        Flow::Continue(())
    }

    fn at_end(&mut self, to: &Sender<Read>) -> Flow {
        match self.coverage.at_end() {
            AtEnd::LookAgain => {
                tracing::info!(
                    topic = self.config.topic, partition = self.partition, after = %self.coverage.up_to,
                    "what was read does not join up; reading the partition again"
                );
                Flow::Break(Stop::Anew)
            }
            AtEnd::Lacking(next) => self.lacks(next, to),
            AtEnd::Whole => match self.catching_up_to.take() {
                Some(_) => self.send(Ok(Delivery::CaughtUp), to),
                None => Flow::Continue(()),
            },
        }
    }

    /// Tells what is lacking, once; from then on looks now and then whether it still is.
    fn lacks(&mut self, next: Position, to: &Sender<Read>) -> Flow {
        let (after, now) = (self.coverage.up_to, Instant::now());
        match self.hole.take().filter(|hole| hole.after == after) {
            Some(hole) if now < hole.look_at => {
                self.hole = Some(hole);
                Flow::Continue(())
            }
            Some(Hole { mut pauses, .. }) => {
                self.hole = Some(Hole { after, look_at: now + pauses.failed(), pauses });
                Flow::Break(Stop::Anew)
            }
            None => {
                let mut pauses = LOOK_AGAIN;
                self.hole = Some(Hole { after, look_at: now + pauses.failed(), pauses });
                let topic = self.config.topic.clone();
                self.tell(&BusError::Lacking { topic, partition: self.partition, after, next }, to)
            }
        }
    }

    /// Hands over what was read, if it moves anything.
    fn deliver(&mut self, to: &Sender<Read>) -> Flow {
        let up_to = self.coverage.up_to;
        if up_to == self.batch.delivered {
            return Flow::Continue(());
        }
        self.batch.delivered = up_to;
        self.reading.moved(up_to, self.newest.take());
        let events = std::mem::take(&mut self.batch.events);
        self.send(Ok(Delivery::Events { events, up_to }), to)
    }

    fn send(&self, delivery: Result<Delivery, ReadError>, to: &Sender<Read>) -> Flow {
        self.reading.waits(true);
        let sent = to.blocking_send(Read { delivery, next_offset: self.batch.next_offset });
        self.reading.waits(false);
        match sent {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(Stop::Left),
        }
    }

    /// Takes note that Kafka is away; tells it when that lasts.
    fn is_away(&mut self, error: &BusError, to: &Sender<Read>) -> Flow {
        let (since, told) = *self.away.get_or_insert((Instant::now(), false));
        if told || since.elapsed() < SILENT_FOR {
            return Flow::Continue(());
        }
        self.away = Some((since, true));
        // Asked apart: a consumer does not hear why.
        let asked = Asker::new(&self.config).and_then(|asker| asker.partitions(&self.config.topic));
        self.tell(asked.as_ref().err().unwrap_or(error), to)
    }

    fn tell(&self, error: &BusError, to: &Sender<Read>) -> Flow {
        tracing::warn!(topic = self.config.topic, partition = self.partition, %error, "a partition cannot be followed");
        let told = ReadError::Unavailable {
            path: format!("{}/{}", self.config.topic, self.partition),
            reason: error.to_string(),
        };
        self.send(Err(told), to)
    }
}
