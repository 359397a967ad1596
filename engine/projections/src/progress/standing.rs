//! How the read models stand together, for those who watch over a process, and in numbers.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::Tasks;
use event_store::Position;
use tokio::sync::watch;

use crate::progress::{Progress, State, Status};

/// How often the read models are looked at: until they are up, so that the start is told when it is, and after that
/// for those who watch over the process.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How all read models stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// One has not begun, and why.
    Starting(String),
    /// All follow the log; the position of the one that is furthest behind.
    Up(Position),
    /// One does not go on, and why.
    Down(String),
}

/// Tells how the read models are until the service stops; `up` becomes true once all of them follow the log.
pub async fn watch_over(
    (progress, head): (Arc<Progress>, watch::Receiver<Position>),
    up: watch::Sender<bool>,
    tasks: Tasks,
    tell: impl Fn(Standing),
) {
    let stopping = tasks.stopping();
    loop {
        let statuses = progress.statuses();
        measure(&statuses, *head.borrow());
        let standing = of(&statuses);
        let is_up = matches!(standing, Standing::Up(_));
        tell(standing);
        up.send_if_modified(|up| is_up && !std::mem::replace(up, true));
        let pause = if *up.borrow() { LOOK.1 } else { LOOK.0 };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
    }
}

fn of(statuses: &[Status]) -> Standing {
    let trouble = statuses.iter().find(|status| match status.state {
        State::Running => false,
        State::Starting | State::Stopped | State::Down => true,
    });
    let Some(status) = trouble else {
        return Standing::Up(statuses.iter().map(|status| status.position).min().unwrap_or_default());
    };
    let why = status.last_error.as_deref().unwrap_or("Postgres is being started");
    let detail = format!("{}: {why}", status.name);
    match status.state {
        State::Starting => Standing::Starting(detail),
        State::Running | State::Stopped | State::Down => Standing::Down(detail),
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
