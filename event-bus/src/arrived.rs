//! The progress of the bus in this process by partition: the age of the newest event, and whether more of the log
//! should have arrived. To a follower that only counts records, a relay that has stopped looks like a quiet shop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_store::Position;
use parking_lot::Mutex;
use service_kit::Clock;
use service_kit::clock::Timestamp;
use service_kit::health::Reporter;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::BusConfig;
use crate::word::{self, Word};

/// How often it is looked whether something should have come.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A log that is longer than what came for this long is worth telling: an event takes some 100 ms from the log to a
/// follower, and a relay is replaced by another within 3 s.
const LATE_AFTER: Duration = Duration::from_secs(6);
/// What a follower can know of the cause, besides the causes that a relay names.
pub(crate) const SILENT: &str = "no_word_from_a_relay";

/// What has arrived. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    // Held for one write or a walk over some partitions, never across an await.
    partitions: Arc<Mutex<BTreeMap<u32, Partition>>>,
}

/// How far one partition is.
#[derive(Debug, Clone, Copy, Default)]
struct Partition {
    /// Everything of the log at or below has come, as far as it belongs to the partition.
    up_to: Position,
    /// When its newest event was recorded.
    newest: Option<(Position, Timestamp)>,
    /// How many followers read it here.
    followers: usize,
    /// Received events wait to be applied: that no more arrive says nothing of the relay.
    waits: bool,
}

/// What is known of all partitions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Everything at or below has come.
    pub up_to: Position,
    /// The newest event, and when it was recorded; none since the start.
    pub newest: Option<(Position, Timestamp)>,
    /// Whether received events wait to be applied.
    pub waits: bool,
}

/// As long as it lives, a follower reads the partition here.
#[derive(Debug)]
pub(crate) struct Reading {
    arrived: Arrived,
    partition: u32,
}

impl Arrived {
    /// A follower begins to read a partition behind `after`.
    pub(crate) fn reading(&self, partition: u32, after: Position) -> Reading {
        let mut partitions = self.partitions.lock();
        let entry = partitions.entry(partition).or_default();
        entry.followers += 1;
        entry.up_to = entry.up_to.max(after);
        drop(partitions);
        Reading { arrived: self.clone(), partition }
    }

    /// What has arrived; `None` while this process reads no partition.
    pub fn seen(&self) -> Option<Seen> {
        let partitions = self.partitions.lock();
        let up_to = partitions.values().map(|partition| partition.up_to).min()?;
        let newest = partitions.values().filter_map(|partition| partition.newest).max();
        Some(Seen { up_to, newest, waits: partitions.values().any(|partition| partition.waits) })
    }
}

impl Reading {
    /// The partition is read up to a position; `newest` is the last event that came with it.
    pub fn moved(&self, up_to: Position, newest: Option<(Position, Timestamp)>) {
        if let Some(partition) = self.arrived.partitions.lock().get_mut(&self.partition) {
            partition.up_to = partition.up_to.max(up_to);
            partition.newest = partition.newest.max(newest);
        }
    }
}

