//! Keeps failures that repeat from filling the log messages: of equal warnings and errors one is logged in an interval, and
//! then how many were left out.
//!
//! It is a layer of the subscriber, so it holds for every warning and error of the process without a word at the place where
//! it is logged. Two messages are equal if they come from the same place in the code and say the same cause: the fields
//! `error`, `reason`, `detail`, `cause`, `why` and `trouble` are the cause, so that one disk that is full is one cause,
//! whatever the order was. A message without such a field is equal to another only if all of its fields are.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Of equal messages one is logged in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// Causes of one place in the code that are logged in [`INTERVAL`]: causes may differ by a number in them, and a failure of
/// everything must not write thousands of lines. Operators read the first few.
const CAUSES_MAX: usize = 20;
/// The same for messages that name no cause: each may be about another thing, such as a saga that needs attention.
const OTHERS_MAX: usize = 200;
/// The fields that say why something failed.
const CAUSE: &[&str] = &["error", "reason", "detail", "cause", "why", "trouble"];
/// What the line that counts comes from.
const TARGET: &str = "service_kit::repeats";

/// The layer. One in a process, above the layer that writes.
#[derive(Debug)]
pub struct Repeats {
    interval: Duration,
    // Held for a look into a small map, never while anything is written.
    places: Mutex<HashMap<Identifier, Place>>,
}

/// What one place in the code has logged in the interval under way.
#[derive(Debug)]
struct Place {
    begun: Instant,
    seen: HashSet<u64>,
    left_out: u64,
}

impl Default for Repeats {
    fn default() -> Self {
        Self::every(INTERVAL)
    }
}

impl Repeats {
    /// With an interval of the caller's choice.
    fn every(interval: Duration) -> Self {
        Self { interval, places: Mutex::default() }
    }

    /// Whether a message is logged; and how many of its place were left out before, if it is the first of an interval.
    fn admits(&self, place: Identifier, said: u64, max: usize, now: Instant) -> (bool, u64) {
        let mut places = self.places.lock();
        let fresh = || Place { begun: now, seen: HashSet::new(), left_out: 0 };
        let place = places.entry(place).or_insert_with(fresh);
        let mut left_out = 0;
        if now.duration_since(place.begun) >= self.interval {
            left_out = place.left_out;
            *place = fresh();
        }
        let known = place.seen.contains(&said);
        if known || place.seen.len() >= max {
            place.left_out += 1;
            return (false, left_out);
        }
        place.seen.insert(said);
        (true, left_out)
    }
}

/// The text of the fields that tell one message from another.
#[derive(Default)]
struct Said {
    cause: String,
    all: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        if CAUSE.contains(&name) {
            let _ = write!(self.cause, "{name}={value:?};"); // Writing to a text cannot fail.
        }
        let _ = write!(self.all, "{name}={value:?};");
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == TARGET {
            return true;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let (text, max) = if said.cause.is_empty() { (said.all, OTHERS_MAX) } else { (said.cause, CAUSES_MAX) };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let (admitted, left_out) = self.admits(metadata.callsite(), hasher.finish(), max, Instant::now());
        if left_out > 0 {
            let (target, line) = (metadata.target(), metadata.line());
            tracing::warn!(target: TARGET, left_out, of = target, line, "messages like the next one were left out");
        }
        if !admitted {
            metrics::counter!("backstitch_log_messages_left_out_total").increment(1);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that something logs.
    fn lines_of(interval: Duration, logs: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(Repeats::every(interval)).with(lines);
        tracing::subscriber::with_default(subscriber, logs);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_cause_that_repeats_is_logged_once_in_an_interval_whatever_it_is_about() {
        let lines = lines_of(Duration::from_secs(600), || {
            for order in 0..1_000 {
                tracing::error!(order, error = "the disk is full", "the ledger cannot be written");
            }
            tracing::error!(error = "the disk is full", "the log cannot be written");
        });
        assert_eq!(lines.len(), 2, "one of each place: {lines:?}");
    }

    #[test]
    fn differing_causes_are_bounded_and_lines_without_one_differ_by_their_fields() {
        let lines = lines_of(Duration::from_secs(600), || {
            for number in 0..1_000 {
                tracing::error!(error = format!("the offset {number} is wrong"), "a record cannot be read");
            }
            for saga in 0..50 {
                tracing::warn!(saga, "a saga needs attention");
            }
            for _ in 0..50 {
                tracing::info!("placed");
            }
        });
        let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count("a record cannot be read"), CAUSES_MAX);
        assert_eq!(count("needs attention"), 50, "each is about another saga");
        assert_eq!(count("placed"), 50, "what is no failure is never left out");
    }

    #[test]
    fn the_next_interval_says_it_again_and_knows_how_many_were_left_out() {
        let repeats = Repeats::every(Duration::from_secs(10));
        let place = tracing::callsite!(name: "place", kind: tracing::metadata::Kind::EVENT, fields: );
        let place = tracing::callsite::Callsite::metadata(place).callsite();
        let begun = Instant::now();
        assert_eq!(repeats.admits(place.clone(), 1, 5, begun), (true, 0));
        for _ in 0..7 {
            assert_eq!(repeats.admits(place.clone(), 1, 5, begun), (false, 0));
        }
        assert_eq!(repeats.admits(place, 1, 5, begun + Duration::from_secs(10)), (true, 7));
    }
}
