//! How the read models stand, for `/health`.

use std::sync::Arc;

use event_store::Position;
use projection_engine::progress::standing::{self, Standing};
use service_kit::Tasks;
use service_kit::health::Reporter;
use tokio::sync::watch;

use crate::Progress;

/// Tells how the read models are until the service stops; `up` becomes true once all of them follow the log.
pub async fn watch_over(
    of: (Arc<Progress>, watch::Receiver<Position>),
    health: Reporter,
    up: watch::Sender<bool>,
    tasks: Tasks,
) {
    let tell = move |standing| match standing {
        Standing::Starting(why) => health.starting(why),
        Standing::Up(position) => health.up_with(format_args!("at position {position}")),
        Standing::Down(why) => health.down(why),
    };
    standing::watch_over(of, up, tasks, tell).await;
}
