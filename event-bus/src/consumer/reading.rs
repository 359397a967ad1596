//! The thread that reads one partition for its worker, from where the worker's tables say.

use std::time::{Duration, Instant};

use event_store::Position;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, OwnedMessage};
use tokio::sync::mpsc::Sender;

use super::offsets::Reached;
use crate::cloudevents::{self, Claim};
use crate::config::BusConfig;
use crate::error::BusError;
use crate::records::{Next, Records};
use crate::silence::Silence;
use crate::source::Progress;

/// How long the thread waits for a record before it looks whether anybody still works on the partition.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Between two attempts while Kafka is away.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the lag is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// A message to the worker.
#[derive(Debug)]
pub(super) enum Read {
    /// The next record.
    Record(Box<OwnedMessage>),
    /// The topic is another one than that which was dealt with: its records begin at this offset.
    Anew(i64),
    /// The records between were deleted before anybody read them.
    Lost { from: i64, to: i64 },
    /// Kafka cannot be reached. It is tried again by itself.
    Away(String),
    /// Kafka can be reached again.
    Back,
}

/// What is read, for whom.
pub(super) struct Reading {
    pub config: BusConfig,
    pub group: String,
    pub topic: String,
    pub partition: u32,
    pub progress: Progress,
}

/// Nobody receives what is read.
struct Left;

/// Whether the reader is behind the last record that was had.
enum Found {
    /// This offset is the next.
    At(i64),
    NotYet,
    /// The topic is another one; its first offset.
    Anew(i64),
}

/// What a record looks like, to know it again: when it was written, where it is in the log, how long it is.
pub(super) fn mark(record: &impl Message) -> String {
    mark_with(record, cloudevents::claim(record))
}

fn mark_with(record: &impl Message, claim: Option<Claim>) -> String {
    let written = record.timestamp().to_millis().unwrap_or_default();
    let position = claim.map(|claim| claim.position.0).unwrap_or_default();
    format!("{written}/{position}/{}", record.payload().map_or(0, <[u8]>::len))
}

