//! The places of each class of requests: so many are served at once. A request beyond them is refused before any work
//! is done for it.
//!
//! *Invariant:* a class's places are its own. A class that is full refuses its own requests and nobody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::class::Class;
use crate::problem::Problem;

/// The reasons of refusals, as in the label `reason` of the metric.
const REASONS: [&str; 2] = [FULL, MEMORY];
/// All places of the class are taken.
pub(crate) const FULL: &str = "full";
/// The memory of bodies is short.
pub(crate) const MEMORY: &str = "memory";

/// How often a log message reports refusals, for each class and reason: enough to be seen, too little to fill a disk.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// `[limits.at_once]`: how many requests of each class are served at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AtOnce {
    /// Number of commands. At 7 000 a second and 30 ms each some 200 are under way; the rest is room for bursts.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub commands: usize,
    /// Number of reads of one thing.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub one_row: usize,
    /// Number of reads of lists, each one page.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub lists: usize,
    /// Number of reads that wait for a position or a state (`X-Min-Position`, `Prefer: wait`).
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub long_waits: usize,
    /// Number of live connections (server-sent events); each holds a subscription's buffer.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub streams: usize,
    /// Number of reads of large parts of the log, reports, rebuilds.
    #[serde(deserialize_with = "crate::config::within::<1, 1000000, _, _>")]
    pub heavy: usize,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self { commands: 1024, one_row: 512, lists: 128, long_waits: 1024, streams: 512, heavy: 16 }
    }
}

impl AtOnce {
    /// The number of requests of this class that are served at once.
    pub fn of(&self, class: Class) -> usize {
        match class {
            Class::Command => self.commands,
            Class::OneRow => self.one_row,
            Class::List => self.lists,
            Class::LongWait => self.long_waits,
            Class::Stream => self.streams,
            Class::Heavy => self.heavy,
        }
    }
}

/// The places of all classes. Cheap to clone; clones share the places.
#[derive(Debug, Clone)]
pub struct Permits(Arc<[Places]>);

#[derive(Debug)]
struct Places {
    bound: usize,
    free: Arc<Semaphore>,
    /// The refusals by reason, as in [`REASONS`].
    refused: [Refused; REASONS.len()],
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Permit {
    class: Class,
    _place: OwnedSemaphorePermit,
}

impl Permits {
    /// Free places for each class; `most` is an upper bound of each.
    pub fn new(at_once: &AtOnce, most: usize) -> Self {
        let places = Class::ALL.iter().map(|&class| {
            let bound = at_once.of(class).min(most).min(Semaphore::MAX_PERMITS);
            metrics::gauge!("backstitch_http_places", "class" => class.name()).set(count(bound));
            in_flight(class).set(0.0);
            for reason in REASONS {
                metrics::counter!("backstitch_http_shed_total", "class" => class.name(), "reason" => reason)
                    .absolute(0);
            }
            Places { bound, free: Arc::new(Semaphore::new(bound)), refused: Default::default() }
        });
        Self(places.collect())
    }

    /// Takes a place of the class.
    ///
    /// # Errors
    /// 503 with `Retry-After`: all places of the class are taken. It is counted, and now and then logged.
    pub fn enter(&self, class: Class) -> Result<Permit, Problem> {
        let places = &self.0[class.index()];
        match Arc::clone(&places.free).try_acquire_owned() {
            Ok(place) => {
                in_flight(class).increment(1.0);
                Ok(Permit { class, _place: place })
            }
            Err(_) => Err(self.refuse(class, FULL)),
        }
    }

    /// Whether a place is free at this moment.
    pub fn has_room(&self, class: Class) -> bool {
        self.0[class.index()].free.available_permits() > 0
    }

    /// The refusal of a request of this class, counted under `reason`, and now and then logged.
    pub fn refuse(&self, class: Class, reason: &'static str) -> Problem {
        let places = &self.0[class.index()];
        metrics::counter!("backstitch_http_shed_total", "class" => class.name(), "reason" => reason).increment(1);
        let counted = REASONS.iter().position(|known| *known == reason).map(|index| &places.refused[index]);
        if let Some(requests) = counted.and_then(Refused::another) {
            places.tell(class, reason, requests);
        }
        let detail = match reason {
            FULL => format!("{} requests of the class `{class}` are being served, which is the limit", places.bound),
            _ => "the bodies of requests under way take all the memory that they may take".to_owned(),
        };
        Problem::overloaded(
            format_args!("{detail}; nothing was done, send the same request again"),
            retry_after_s(class),
        )
    }

