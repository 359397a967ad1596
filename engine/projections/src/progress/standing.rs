//! How the read models stand, for `/health`.

use std::sync::Arc;
use std::time::Duration;

use event_store::Position;
use service_kit::Tasks;
use service_kit::health::Reporter;
use tokio::sync::watch;

use crate::progress::{Progress, State, Status};

/// How often the read models are looked at: until they are up, so that the start is told when it is, and after that
/// for `/health`.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Tells how the read models are until the service stops; `up` becomes true once all of them follow the log.
pub async fn watch_over(
    (progress, head): (Arc<Progress>, watch::Receiver<Position>),
    health: Reporter,
    up: watch::Sender<bool>,
    tasks: Tasks,
) {
    let stopping = tasks.stopping();
    loop {
        let statuses = progress.statuses();
        measure(&statuses, *head.borrow());
        let trouble = statuses.iter().find(|status| match status.state {
            State::Running => false,
            State::Starting | State::Stopped | State::Down => true,
        });
        match trouble {
            None => {
                let behind = statuses.iter().map(|status| status.position).min().unwrap_or_default();
                health.up_with(format_args!("at position {behind}"));
                up.send_if_modified(|up| !std::mem::replace(up, true));
            }
            Some(status) => {
                let why = status.last_error.as_deref().unwrap_or("Postgres is being started");
                let detail = format!("{}: {why}", status.name);
                match status.state {
                    State::Starting => health.starting(detail),
                    State::Running | State::Stopped | State::Down => health.down(detail),
                }
            }
        }
        let pause = if *up.borrow() { LOOK.1 } else { LOOK.0 };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// How far each read model is, and how far behind the log, in numbers.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float, and a log has less than 2⁵³ events")]
fn measure(statuses: &[Status], head: Position) {
    for status in statuses {
        let (name, behind) = (status.name, head.0.saturating_sub(status.position.0));
        metrics::gauge!("backstitch_projection_position", "projection" => name).set(status.position.0 as f64);
        metrics::gauge!("backstitch_projection_lag_events", "projection" => name).set(behind as f64);
    }
}
