//! Reads that never end: subscriptions to a stream or to the whole log. First the confirmation, then what there is, then
//! "caught up", then what comes.
//!
//! Subscribers pull: whoever stands still is read for again from the table when he goes on, and nothing is kept for him.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventstore_client::proto::streams::ReadResp;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;
use tonic::Status;
use uuid::Uuid;

use super::events::{self, IdForm, machine_time};
use super::filter::Filter;
use super::pages::Ahead;
use super::read::From;
use super::refusal::Refusal;
use super::streams::Responses;
use super::target::Target;
use crate::{Delivery, Direction, EventStore, Position, ReadError, RecordedEvent, StreamName, Subscription};

/// Events of one page of a stream while catching up.
const PAGE: usize = 512;

/// What every subscriber has.
pub(super) struct Following {
    pub store: Arc<dyn EventStore>,
    pub form: IdForm,
    pub stopping: watch::Receiver<bool>,
}

type Batch = Vec<Result<ReadResp, Status>>;

impl Following {
    /// Follows the whole log after a position.
    pub async fn all(self, from: From, filter: Option<Filter>) -> Result<Responses, Status> {
        let after = match from {
            From::Start => Position::START,
            From::End | From::At(u64::MAX) => *self.store.head().borrow(),
            From::At(position) => Position(position),
        };
        let subscription = self.store.subscribe(after, crate::Filter::default()).await.map_err(Refusal::from)?;
        let follower =
            AllFollower { following: self, ahead: Some(begin(subscription)), filter, considered: 0, up_to: after };
        Ok(confirmed(stream::unfold(follower, AllFollower::next).flat_map(stream::iter).boxed()))
    }

    /// Follows a stream after a revision. What is no stream of the log has no events, and never will.
    pub async fn stream(self, of: Target, from: From) -> Result<Responses, Status> {
        let stream = match of {
            Target::Stream(stream) => stream,
            Target::Snapshot(_) | Target::SnapshotMetadata | Target::System | Target::Unnameable => {
                return Ok(confirmed(self.nothing()));
            }
        };
        let next = match from {
            From::Start => 0,
            From::At(revision) if revision < u64::MAX => revision + 1,
            From::End | From::At(_) => {
                let last = self.store.read_stream(&stream, u64::MAX, Direction::Backward, 1).await;
                last.map_err(Refusal::from)?.first().map_or(0, |event| event.version + 1)
            }
        };
        let follower = StreamFollower { following: self, stream, next, live: None, ended: false };
        Ok(confirmed(stream::unfold(follower, StreamFollower::next).flat_map(stream::iter).boxed()))
    }

    fn nothing(self) -> Responses {
        let mut stopping = self.stopping;
        let end = async move {
            // An error means that the server is gone.
            let _ = stopping.wait_for(|stopping| *stopping).await;
            Err(Refusal::Stopping.status())
        };
        stream::iter([Ok(events::caught_up_with_stream(None))]).chain(stream::once(end)).boxed()
    }
}

fn confirmed(rest: Responses) -> Responses {
    // Unique in this process and, by its time, among those before it; nothing is derived from it.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = machine_time().timestamp_micros().cast_unsigned();
    let id = Uuid::from_u64_pair(time, COUNT.fetch_add(1, Ordering::Relaxed));
    stream::iter([Ok(events::confirmation(id))]).chain(rest).boxed()
}

type Pulled = (Option<Result<Delivery, ReadError>>, Subscription);

fn begin(mut subscription: Subscription) -> Ahead<Pulled> {
    Ahead::begin(async move { (subscription.next().await, subscription) })
}

/// The next delivery, or why there is none any more.
async fn pull(ahead: Ahead<Pulled>, stopping: &mut watch::Receiver<bool>) -> Result<(Delivery, Subscription), Refusal> {
    tokio::select! {
        (delivery, subscription) = ahead.finish() => match delivery {
            Some(Ok(delivery)) => Ok((delivery, subscription)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Refusal::Stopping),
        },
        // An error means that the server is gone.
        _ = stopping.wait_for(|stopping| *stopping) => Err(Refusal::Stopping),
    }
}

/// A subscriber of the whole log.
struct AllFollower {
    following: Following,
    /// None: it has ended.
    ahead: Option<Ahead<Pulled>>,
    filter: Option<Filter>,
    /// Events looked at since the last checkpoint.
    considered: u64,
    up_to: Position,
}

