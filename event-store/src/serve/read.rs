//! Reads that end: of a stream or of the whole log, in either direction.
//!
//! A stream's revisions count inclusively in both directions. In the whole log a position is inclusive forward and
//! exclusive backward. `u64::MAX` is the end.

use std::sync::Arc;

use eventstore_client::proto::streams::ReadResp;
use futures_util::stream::{self, StreamExt as _};
use tonic::Status;

use super::events::{self, IdForm};
use super::filter::Filter;
use super::pages::{Ahead, Batch, Budget, PAGE};
use super::refusal::Refusal;
use super::streams::Responses;
use super::{snapshots, target};
use crate::{Direction, EventStore, PageLimit, Position, RecordedEvent, StreamName};

/// Events of the first page of a filtered reading, at least.
const FIRST_PAGE: usize = 16;

/// A read that was asked for.
pub(super) struct Reading {
    pub store: Arc<dyn EventStore>,
    pub direction: Direction,
    /// How many events at most.
    pub count: u64,
    pub form: IdForm,
    pub budget: Budget,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Start,
    End,
    At(u64),
}

impl Reading {
    /// Reads a stream. With `tell_last` its last revision is told behind the events.
    pub async fn stream(
        self,
        of: target::Target,
        name: String,
        from: From,
        tell_last: bool,
    ) -> Result<Responses, Status> {
        let stream = match of {
            target::Target::Stream(stream) => stream,
            target::Target::Snapshot(of) => return self.snapshot(&of, name, from).await,
            target::Target::SnapshotMetadata | target::Target::System | target::Target::Unnameable => {
                return Ok(one(events::not_found(&name)));
            }
        };
        let from = match from {
            From::Start => 0,
            From::End => u64::MAX,
            From::At(revision) => revision,
        };
        // A stream that is there may have nothing where the reading begins; one that is not is said to be missing.
        let first = self.store.read_stream_page(&stream, from, self.direction, limit(self.count));
        let events = first.await.map_err(Refusal::from)?;
        let last = if events.is_empty() || tell_last { self.last(&stream).await? } else { None };
        if events.is_empty() && last.is_none() {
            return Ok(one(events::not_found(&name)));
        }
        let told = last.filter(|_| tell_last).map(|version| Ok(events::last_of_stream(version)));
        let next = events.last().and_then(|last| beyond(last.version, self.direction));
        let ahead = Some(Ahead::begin(std::future::ready(Ok(Page { events, next }))));
        let pages = Pages { reading: self, of: Of::Stream(stream), ahead, first: false };
        let responses = stream::unfold(pages, Pages::next).flat_map(stream::iter);
        Ok(responses.chain(stream::iter(told)).boxed())
    }

    async fn last(&self, stream: &StreamName) -> Result<Option<u64>, Status> {
        let last = self.store.read_stream(stream, u64::MAX, Direction::Backward, 1).await;
        Ok(last.map_err(Refusal::from)?.first().map(|event| event.version))
    }

    async fn snapshot(self, of: &StreamName, name: String, from: From) -> Result<Responses, Status> {
        let snapshot = self.store.load_snapshot(of).await.map_err(Refusal::from)?;
        let Some(snapshot) = snapshot else { return Ok(one(events::not_found(&name))) };
        let within = match (from, self.direction) {
            (From::Start, Direction::Forward) | (From::End, Direction::Backward) => true,
            (From::End, Direction::Forward) => false,
            (From::Start, Direction::Backward) => snapshot.version == 0,
            (From::At(revision), Direction::Forward) => snapshot.version >= revision,
            (From::At(revision), Direction::Backward) => snapshot.version <= revision,
        };
        let event = (within && self.count > 0).then(|| Ok(snapshots::event(&name, snapshot, self.form)));
        Ok(stream::iter(event).boxed())
    }

    /// Reads the whole log.
    pub fn all(self, from: From, filter: Option<Filter>) -> Responses {
        let from = match (self.direction, from) {
            (_, From::End) => Position(u64::MAX),
            (_, From::Start) => Position::START,
            // What the port reads forward is after a position, what the protocol reads is at it.
            (Direction::Forward, From::At(position)) if position < u64::MAX => Position(position.saturating_sub(1)),
            (_, From::At(position)) => Position(position),
        };
        let mut pages = Pages { reading: self, of: Of::All { filter: filter.map(Arc::new) }, ahead: None, first: true };
        pages.begin(from.0);
        stream::unfold(pages, Pages::next).flat_map(stream::iter).boxed()
    }
}

