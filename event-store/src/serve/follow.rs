//! Reads that never end: subscriptions to a stream or to the whole log. First the confirmation, then what there is, then
//! "caught up", then what comes.
//!
//! Subscribers pull: nothing is kept for one that stands still. When it goes on, its events are read from the table again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eventstore_client::proto::streams::ReadResp;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;
use tonic::Status;
use uuid::Uuid;

use super::events::{self, IdForm, machine_time};
use super::filter::Filter;
use super::pages::{Ahead, Batch, Budget, PAGE};
use super::read::From;
use super::refusal::Refusal;
use super::streams::Responses;
use super::target::Target;
use crate::{Delivery, Direction, EventStore, Position, ReadError, RecordedEvent, StreamName, Subscription};

/// What every subscriber has.
pub(super) struct Following {
    pub store: Arc<dyn EventStore>,
    pub form: IdForm,
    pub stopping: watch::Receiver<bool>,
    pub budget: Budget,
}

type Answers = Vec<Result<ReadResp, Status>>;

impl Following {
    /// Follows the whole log after a position.
    pub async fn all(self, from: From, filter: Option<Filter>) -> Result<Responses, Status> {
        let after = match from {
            From::Start => Position::START,
            From::End | From::At(u64::MAX) => *self.store.head().borrow(),
            From::At(position) => Position(position),
        };
        let subscription = self.store.subscribe(after, crate::Filter::default()).await.map_err(Refusal::from)?;
        let follower = AllFollower {
            following: self,
            ahead: Some(begin(subscription)),
            filter: filter.map(Arc::new),
            considered: 0,
            up_to: after,
        };
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
        pulled = ahead.finish() => match pulled? {
            (Some(Ok(delivery)), subscription) => Ok((delivery, subscription)),
            (Some(Err(error)), _) => Err(error.into()),
            (None, _) => Err(Refusal::Stopping),
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
    filter: Option<Arc<Filter>>,
    /// Events looked at since the last checkpoint.
    considered: u64,
    up_to: Position,
}

impl AllFollower {
    async fn next(mut self) -> Option<(Batch, Self)> {
        let ahead = self.ahead.take()?;
        let (delivery, subscription) = match pull(ahead, &mut self.following.stopping).await {
            Ok(pulled) => pulled,
            Err(refusal) => return Some((Batch::end(&refusal), self)),
        };
        let mut answers = Vec::new();
        let held = match delivery {
            Delivery::Events { events, up_to } => {
                let held = match self.following.budget.take(events.iter().map(|event| &**event)) {
                    Ok(held) => held,
                    Err(refusal) => return Some((Batch::end(&refusal), self)),
                };
                self.ahead = Some(begin(subscription)); // Read while these are sent.
                let passed = match self.admitted(events).await {
                    Ok(passed) => passed,
                    Err(refusal) => {
                        self.ahead = None;
                        return Some((Batch::end(&refusal), self));
                    }
                };
                answers.reserve(passed.len());
                passed.iter().for_each(|(event, passes)| self.take(event, *passes, &mut answers));
                self.up_to = up_to;
                Some(held)
            }
            Delivery::CaughtUp => {
                if self.filter.is_some() && self.up_to > Position::START {
                    answers.push(Ok(events::checkpoint(self.up_to)));
                    self.considered = 0;
                }
                answers.push(Ok(events::caught_up_with_all(self.up_to)));
                self.ahead = Some(begin(subscription));
                None
            }
        };
        Some((Batch::new(answers, held), self))
    }

    /// Whether each event passes the filter.
    async fn admitted(&self, events: Vec<Arc<RecordedEvent>>) -> Result<Vec<(Arc<RecordedEvent>, bool)>, Refusal> {
        match &self.filter {
            None => Ok(events.into_iter().map(|event| (event, true)).collect()),
            Some(filter) => filter.clone().judge(events).await,
        }
    }

    fn take(&mut self, event: &RecordedEvent, passes: bool, answers: &mut Answers) {
        if passes {
            answers.push(Ok(events::event(event, self.following.form)));
        }
        let Some(filter) = &self.filter else { return };
        self.considered += 1;
        if self.considered >= filter.interval {
            self.considered = 0;
            answers.push(Ok(events::checkpoint(event.position)));
        }
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
            Batch::end(&refusal)
        });
        Some((batch, self))
    }

    /// A page of the stream. The page that is empty says that all events of the stream up to the head that was seen before
    /// it was read were read; what comes after that head follows from the log.
    async fn catch_up(&mut self) -> Result<Batch, Refusal> {
        if *self.following.stopping.borrow() {
            return Err(Refusal::Stopping);
        }
        let (store, stream, next) = (self.following.store.clone(), self.stream.clone(), self.next);
        let read = async move {
            let head = *store.head().borrow();
            let page = store.read_stream_page(&stream, next, Direction::Forward, PAGE).await?;
            if !page.is_empty() {
                return Ok((page, None));
            }
            let category = crate::Filter::categories([stream.category()]);
            let live = store.subscribe(head, category).await?;
            // The subscriber may have begun beyond the end.
            let last = store.read_stream(&stream, u64::MAX, Direction::Backward, 1).await?;
            Ok::<_, ReadError>((page, Some((live, last.first().map(|event| event.version)))))
        };
        let (page, live) = Ahead::begin(read).finish().await??;
        let held = self.following.budget.take(&page)?;
        let mut answers: Answers = page.iter().map(|event| Ok(events::event(event, self.following.form))).collect();
        self.next = page.last().map_or(self.next, |last| last.version + 1);
        if let Some((live, last)) = live {
            self.live = Some(live);
            // What came between the two reads is told by the log.
            let last = last.map(|last| last.min(self.next.checked_sub(1).unwrap_or(last)));
            answers.push(Ok(events::caught_up_with_stream(last)));
        }
        Ok(Batch::new(answers, Some(held)))
    }

    async fn follow(&mut self, subscription: Subscription) -> Result<Batch, Refusal> {
        let (delivery, subscription) = pull(begin(subscription), &mut self.following.stopping).await?;
        self.live = Some(subscription);
        let Delivery::Events { events, .. } = delivery else { return Ok(Batch::new(Vec::new(), None)) };
        let ours = || events.iter().filter(|event| event.stream == self.stream).map(|event| &**event);
        let held = self.following.budget.take(ours())?;
        let mut answers = Vec::new();
        // What was read from the stream itself comes again from the log.
        for event in ours().filter(|event| event.version >= self.next) {
            answers.push(Ok(events::event(event, self.following.form)));
        }
        self.next = ours().next_back().map_or(self.next, |last| self.next.max(last.version + 1));
        Ok(Batch::new(answers, Some(held)))
    }
}
