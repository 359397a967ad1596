//! Republishing: a range of the log is published again, after a topic was truncated, for a new public topic, or for a
//! team that asks.
//!
//! It is safe beside the running relay, at any time: followers skip repeats. It never goes beyond what the relay has
//! published, so that the end of the topic stays true. If it is killed, a part has been published; the next run begins
//! from the start.

use std::sync::Arc;

use event_store::{Direction, EventStore, Filter, Position};

use crate::config::BusConfig;
use crate::error::BusError;
use crate::outgoing::Run;
use crate::tails::Tails;
use crate::topics;

/// Number of events that are read at once.
const PAGE: usize = 1_000;

/// A selection of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// The first position of the range, inclusive.
    pub from: Position,
    /// Last position, inclusive, at most that of the relay; `None` goes up to that of the relay.
    pub to: Option<Position>,
    /// Categories of the streams to publish; empty publishes all. A selection that leaves events out fills no gap.
    pub categories: Vec<String>,
}

/// The result of a republishing.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Republished {
    /// Number of events that were published.
    pub events: u64,
    /// The first position that was asked for.
    pub from: Position,
    /// The last position that was published.
    pub to: Position,
}

/// Publishes a range again; returns when Kafka has acknowledged everything. `progress` gets the position that was
/// reached, and the last one.
///
/// # Errors
/// [`BusError`].
pub async fn republish(
    config: &BusConfig,
    store: &dyn EventStore,
    range: &Range,
    mut progress: impl FnMut(Position, Position) + Send,
) -> Result<Republished, BusError> {
    let room = topics::all_ready(config, |_| {}).await?;
    let tails = Tails::of(config).await?;
    tails.are_of(config, store).await?;
    let relayed = tails.whole_up_to();
    let to = range.to.map_or(relayed, |to| to.min(relayed));
    let mut after = Position(range.from.0.saturating_sub(1));
    let mut done = Republished { events: 0, from: range.from, to };
    let filter = Filter { categories: range.categories.clone() };
    let mut run = Run::new(Arc::new(config.clone()), after, filter.categories.is_empty(), room)?;
    while after < to {
        progress(after, to);
        let page = store.read_all(after, Direction::Forward, PAGE, &filter).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        let events: Vec<_> = page.into_iter().filter(|event| event.position <= to).map(Arc::new).collect();
        done.events += events.len() as u64;
        run.publish(&events).await?;
    }
    let all: Vec<u32> = (0..config.partitions).collect();
    if range.from <= to {
        run.watermark(to, &all, false).await?;
    }
    run.acknowledged().await?;
    progress(to, to);
    Ok(done)
}