/// What is read.
enum Of {
    Stream(StreamName),
    All { filter: Option<Arc<Filter>> },
}

/// A page as it was read, and what of it passes the filter.
struct Page {
    events: Vec<RecordedEvent>,
    /// Where the next page begins; `None`: there can be none.
    next: Option<u64>,
}

/// The pages of a reading, one ahead.
struct Pages {
    reading: Reading,
    of: Of,
    /// None: that was the last one.
    ahead: Option<Ahead<Result<Page, Refusal>>>,
    /// Whether no page has been asked for yet.
    first: bool,
}

impl Pages {
    /// Begins with the page from a revision or position on.
    fn begin(&mut self, from: u64) {
        let Reading { store, direction, count, .. } = &self.reading;
        if *count == 0 {
            return;
        }
        let (store, direction) = (store.clone(), *direction);
        self.ahead = Some(match &self.of {
            Of::Stream(stream) => {
                let (stream, limit) = (stream.clone(), limit(*count));
                Ahead::begin(async move {
                    let events = store.read_stream_page(&stream, from, direction, limit).await?;
                    let next = events.last().and_then(|last| beyond(last.version, direction));
                    Ok(Page { events, next })
                })
            }
            Of::All { filter } => {
                // Filtered, more is looked through than is wanted: it may not pass. The first page is small, because clients
                // look at the log's end by a filter that nearly everything passes.
                let limit = match (filter, self.first) {
                    (None, _) => limit(*count),
                    (Some(_), true) => PageLimit { events: limit(*count).events.max(FIRST_PAGE), ..PAGE },
                    (Some(_), false) => PAGE,
                };
                self.first = false;
                Ahead::begin(page_of_log(store, Position(from), direction, limit, filter.clone()))
            }
        });
    }

    async fn next(mut self) -> Option<(Batch, Self)> {
        if self.reading.count == 0 {
            return None;
        }
        // Nothing is ahead behind an error: the reading ends with it.
        let Page { mut events, next } = match self.ahead.take()?.finish().await.and_then(|page| page) {
            Ok(page) => page,
            Err(refusal) => return Some((Batch::end(&refusal), self)),
        };
        events.truncate(usize::try_from(self.reading.count).unwrap_or(usize::MAX));
        let held = match self.reading.budget.take(&events) {
            Ok(held) => held,
            Err(refusal) => return Some((Batch::end(&refusal), self)),
        };
        self.reading.count -= events.len() as u64;
        if let Some(next) = next {
            self.begin(next);
        }
        let answers = events.iter().map(|event| Ok(events::event(event, self.reading.form))).collect();
        Some((Batch::new(answers, Some(held)), self))
    }
}

async fn page_of_log(
    store: Arc<dyn EventStore>,
    from: Position,
    direction: Direction,
    limit: PageLimit,
    filter: Option<Arc<Filter>>,
) -> Result<Page, Refusal> {
    let events = store.read_all_page(from, direction, limit).await?;
    let next = events.last().map(|last| last.position.0);
    let events = match filter {
        None => events,
        Some(filter) => {
            let judged = filter.judge(events).await?;
            judged.into_iter().filter(|(_, passes)| *passes).map(|(event, _)| event).collect()
        }
    };
    Ok(Page { events, next })
}

/// The version behind this one in a direction; `None`: there can be none.
fn beyond(version: u64, direction: Direction) -> Option<u64> {
    match direction {
        Direction::Forward => Some(version + 1),
        Direction::Backward => version.checked_sub(1),
    }
}

fn limit(count: u64) -> PageLimit {
    PageLimit { events: usize::try_from(count).unwrap_or(usize::MAX).clamp(1, PAGE.events), ..PAGE }
}

/// A reading with one answer.
pub(super) fn one(response: ReadResp) -> Responses {
    stream::iter([Ok(response)]).boxed()
}
