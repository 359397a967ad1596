//! The state that all workers of a consumer share: its parts, its counts, and its current troubles.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use service_kit::health::Reporter;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::commit::{Kind, Passed, Step};
use super::handlers::Handlers;
use super::letters::LetterTopic;
use super::offsets::Place;
use crate::config::BusConfig;
use crate::dead_letter::Cause;
use crate::retry::Retry;

/// The numbers of records since the start, by what was done about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of records read from Kafka.
    pub consumed: u64,
    /// Number of records that were handled, their rows committed.
    pub handled: u64,
    /// Number of records skipped because their position in the log was handled before.
    pub repeated: u64,
    /// Number of records skipped because there is no handler for their type.
    pub other_types: u64,
    /// Number of records that became dead letters.
    pub parked: u64,
    /// Number of records that were put behind a dead letter of their key.
    pub behind: u64,
    /// Number of dead letters that were handled after all.
    pub settled: u64,
    /// Number of failed attempts of handlers.
    pub handler_errors: u64,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub consumed: AtomicU64,
    pub handled: AtomicU64,
    pub repeated: AtomicU64,
    pub other_types: AtomicU64,
    pub parked: AtomicU64,
    pub behind: AtomicU64,
    pub settled: AtomicU64,
    pub handler_errors: AtomicU64,
}

/// The kind of a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// Kafka, or the topic, cannot be read.
    Reading,
    /// Postgres, or a system that a handler needs, is unavailable.
    Working,
}

/// The state that all workers of a consumer share.
pub(super) struct Shared {
    pub config: BusConfig,
    pub group: String,
    pub pool: PgPool,
    pub schema: String,
    pub handlers: Handlers,
    pub retry: Retry,
    pub batch: usize,
    pub letters: LetterTopic,
    pub stats: Stats,
    pub health: Option<Reporter>,
    /// The current troubles by topic and partition. The lock is held only for a look or a write.
    pub troubles: Mutex<BTreeMap<(String, i32, At), String>>,
    pub stopping: CancellationToken,
}

impl Stats {
    /// The numbers at this moment.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            consumed: of(&self.consumed),
            handled: of(&self.handled),
            repeated: of(&self.repeated),
            other_types: of(&self.other_types),
            parked: of(&self.parked),
            behind: of(&self.behind),
            settled: of(&self.settled),
            handler_errors: of(&self.handler_errors),
        }
    }
}

impl Shared {
    /// Records the trouble of a partition, or that there is none; it is logged once when it changes.
    pub fn trouble(&self, place: &Place, at: At, reason: Option<&str>) {
        let key = (place.topic.clone(), place.partition, at);
        {
            let mut troubles = self.troubles.lock();
            let changed = match reason {
                Some(reason) => troubles.insert(key, reason.to_owned()).as_deref() != Some(reason),
                None => troubles.remove(&key).is_some(),
            };
            if !changed {
                return;
            }
        }
        match reason {
            Some(reason) => {
                tracing::warn!(group = self.group, topic = place.topic, partition = place.partition, "{reason}")
            }
            None => tracing::info!(group = self.group, topic = place.topic, partition = place.partition, "it goes on"),
        }
        self.say_how_it_is();
    }

    pub fn say_how_it_is(&self) {
        let Some(health) = &self.health else { return };
        match self.first_trouble() {
            Some(trouble) => health.down(trouble),
            None => health.up(),
        }
    }

    pub fn first_trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock();
        troubles.iter().next().map(|((topic, partition, _), reason)| match partition {
            -1 => format!("{topic}: {reason}"),
            _ => format!("{topic}/{partition}: {reason}"),
        })
    }

    /// Counts the handling of a record.
    pub fn count(&self, place: &Place, step: &Step) {
        let stats = &self.stats;
        let (count, name) = match &step.kind {
            Kind::Handle(_) => (&stats.handled, "backstitch_bus_consumer_handled_total"),
            Kind::PassBy(Passed::Watermark) => return,
            Kind::PassBy(Passed::Repeat) => (&stats.repeated, "backstitch_bus_consumer_repeated_total"),
            Kind::PassBy(Passed::OtherType) => (&stats.other_types, "backstitch_bus_consumer_other_types_total"),
            Kind::Park(verdict) if verdict.cause == Cause::Behind => {
                (&stats.behind, "backstitch_bus_consumer_behind_total")
            }
            Kind::Park(verdict) => {
                if verdict.cause == Cause::Undecodable {
                    metrics::counter!("event_serialization_error", "group" => place.group.clone(), "topic" => place.topic.clone())
                        .increment(1);
                }
                (&stats.parked, "backstitch_bus_consumer_dead_letters_total")
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(name, "group" => place.group.clone(), "topic" => place.topic.clone()).increment(1);
    }
}