impl Reading {
    /// What came is being handed over, or was.
    pub fn waits(&self, waits: bool) {
        if let Some(partition) = self.arrived.partitions.lock().get_mut(&self.partition) {
            partition.waits = waits;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut partitions = self.arrived.partitions.lock();
        if let Some(partition) = partitions.get_mut(&self.partition) {
            partition.followers -= 1;
            if partition.followers == 0 {
                partitions.remove(&self.partition);
            }
        }
    }
}

/// Reports how old the newest event is that came over the bus, and, if the log is longer than what came, that and why:
/// what the relay says of itself, if it says something. Until `stop` fires; run it as a task of the service.
pub async fn watch_over(
    config: BusConfig,
    (arrived, head): (Arrived, watch::Receiver<Position>),
    reporter: Reporter,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut late = Late::default();
    reporter.starting("waits for its first partition");
    loop {
        let (seen, head, now) = (arrived.seen(), *head.borrow(), clock.now());
        gauges(seen, head, now);
        match (seen, late.for_how_long(seen, head, now)) {
            (None, _) => reporter.up_with("no partition is read here: other replicas have them all"),
            (Some(seen), None) => reporter.up_with(age(seen, now)),
            (Some(seen), Some(waited)) => {
                let heard = of_now(word::heard(&config).await.ok().flatten(), seen);
                late.stalled(heard.as_ref().and_then(|word| word.cause.as_deref()).unwrap_or(SILENT), waited);
                reporter.down(format_args!(
                    "{}; the log is at {head}, and nothing has come for {} s: {}",
                    age(seen, now),
                    waited.as_secs(),
                    why(heard.as_ref())
                ));
            }
        }
        tokio::select! {
            () = clock.sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Since when nothing has come although the log is longer.
#[derive(Debug, Default)]
struct Late {
    at: Option<(Position, Timestamp)>,
    cause: Option<String>,
}

impl Late {
    fn for_how_long(&mut self, seen: Option<Seen>, head: Position, now: Timestamp) -> Option<Duration> {
        let Some(seen) = seen.filter(|seen| seen.up_to < head && !seen.waits) else {
            self.on_time();
            return None;
        };
        let since = match self.at {
            Some((up_to, since)) if up_to == seen.up_to => since,
            Some(_) | None => {
                self.on_time();
                now
            }
        };
        self.at = Some((seen.up_to, since));
        (now - since).to_std().ok().filter(|waited| *waited >= LATE_AFTER)
    }

    fn on_time(&mut self) {
        self.at = None;
        if let Some(cause) = self.cause.take() {
            metrics::gauge!("backstitch_bus_stalled_s", "cause" => cause).set(0.0);
        }
    }

    fn stalled(&mut self, cause: &str, waited: Duration) {
        if let Some(before) = self.cause.replace(cause.to_owned()).filter(|before| before != cause) {
            metrics::gauge!("backstitch_bus_stalled_s", "cause" => before).set(0.0);
        }
        metrics::gauge!("backstitch_bus_stalled_s", "cause" => cause.to_owned()).set(waited.as_secs_f64());
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn gauges(seen: Option<Seen>, head: Position, now: Timestamp) {
    let Some(seen) = seen else { return };
    metrics::gauge!("backstitch_bus_behind_positions").set(head.0.saturating_sub(seen.up_to.0) as f64);
    if let Some((_, at)) = seen.newest {
        metrics::gauge!("backstitch_bus_newest_event_age_s").set((now - at).num_milliseconds().max(0) as f64 / 1_000.0);
    }
}

fn age(seen: Seen, now: Timestamp) -> String {
    match seen.newest {
        Some((position, at)) => {
            format!(
                "the newest event that came is {position}, {} s old; read up to {}",
                (now - at).num_seconds().max(0),
                seen.up_to
            )
        }
        None => format!("no event has come since the start; read up to {}", seen.up_to),
    }
}

/// What a relay said, if it is of what has not come yet. What has been passed was said of another time, by a relay that
/// may not live any more.
fn of_now(heard: Option<Word>, seen: Seen) -> Option<Word> {
    heard.filter(|word| word.position >= seen.up_to)
}

fn why(heard: Option<&Word>) -> String {
    match heard {
        Some(Word { trouble: Some(trouble), .. }) => format!("the relay says: {trouble}"),
        Some(_) | None => {
            "the relay has said nothing of it; look at its log and at `backstitch bus status`, which counts the relays"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_quiet_log_is_not_late_and_one_that_goes_on_without_us_is() {
        let (arrived, mut late) = (Arrived::default(), Late::default());
        assert_eq!(arrived.seen(), None);
        let (one, other) = (arrived.reading(0, Position(5)), arrived.reading(1, Position(3)));
        other.moved(Position(7), Some((Position(7), at(0))));
        assert_eq!(arrived.seen(), Some(Seen { up_to: Position(5), newest: Some((Position(7), at(0))), waits: false }));
        one.moved(Position(7), None);
        assert_eq!(late.for_how_long(arrived.seen(), Position(7), at(900)), None, "quiet");
        assert_eq!(late.for_how_long(arrived.seen(), Position(9), at(1_000)), None, "it may be on its way");
        assert_eq!(late.for_how_long(arrived.seen(), Position(12), at(1_030)), Some(Duration::from_secs(30)));
        one.moved(Position(12), None);
        other.moved(Position(9), None);
        assert_eq!(late.for_how_long(arrived.seen(), Position(12), at(1_031)), None, "something came");
        drop(other);
        assert_eq!(arrived.seen().map(|seen| seen.up_to), Some(Position(12)), "handed over");
    }

    #[test]
    fn what_is_told_names_the_age_and_what_the_relay_says() {
        let seen = Seen { up_to: Position(7), newest: Some((Position(7), at(0))), waits: false };
        assert!(age(seen, at(42)).contains("is 7, 42 s old"));
        assert!(age(seen, at(-5)).contains("0 s old"), "a clock that was ahead gives no negative age");
        let word = Word { trouble: Some("too large".to_owned()), ..Word::default() };
        assert!(why(Some(&word)).contains("too large") && why(None).contains("bus status"));
    }

    #[test]
    fn a_word_of_what_has_been_passed_is_not_the_cause_of_today_s_silence() {
        let seen = Seen { up_to: Position(7), newest: None, waits: false };
        let word = |position| Word { position: Position(position), trouble: Some("too large".to_owned()), cause: None };
        assert!(why(of_now(Some(word(7)), seen).as_ref()).contains("too large"), "it stands where we stand");
        assert!(why(of_now(Some(word(9)), seen).as_ref()).contains("too large"), "what is before it is on its way");
        assert!(!why(of_now(Some(word(6)), seen).as_ref()).contains("too large"), "the relay went past it");
    }
}
