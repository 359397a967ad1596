//! Whether the log's latest event lies in the future: then this machine's clock, or the one that wrote the event, is wrong.
//!
//! Nothing stops for that. But deadlines and waits that were set by a clock that was ahead lie in the future, and keys and
//! ends are remembered by the wrong time, so an operator should know. See `docs/time.md`.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;
use event_store::{Direction, EventStore, Filter, Position};
use service_kit::health::{Need, Reporter};
use service_kit::{Clock, Health, Tasks};

/// How far the latest event may be ahead: more than the clocks of machines that are kept in step differ by.
const TOLERATED: TimeDelta = TimeDelta::seconds(10);

/// How often it is looked at: a person reads the answer, and a look is one read of one event.
const EVERY: Duration = Duration::from_secs(30);

/// Watches the log's latest event until the service stops: `clock` in `/health`, and a warning in the log messages.
pub fn start(store: Arc<dyn EventStore>, clock: Clock, health: &Health, tasks: &Tasks) {
    let (reporter, stop) = (health.register("clock", Need::Optional), tasks.stopping());
    reporter.up();
    tasks.spawn("clock", async move {
        let mut ahead = false;
        while !stop.is_cancelled() {
            // A log that cannot be read says so itself.
            if let Ok(latest) = latest(&*store).await {
                ahead = said(&reporter, latest, clock.now(), ahead);
            }
            // Real time: the clock itself is in question.
            tokio::select! { () = tokio::time::sleep(EVERY) => {}, () = stop.cancelled() => {} }
        }
    });
}

/// When the log's latest event was decided.
async fn latest(store: &dyn EventStore) -> Result<Option<Timestamp>, event_store::ReadError> {
    let events = store.read_all(Position(u64::MAX), Direction::Backward, 1, &Filter::default()).await?;
    Ok(events.first().map(|event| event.metadata.occurred_at))
}

/// Says how it is; once in the log messages. Whether the latest event lies in the future.
fn said(reporter: &Reporter, latest: Option<Timestamp>, now: Timestamp, known: bool) -> bool {
    let Some(latest) = latest.filter(|latest| *latest - now > TOLERATED) else {
        reporter.up();
        if known {
            tracing::info!("the log's latest event no longer lies in the future");
        }
        return false;
    };
    let by = (latest - now).num_seconds();
    reporter.down(format_args!(
        "the log's latest event is of {latest}, {by} s ahead of this machine's clock: set the clock right; see docs/time.md"
    ));
    if !known {
        tracing::warn!(%latest, %now, ahead_s = by, "the log's latest event lies in the future: a clock is or was wrong");
    }
    true
}
