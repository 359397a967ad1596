//! Publishing a range of the log again: after a topic was cut, for a public topic that is new, for a team that asks.
//!
//! Safe beside the running relay, at any time: followers pass repeats by. It never goes beyond what the relay has
//! published, so that where the topic ends stays true. Killed in the midst, it has published a part; run again, it begins
//! anew.

use std::sync::Arc;

use event_store::{Direction, EventStore, Filter, Position};

use crate::config::BusConfig;
use crate::error::BusError;
use crate::outgoing::Run;
use crate::tails::Tails;
use crate::topics;

/// Events read at once.
const PAGE: usize = 1_000;

/// Which part of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// From this position on (inclusive).
    pub from: Position,
    /// Up to this one (inclusive), at most up to where the relay is; `None`: up to there.
    pub to: Option<Position>,
    /// Only streams of these categories; none: all. What leaves events out fills no hole.
    pub categories: Vec<String>,
}

/// What was published.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Republished {
    /// Events.
    pub events: u64,
    /// The first position that was asked for.
    pub from: Position,
    /// The last one up to which it went.
    pub to: Position,
}

/// Publishes a range again; returns when Kafka has acknowledged everything. `progress` is told the position that was
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
