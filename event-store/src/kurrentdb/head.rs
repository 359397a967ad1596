//! The last durable position, as far as this process knows.
//!
//! It moves with what passes through here anyway, and a task looks at the log's end five times a second. A subscription
//! from the end would know sooner, but would carry every event of the system to every process once more; one event each
//! 200 ms costs the server nothing to speak of, and a look that is not answered is how a frozen server is found.

use std::sync::Arc;
use std::time::Duration;

use eventstore_client as client;
use tokio::sync::watch;

use super::event::filter_of;
use crate::{Filter, Position};

/// Between two looks at the log's end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A server that does not answer a look within this is taken for away: other calls then go over a new connection.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// The last durable position. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Head {
    position: Arc<watch::Sender<Position>>,
    /// Whether it was looked up at all.
    known: Arc<watch::Sender<bool>>,
}

impl Default for Head {
    fn default() -> Self {
        Self { position: Arc::new(watch::Sender::new(Position::START)), known: Arc::new(watch::Sender::new(false)) }
    }
}

impl Head {
    /// The log holds at least this.
    pub fn moved_to(&self, position: Position) {
        self.position.send_if_modified(|head| {
            let moves = position > *head;
            *head = position.max(*head);
            moves
        });
    }

    pub fn subscribe(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// Waits until the log's end was looked at once.
    pub async fn known(&self) {
        // An error would mean that the sender is gone, but it is ours.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }
}

/// Looks at the log's end for ever.
pub(super) async fn watch(client: client::Client, head: Head) {
    let looking = client.with_deadline(LOOK_WITHIN);
    loop {
        let filter = Some(filter_of(&Filter::default()));
        match looking.read_log(client::LogFrom::End, client::Direction::Backward, 1, filter).await {
            Ok(events) => {
                if let Some(last) = events.first() {
                    head.moved_to(Position(last.position.commit));
                }
                head.known.send_replace(true);
            }
            Err(client::Error::Closed) => return,
            // The connection's health tells it; the next look tries again.
            Err(error) => tracing::debug!(%error, "the log's end cannot be looked at"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
