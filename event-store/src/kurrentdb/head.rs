//! The last durable position, as far as this process knows.
//!
//! It moves with what passes through here anyway, and a task looks at the log's end five times a second. A subscription
//! from the end would know sooner, but would carry every event of the system to every process once more; one event each
//! 200 ms costs the server nothing to speak of, and a look that is not answered is how a frozen server is found.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    /// Whether the server has answered at all.
    answered: Arc<watch::Sender<bool>>,
}

impl Default for Head {
    fn default() -> Self {
        Self { position: Arc::new(watch::Sender::new(Position::START)), answered: Arc::new(watch::Sender::new(false)) }
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

    /// Waits until the server has answered a look at the log's end.
    pub async fn answered(&self) {
        // An error would mean that the sender is gone, but it is ours.
        let _ = self.answered.subscribe().wait_for(|answered| *answered).await;
    }
}

/// Looks at the log's end for ever, and says how the store is: as its connection, unless the last look failed. Once away it is
/// away until a look succeeds, however well new connections are made: a server that answers nothing can still be connected to.
pub(super) async fn watch(client: client::Client, head: Head, health: watch::Sender<client::Health>) {
    let looking = client.with_deadline(LOOK_WITHIN);
    let mut of_connection = client.health();
    let mut failed = false;
    loop {
        let filter = Some(filter_of(&Filter::default()));
        let look = looking.read_log(client::LogFrom::End, client::Direction::Backward, 1, filter);
        let mut look = std::pin::pin!(look);
        let looked = loop {
            tokio::select! {
                looked = &mut look => break looked,
                Ok(()) = of_connection.changed() => {
                    let connection = of_connection.borrow_and_update().clone();
                    let is_away = matches!(&*health.borrow(), client::Health::Away { .. });
                    if !(is_away && matches!(connection, client::Health::Connected { .. })) {
                        say(&health, connection);
                    }
                }
            }
        };
        match looked {
            Ok(events) => {
                if let Some(last) = events.first() {
                    head.moved_to(Position(last.position.commit));
                }
                head.answered.send_replace(true);
                if std::mem::take(&mut failed) {
                    tracing::info!("the event store answers reads again");
                }
                say(&health, of_connection.borrow_and_update().clone());
            }
            Err(client::Error::Closed) => return say(&health, client::Health::Closed),
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(%error, "the event store does not answer reads; it is asked again until it does");
                }
                // A no is an answer, too: nobody need wait for another one.
                head.answered.send_if_modified(|answered| {
                    *answered |= !matches!(error, client::Error::Unavailable { .. });
                    *answered
                });
                say(&health, unwell(of_connection.borrow_and_update().clone(), &health, &error));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How the store is when a look at it failed: a connection alone makes no store, if it lets us do nothing.
fn unwell(
    of_connection: client::Health,
    health: &watch::Sender<client::Health>,
    error: &client::Error,
) -> client::Health {
    let client::Health::Connected { .. } = of_connection else { return of_connection };
    let (since, attempts) = match &*health.borrow() {
        client::Health::Away { since, attempts, .. } => (*since, attempts + 1),
        client::Health::Connected { .. } | client::Health::Closed => (SystemTime::now(), 1),
    };
    client::Health::Away { since, attempts, reason: error.to_string() }
}

fn say(health: &watch::Sender<client::Health>, now: client::Health) {
    health.send_if_modified(|health| {
        let changed = *health != now;
        *health = now;
        changed
    });
}