impl AllFollower {
    async fn next(mut self) -> Option<(Batch, Self)> {
        let ahead = self.ahead.take()?;
        let (delivery, subscription) = match pull(ahead, &mut self.following.stopping).await {
            Ok(pulled) => pulled,
            Err(refusal) => return Some((vec![Err(refusal.status())], self)),
        };
        let mut batch = Vec::new();
        match delivery {
            Delivery::Events { events, up_to } => {
                self.ahead = Some(begin(subscription)); // Read while these are sent.
                batch.reserve(events.len());
                for event in &events {
                    if let Err(refusal) = self.take(event, &mut batch) {
                        batch.push(Err(refusal.status()));
                        self.ahead = None;
                        break;
                    }
                }
                self.up_to = up_to;
            }
            Delivery::CaughtUp => {
                if self.filter.is_some() && self.up_to > Position::START {
                    batch.push(Ok(events::checkpoint(self.up_to)));
                    self.considered = 0;
                }
                batch.push(Ok(events::caught_up_with_all(self.up_to)));
                self.ahead = Some(begin(subscription));
            }
        }
        Some((batch, self))
    }

    fn take(&mut self, event: &RecordedEvent, batch: &mut Batch) -> Result<(), Refusal> {
        let Some(filter) = &self.filter else {
            batch.push(Ok(events::event(event, self.following.form)));
            return Ok(());
        };
        if filter.admits(event)? {
            batch.push(Ok(events::event(event, self.following.form)));
        }
        self.considered += 1;
        if self.considered >= filter.interval {
            self.considered = 0;
            batch.push(Ok(events::checkpoint(event.position)));
        }
        Ok(())
    }
}

/// A subscriber of one stream.
struct StreamFollower {
    following: Following,
    stream: StreamName,
    /// The version of the next event to hand over.
    next: u64,
    /// The log from where the stream was read up; none: still reading.
    live: Option<Subscription>,
    ended: bool,
}

impl StreamFollower {
    async fn next(mut self) -> Option<(Batch, Self)> {
        if self.ended {
            return None;
        }
        let batch = match self.live.take() {
            None => self.catch_up().await,
            Some(subscription) => self.follow(subscription).await,
        };
        let batch = batch.unwrap_or_else(|refusal| {
            self.ended = true;
            vec![Err(refusal.status())]
        });
        Some((batch, self))
    }

    /// A page of the stream. The page that is not full holds all events of the stream up to the head that was seen before
    /// it was read; what comes after that head follows from the log.
    async fn catch_up(&mut self) -> Result<Batch, Refusal> {
        let store = &self.following.store;
        if *self.following.stopping.borrow() {
            return Err(Refusal::Stopping);
        }
        let head = *store.head().borrow();
        let page = store.read_stream(&self.stream, self.next, Direction::Forward, PAGE).await?;
        if page.len() < PAGE {
            let category = crate::Filter::categories([self.stream.category()]);
            self.live = Some(store.subscribe(head, category).await?);
        }
        let mut batch: Batch = page.iter().map(|event| Ok(events::event(event, self.following.form))).collect();
        self.next = page.last().map_or(self.next, |last| last.version + 1);
        if self.live.is_some() {
            let last = match self.next.checked_sub(1) {
                Some(last) if !page.is_empty() => Some(last),
                // Nothing was read: the subscriber may have begun beyond the end.
                Some(_) | None => {
                    let last = store.read_stream(&self.stream, u64::MAX, Direction::Backward, 1).await?;
                    last.first().map(|event| event.version)
                }
            };
            batch.push(Ok(events::caught_up_with_stream(last)));
        }
        Ok(batch)
    }

    async fn follow(&mut self, subscription: Subscription) -> Result<Batch, Refusal> {
        let (delivery, subscription) = pull(begin(subscription), &mut self.following.stopping).await?;
        self.live = Some(subscription);
        let Delivery::Events { events, .. } = delivery else { return Ok(Vec::new()) };
        let mut batch = Vec::new();
        for event in events.iter().filter(|event| event.stream == self.stream) {
            // What was read from the stream itself comes again from the log.
            if event.version >= self.next {
                self.next = event.version + 1;
                batch.push(Ok(events::event(event, self.following.form)));
            }
        }
        Ok(batch)
    }
}