/// A position as the tables have it.
fn signed(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

impl Reading {
    /// Reads on from `from` until nobody receives any more, or the topic is made anew.
    pub fn run(self, from: &Reached, to: &Sender<Read>) {
        let mut records = None;
        while !to.is_closed() {
            let found = match records.take() {
                Some(reader) => Ok(reader),
                None => self.reader(),
            };
            match found.and_then(|reader| self.find(&reader, from, to).map(|found| (reader, found))) {
                Ok((reader, Found::At(offset))) => {
                    if send(to, Read::Back).is_ok() {
                        drop(self.read_on(reader, Reached { next_offset: offset, ..from.clone() }, to));
                    }
                    return;
                }
                Ok((reader, Found::NotYet)) => records = Some(reader),
                Ok((_, Found::Anew(low))) => return drop(send(to, Read::Anew(low))),
                Err(error) => {
                    if self.away(&error.to_string(), to).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn reader(&self) -> Result<Records, BusError> {
        Records::new(&self.config, &self.topic, self.partition)
    }

    /// Goes behind the last record that was had.
    fn find(&self, records: &Records, from: &Reached, to: &Sender<Read>) -> Result<Found, BusError> {
        let (low, high) = records.ends()?;
        let next = from.next_offset;
        if next > high {
            return Ok(Found::Anew(low));
        }
        if next < low {
            // The first time there is nothing that could be lost: the topic may be older than this group.
            if !from.mark.is_empty() && send(to, Read::Lost { from: next, to: low }).is_err() {
                return Ok(Found::NotYet);
            }
            return records.seek(low).map(|()| Found::At(low));
        }
        if from.mark.is_empty() || next == low {
            return records.seek(next).map(|()| Found::At(next));
        }
        self.meet(records, from, low, to)
    }

    /// Begins with the record before, which was dealt with: is it still the same one?
    fn meet(&self, records: &Records, from: &Reached, low: i64, to: &Sender<Read>) -> Result<Found, BusError> {
        let last = from.next_offset - 1;
        records.seek(last)?;
        let deadline = Instant::now() + self.config.request_timeout();
        while Instant::now() < deadline && !to.is_closed() {
            match records.next(LOOK_UP) {
                Next::Record(record) if record.offset() == last => {
                    return Ok(if mark(&record) == from.mark { Found::At(last + 1) } else { Found::Anew(low) });
                }
                // Compaction took it: what comes next is new.
                Next::Record(record) => {
                    let next = record.offset() + 1;
                    return Ok(send(to, record_of(&record)).map_or(Found::NotYet, |()| Found::At(next)));
                }
                Next::End => return Ok(Found::At(last + 1)),
                Next::Gone => return Ok(Found::NotYet),
                Next::Nothing => {}
                Next::Away(reason) => {
                    return Err(BusError::Unreachable { brokers: self.config.place().to_owned(), reason });
                }
            }
        }
        Ok(Found::NotYet)
    }

    /// Reads on behind `had`.
    fn read_on(&self, mut records: Records, mut had: Reached, to: &Sender<Read>) -> Result<(), Left> {
        let (mut measured, mut away, mut silence) = (Instant::now(), false, Silence::new());
        // The position behind which something is missing, although the topic is the same.
        let mut hole = None;
        while !to.is_closed() {
            match records.next(LOOK_UP) {
                Next::Record(record) => {
                    let claim = cloudevents::claim(&record);
                    if is_torn(&had, claim) && hole != Some(had.position) {
                        drop(record);
                        hole = Some(had.position);
                        records = self.find_again(&had, to)?;
                        continue;
                    }
                    let position = claim.map_or(0, |claim| signed(claim.position)).max(had.position);
                    had = Reached { next_offset: record.offset() + 1, position, mark: mark_with(&record, claim) };
                    send(to, record_of(&record))?;
                    silence.ends();
                }
                Next::End => silence.ends(),
                Next::Nothing if silence.is_long() => {
                    if let Some(another) = self.instead_of(&records, had.next_offset, &mut silence) {
                        records = another;
                    }
                }
                Next::Nothing => {}
                // The worker begins anew, and so finds out what became of the topic.
                Next::Gone => return Err(Left),
                Next::Away(reason) => {
                    self.away(&reason, to)?;
                    away = true;
                }
            }
            if measured.elapsed() >= MEASURE_EVERY {
                if self.measure(&records) && std::mem::take(&mut away) {
                    send(to, Read::Back)?;
                }
                measured = Instant::now();
            }
        }
        Ok(())
    }

    /// Something is missing behind `had`. Nothing tells a reader that its topic was made anew, if the new one has grown past
    /// its offset when it asks again: it goes on in the midst of the new one. So it looks for what it had; where the topic is
    /// the same, something is missing indeed.
    fn find_again(&self, had: &Reached, to: &Sender<Read>) -> Result<Records, Left> {
        let records = self.reader().map_err(|_| Left)?; // The worker begins anew, and Kafka's absence is told.
        match self.find(&records, had, to) {
            Ok(Found::At(_)) => {
                let (topic, partition, position) = (&self.topic, self.partition, had.position);
                metrics::counter!("backstitch_bus_records_lost_total", "topic" => topic.clone()).increment(1);
                tracing::error!(
                    topic,
                    partition,
                    position,
                    "what follows this position is not in the topic, or could not be read; going on behind it"
                );
                Ok(records)
            }
            Ok(Found::Anew(low)) => send(to, Read::Anew(low)).and(Err(Left)),
            Ok(Found::NotYet) | Err(_) => Err(Left),
        }
    }

    /// Another reader, if this one brings nothing though something is there. Away: it is asked again.
    fn instead_of(&self, records: &Records, offset: i64, silence: &mut Silence) -> Option<Records> {
        let (_, end) = records.ends().ok()?;
        if !silence.is_a_hang(offset, end) {
            return None;
        }
        let (topic, partition) = (&self.topic, self.partition);
        tracing::warn!(
            topic,
            partition,
            offset,
            end,
            "records are there and do not come; reading them with another client"
        );
        metrics::counter!("backstitch_bus_readers_replaced_total", "partition" => partition.to_string()).increment(1);
        let another = self.reader().ok()?;
        another.seek(offset).ok().map(|()| another)
    }

    /// How many records are there that were not dealt with; whether Kafka says so.
    fn measure(&self, records: &Records) -> bool {
        let (Ok((_, high)), Some(next)) = (records.ends(), self.progress.offset()) else { return false };
        let labels =
            [("group", self.group.clone()), ("topic", self.topic.clone()), ("partition", self.partition.to_string())];
        #[allow(clippy::cast_precision_loss, reason = "a lag of 2^52 records is not seen")]
        metrics::gauge!("backstitch_bus_consumer_lag_records", &labels).set((high - next).max(0) as f64);
        true
    }

    fn away(&self, reason: &str, to: &Sender<Read>) -> Result<(), Left> {
        // Told once for all that waits already: the worker may be busy with its last words.
        if to.capacity() > 0 {
            send(to, Read::Away(reason.to_owned()))?;
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

/// Whether the log has something between what was had and a record that claims what precedes it. Of a topic of which nothing
/// was had yet nothing is missing: it may be older than its first record.
fn is_torn(had: &Reached, claim: Option<Claim>) -> bool {
    let since = claim.and_then(|claim| claim.since);
    had.position > 0 && since.is_some_and(|since| signed(since) > had.position)
}

fn record_of(record: &BorrowedMessage<'_>) -> Read {
    Read::Record(Box::new(record.detach()))
}

fn send(to: &Sender<Read>, read: Read) -> Result<(), Left> {
    to.blocking_send(read).map_err(|_| Left)
}
