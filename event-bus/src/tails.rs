//! Where the topic ends, and whose log it holds.

use event_store::{Direction, EventStore, Filter, Position};
use uuid::Uuid;

use crate::cloudevents;
use crate::config::BusConfig;
use crate::connection::blocking;
use crate::error::BusError;
use crate::records::Records;

/// Records at the beginning of a partition among which an event is looked for, to recognize the log by it.
const LOOKED_THROUGH: i64 = 1_000;

/// What the topic holds.
#[derive(Debug, Clone)]
pub(crate) struct Tails {
    /// How far each partition has come.
    pub partitions: Vec<Position>,
    /// An event near the topic's beginning.
    pub witness: Option<(Position, Uuid)>,
}

impl Tails {
    /// Looks at the ends of all partitions.
    pub async fn of(config: &BusConfig) -> Result<Self, BusError> {
        let config = config.clone();
        blocking(move || {
            let mut tails = Self { partitions: Vec::new(), witness: None };
            for partition in 0..config.partitions {
                let records = Records::new(&config, &config.topic, partition)?;
                tails.partitions.push(records.last_claim()?);
                if tails.witness.is_none() {
                    tails.witness = witness(&records)?;
                }
                crate::connection::close_apart(records);
            }
            Ok(tails)
        })
        .await
    }

    /// Everything at or below is in the topic: each partition has come at least so far.
    pub fn whole_up_to(&self) -> Position {
        self.partitions.iter().min().copied().unwrap_or_default()
    }

    /// Makes sure that the topic is filled from this log: another log's events, or positions that the log has not come to
    /// yet, would be taken for its own.
    pub async fn are_of(&self, config: &BusConfig, store: &dyn EventStore) -> Result<(), BusError> {
        let all = Filter::default();
        let last = store.read_all(Position(u64::MAX), Direction::Backward, 1, &all).await?;
        let head = last.first().map_or(Position::START, |event| event.position);
        let seen = self.partitions.iter().max().copied().unwrap_or_default();
        let other = |seen| BusError::AnotherLog { topic: config.topic.clone(), seen, head };
        if seen > head {
            return Err(other(seen));
        }
        let Some((position, id)) = self.witness else { return Ok(()) };
        let before = Position(position.0.saturating_sub(1));
        let there = store.read_all(before, Direction::Forward, 1, &all).await?;
        match there.first() {
            Some(event) if event.position == position && event.id == id => Ok(()),
            Some(_) | None => Err(other(position)),
        }
    }
}

fn witness(records: &Records) -> Result<Option<(Position, Uuid)>, BusError> {
    let (low, high) = records.ends()?;
    let mut found = None;
    records.each(low, high.min(low + LOOKED_THROUGH), |_, record| {
        let event = cloudevents::decode(record).ok().and_then(|record| record.event);
        found = event.map(|event| (event.position, event.id));
        found.is_none()
    })?;
    Ok(found)
}
