//! The thread that reads one partition for its worker, from where the worker's tables say.

use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, OwnedMessage};
use tokio::sync::mpsc::Sender;

use super::offsets::Reached;
use crate::cloudevents;
use crate::config::BusConfig;
use crate::error::BusError;
use crate::records::{Next, Records};
use crate::source::Progress;

/// How long the thread waits for a record before it looks whether anybody still works on the partition.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Between two attempts while Kafka is away.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the lag is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// What the worker is told.
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
    /// It is there again.
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

/// Whether the reader is where the worker is.
enum Found {
    Here,
    NotYet,
    /// The topic is another one; its first offset.
    Anew(i64),
}

/// What a record looks like, to know it again: when it was written, where it is in the log, how long it is.
pub(super) fn mark(record: &impl Message) -> String {
    let written = record.timestamp().to_millis().unwrap_or_default();
    let position = cloudevents::claim(record).map(|claim| claim.position.0).unwrap_or_default();
    format!("{written}/{position}/{}", record.payload().map_or(0, <[u8]>::len))
}

impl Reading {
    /// Reads on from `from` until nobody receives any more, or the topic is made anew.
    pub fn run(self, from: &Reached, to: &Sender<Read>) {
        let mut records = None;
        while !to.is_closed() {
            let reader = match &records {
                Some(reader) => reader,
                None => match Records::new(&self.config, &self.topic, self.partition) {
                    Ok(made) => &*records.insert(made),
                    Err(error) => {
                        if self.away(&error.to_string(), to).is_err() {
                            return;
                        }
                        continue;
                    }
                },
            };
            match self.find(reader, from, to) {
                Ok(Found::Here) => {
                    if send(to, Read::Back).is_ok() {
                        drop(self.read_on(reader, to));
                    }
                    return;
                }
                Ok(Found::NotYet) => {}
                Ok(Found::Anew(low)) => return drop(send(to, Read::Anew(low))),
                Err(error) => {
                    if self.away(&error.to_string(), to).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Goes to where the worker is.
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
            return records.seek(low).map(|()| Found::Here);
        }
        if from.mark.is_empty() || next == low {
            return records.seek(next).map(|()| Found::Here);
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
                    return Ok(if mark(&record) == from.mark { Found::Here } else { Found::Anew(low) });
                }
                // Compaction took it: what comes next is new.
                Next::Record(record) => {
                    return Ok(send(to, record_of(&record)).map_or(Found::NotYet, |()| Found::Here));
                }
                Next::End => return Ok(Found::Here),
                Next::Gone => return Ok(Found::NotYet),
                Next::Nothing => {}
                Next::Away(reason) => {
                    return Err(BusError::Unreachable { brokers: self.config.place().to_owned(), reason });
                }
            }
        }
        Ok(Found::NotYet)
    }

    fn read_on(&self, records: &Records, to: &Sender<Read>) -> Result<(), Left> {
        let (mut measured, mut away) = (Instant::now(), false);
        while !to.is_closed() {
            match records.next(LOOK_UP) {
                Next::Record(record) => send(to, record_of(&record))?,
                Next::End | Next::Nothing => {}
                // The worker begins anew, and so finds out what became of the topic.
                Next::Gone => return Err(Left),
                Next::Away(reason) => {
                    self.away(&reason, to)?;
                    away = true;
                }
            }
            if measured.elapsed() >= MEASURE_EVERY {
                if self.measure(records) && std::mem::take(&mut away) {
                    send(to, Read::Back)?;
                }
                measured = Instant::now();
            }
        }
        Ok(())
    }

    /// How many records are there that were not dealt with; whether Kafka says so.
    fn measure(&self, records: &Records) -> bool {
        let (Ok((_, high)), Some(next)) = (records.ends(), self.progress.offset()) else { return false };
        let labels =
            [("group", self.group.clone()), ("topic", self.topic.clone()), ("partition", self.partition.to_string())];
        #[allow(clippy::cast_precision_loss, reason = "a lag of 2^52 records is not seen")]
        metrics::gauge!("bus_consumer_lag_records", &labels).set((high - next).max(0) as f64);
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

fn record_of(record: &BorrowedMessage<'_>) -> Read {
    Read::Record(Box::new(record.detach()))
}

fn send(to: &Sender<Read>, read: Read) -> Result<(), Left> {
    to.blocking_send(read).map_err(|_| Left)
}