    /// Logs at intervals how many requests were refused since the last message, so that the end of a burst is logged,
    /// too.
    pub async fn tell_refusals(&self) {
        loop {
            tokio::time::sleep(SAID_EVERY).await;
            self.tell_all();
        }
    }

    /// Logs how many were refused since the last line, of each class and reason that has any.
    pub fn tell_all(&self) {
        for (class, places) in Class::ALL.iter().copied().zip(self.0.iter()) {
            for (reason, refused) in REASONS.into_iter().zip(&places.refused) {
                if let Some(requests) = refused.rest() {
                    places.tell(class, reason, requests);
                }
            }
        }
    }
}

impl Places {
    /// The field is not called `reason`: lines of several classes with one reason would count as repeats of each other.
    fn tell(&self, class: Class, shed_reason: &str, requests: u64) {
        let at_once = self.bound;
        tracing::warn!(class = class.name(), shed_reason, requests, at_once, "requests were refused: overload");
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        in_flight(self.class).decrement(1.0);
    }
}

/// After how long a place is likely to be free: what lasts longer is asked for less often.
fn retry_after_s(class: Class) -> u32 {
    match class {
        Class::Command | Class::OneRow | Class::List => 1,
        Class::LongWait => 2,
        Class::Stream | Class::Heavy => 5,
    }
}

fn in_flight(class: Class) -> metrics::Gauge {
    metrics::gauge!("backstitch_http_in_flight", "class" => class.name())
}

#[allow(clippy::cast_precision_loss, reason = "a number of places is far below 2^52")]
fn count(places: usize) -> f64 {
    places as f64
}

/// Refusals that no log line has told of yet.
#[derive(Debug, Default)]
struct Refused {
    since: AtomicU64,
    // Held for a comparison.
    said: Mutex<Option<Instant>>,
}

impl Refused {
    /// Counts one; how many there were since the last line, if it is time for another.
    fn another(&self) -> Option<u64> {
        self.since.fetch_add(1, Ordering::Relaxed);
        let mut said = self.said.lock();
        if said.is_some_and(|said| said.elapsed() < SAID_EVERY) {
            return None;
        }
        *said = Some(Instant::now());
        Some(self.since.swap(0, Ordering::Relaxed))
    }

    /// How many there were since the last line, if there were any.
    fn rest(&self) -> Option<u64> {
        let mut said = self.said.lock();
        let since = self.since.swap(0, Ordering::Relaxed);
        if since > 0 {
            *said = Some(Instant::now());
        }
        (since > 0).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_full_refuses_its_own_requests_and_no_others() {
        for &full in Class::ALL {
            let at_once = AtOnce { commands: 3, one_row: 3, lists: 3, long_waits: 3, streams: 3, heavy: 3 };
            let permits = Permits::new(&at_once, usize::MAX);
            let held: Vec<Permit> = (0..3).map(|_| permits.enter(full).unwrap()).collect();
            let refused = permits.enter(full).unwrap_err();
            assert_eq!((refused.status, refused.slug()), (503, "overloaded"));
            assert!(refused.retry_after_s.is_some() && refused.detail.unwrap().contains(full.name()));
            for other in Class::ALL.iter().copied().filter(|other| *other != full) {
                let all: Result<Vec<Permit>, Problem> = (0..3).map(|_| permits.enter(other)).collect();
                assert!(all.is_ok(), "{full} is full and {other} is refused");
            }
            drop(held);
            assert!(permits.enter(full).is_ok(), "places are given back");
        }
    }

    #[test]
    fn one_bound_for_all_classes_lowers_each() {
        let permits = Permits::new(&AtOnce::default(), 1);
        for &class in Class::ALL {
            let held = permits.enter(class);
            assert!(held.is_ok() && permits.enter(class).is_err(), "{class}");
        }
    }

    #[test]
    fn many_refusals_are_told_of_in_one_line() {
        let refused = Refused::default();
        assert_eq!(refused.another(), Some(1));
        assert!((0..1000).all(|_| refused.another().is_none()));
        assert_eq!(refused.rest(), Some(1000), "they are in the next line, whether or not another one comes");
        assert_eq!(refused.rest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_burst_is_told_of_although_no_other_request_comes() {
        let permits = Permits::new(&AtOnce { commands: 1, ..AtOnce::default() }, usize::MAX);
        let _held = permits.enter(Class::Command).unwrap();
        assert!((0..2876).all(|_| permits.enter(Class::Command).is_err()));
        let refused = &permits.0[Class::Command.index()].refused[0];
        assert_eq!(refused.since.load(Ordering::Relaxed), 2875);
        _ = tokio::time::timeout(SAID_EVERY * 2, permits.tell_refusals()).await;
        assert_eq!(refused.since.load(Ordering::Relaxed), 0);
    }
}
