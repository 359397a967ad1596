//! Following the log: one subscription of the client, which survives its connections, handed over in batches.
//!
//! A subscription filtered by category is told seldom how far the server has looked; where it rests while the log goes on,
//! a look for the next event that passes tells the same: none is there, so everything up to the head was looked through.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventstore_client::{Client, Error, LogPosition, Message, Subscription};
use tokio::sync::watch;

use super::event::{filter_of, of_log, unread};
use super::head::Head;
use super::reading::page;
use crate::port::{Delivery, Feed};
use crate::{Direction, Filter, Position, ReadError, RecordedEvent};

/// Events of one delivery at most.
const EVENTS_PER_DELIVERY: usize = 1_024;
/// How long a filtered subscription rests behind the head before a look tells why.
const REST: Duration = Duration::from_millis(50);

/// One subscriber.
pub(super) struct Following {
    client: Client,
    subscription: Subscription,
    filter: Filter,
    head: watch::Receiver<Position>,
    /// The log's end as this follower knows it moves the store's, too.
    store_head: Head,
    /// Everything at or below is delivered.
    up_to: Position,
    /// What was taken over and is not handed over yet.
    taken: Taken,
    /// The reader was told.
    caught_up: bool,
}

/// What came since the last delivery.
#[derive(Default)]
struct Taken {
    events: Vec<Arc<RecordedEvent>>,
    up_to: Position,
    caught_up: bool,
}

impl Following {
    pub fn new(client: &Client, head: &Head, after: Position, filter: Filter) -> Self {
        let begin = (after > Position::START).then(|| LogPosition::at(after.0));
        Self {
            subscription: client.subscribe_to_log(begin, Some(filter_of(&filter))),
            client: client.clone(),
            filter,
            head: head.subscribe(),
            store_head: head.clone(),
            up_to: after,
            taken: Taken { up_to: after, ..Taken::default() },
            caught_up: false,
        }
    }

    /// Takes a message in. Those of before a new connection come again from the server at most as checkpoints.
    fn take(&mut self, message: Message) {
        let position = match message {
            Message::Event(event) => {
                let position = Position(event.position.commit);
                if position > self.taken.up_to
                    && let Some(event) = of_log(event, &self.filter)
                {
                    self.taken.events.push(event);
                    self.store_head.moved_to(position);
                }
                position
            }
            Message::Checkpoint(position) => Position(position.commit),
            Message::CaughtUp => {
                self.taken.caught_up = true;
                return;
            }
        };
        self.taken.up_to = self.taken.up_to.max(position);
    }

    /// What is to be handed over next, if anything: first the events, then that there are no more.
    fn deliver(&mut self) -> Option<Delivery> {
        if self.taken.up_to > self.up_to {
            self.up_to = self.taken.up_to;
            return Some(Delivery::Events { events: std::mem::take(&mut self.taken.events), up_to: self.up_to });
        }
        // The server says so with every connection; the reader is told once.
        if std::mem::take(&mut self.taken.caught_up) && !self.caught_up {
            self.caught_up = true;
            return Some(Delivery::CaughtUp);
        }
        None
    }
}

/// How far the log was looked through for a filtered follower that rests. Dropped while it waits, nothing has moved.
async fn looked_through(
    client: &Client,
    filter: &Filter,
    head: &mut watch::Receiver<Position>,
    up_to: Position,
) -> Position {
    if filter.categories.is_empty() {
        return pending().await; // Every event moves it by itself.
    }
    loop {
        // An error means that the store is gone, and the subscription says so.
        let Ok(end) = head.wait_for(|head| *head > up_to).await.map(|head| *head) else { return pending().await };
        tokio::time::sleep(REST).await;
        // What was durable before this read, up to `end`, is in it if it passes.
        match page(client, up_to, Direction::Forward, 2, filter).await {
            Ok(events) if events.iter().all(|e| e.position.commit <= up_to.0 || e.position.commit > end.0) => {
                return end;
            }
            // It is on its way, or the store is away.
            Ok(_) | Err(_) => {}
        }
    }
}

#[async_trait]
impl Feed for Following {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        loop {
            if let Some(delivery) = self.deliver() {
                return Some(Ok(delivery));
            }
            // Dropped at this wait, nothing was taken. After it nothing waits before the delivery.
            tokio::select! {
                biased;
                message = self.subscription.next() => match message {
                    Ok(message) => self.take(message),
                    Err(Error::Closed) => return None,
                    Err(error) => return Some(Err(unread(&self.client, &error))),
                },
                end = looked_through(&self.client, &self.filter, &mut self.head, self.up_to) => {
                    self.taken.up_to = self.taken.up_to.max(end);
                }
            }
            while !self.taken.caught_up
                && self.taken.events.len() < EVENTS_PER_DELIVERY
                && let Some(message) = self.subscription.ready()
            {
                self.take(message);
            }
        }
    }
}
