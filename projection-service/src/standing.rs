//! How the read models stand, for `/health`.

use std::sync::Arc;
use std::time::Duration;

use service_kit::Tasks;
use service_kit::health::Reporter;
use tokio::sync::watch;

use crate::progress::{Progress, State};

/// How often the read models are looked at: until they are up, so that the start is told when it is, and after that
/// for `/health`.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Tells how the read models are until the service stops; `up` becomes true once all of them follow the log.
pub async fn watch_over(progress: Arc<Progress>, health: Reporter, up: watch::Sender<bool>, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        let statuses = progress.statuses();
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
