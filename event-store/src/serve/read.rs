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
use super::pages::Ahead;
use super::refusal::Refusal;
use super::streams::Responses;
use super::{snapshots, target};
use crate::{Direction, EventStore, Position, RecordedEvent, StreamName};

/// Events of one page: some hundred kilobytes of usual events.
const PAGE: usize = 512;
/// Events of the first page of a filtered reading, at least.
const FIRST_PAGE: usize = 16;

/// A read that was asked for.
pub(super) struct Reading {
    pub store: Arc<dyn EventStore>,
    pub direction: Direction,
    /// How many events at most.
    pub count: u64,
    pub form: IdForm,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Start,
    End,
    At(u64),
}

type Page = Result<Vec<RecordedEvent>, Status>;

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
        let first = self.store.read_stream(&stream, from, self.direction, limit(self.count));
        let first = first.await.map_err(Refusal::from)?;
        let last = if first.is_empty() || tell_last { self.last(&stream).await? } else { None };
        if first.is_empty() && last.is_none() {
            return Ok(one(events::not_found(&name)));
        }
        let form = self.form;
        let told = last.filter(|_| tell_last).map(|version| Ok(events::last_of_stream(version)));
        let pages = Pages { reading: self, of: Of::Stream(stream), ahead: Some(Ahead::Done(Ok(first))), first: false };
        let pages = stream::unfold(pages, Pages::next);
        let responses = pages.flat_map(move |page| stream::iter(written(page, form)));
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
        let form = self.form;
        let mut pages = Pages { reading: self, of: Of::All { filter: filter.map(Arc::new) }, ahead: None, first: true };
        pages.begin(from.0);
        let pages = stream::unfold(pages, Pages::next);
        pages.flat_map(move |page| stream::iter(written(page, form))).boxed()
    }
}

/// What is read.
enum Of {
    Stream(StreamName),
    All { filter: Option<Arc<Filter>> },
}

/// The pages of a reading, one ahead.
struct Pages {
    reading: Reading,
    of: Of,
    /// None: that was the last one.
    ahead: Option<Ahead<Page>>,
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
                    let page = store.read_stream(&stream, from, direction, limit).await;
                    page.map_err(|error| Refusal::from(error).status())
                })
            }
            Of::All { filter } => {
                // Filtered, more is looked through than is wanted: it may not pass. The first page is small, because clients
                // look at the log's end by a filter that nearly everything passes.
                let limit = match (filter, self.first) {
                    (None, _) => limit(*count),
                    (Some(_), true) => limit(*count).max(FIRST_PAGE),
                    (Some(_), false) => PAGE,
                };
                self.first = false;
                Ahead::begin(async move {
                    let page = store.read_all(Position(from), direction, limit, &crate::Filter::default()).await;
                    page.map_err(|error| Refusal::from(error).status())
                })
            }
        });
    }

    async fn next(mut self) -> Option<(Page, Self)> {
        if self.reading.count == 0 {
            return None;
        }
        let page = match self.ahead.take()?.finish().await {
            Ok(page) => page,
            Err(status) => return Some((Err(status), self)), // Nothing is ahead: the reading ends with this.
        };
        let next = page.last().and_then(|last| self.after(last));
        let page = match &self.of {
            Of::All { filter: Some(filter) } => admitted(page, filter),
            Of::All { filter: None } | Of::Stream(_) => Ok(page),
        };
        let mut page = match page {
            Ok(page) => page,
            Err(refusal) => return Some((Err(refusal.status()), self)),
        };
        page.truncate(usize::try_from(self.reading.count).unwrap_or(usize::MAX));
        self.reading.count -= page.len() as u64;
        if let Some(next) = next {
            self.begin(next);
        }
        Some((Ok(page), self))
    }

    /// Where the page behind this event begins; `None`: there can be none.
    fn after(&self, last: &RecordedEvent) -> Option<u64> {
        match (&self.of, self.reading.direction) {
            (Of::Stream(_), Direction::Forward) => Some(last.version + 1),
            (Of::Stream(_), Direction::Backward) => last.version.checked_sub(1),
            (Of::All { .. }, _) => Some(last.position.0),
        }
    }
}

fn admitted(page: Vec<RecordedEvent>, filter: &Filter) -> Result<Vec<RecordedEvent>, Refusal> {
    let mut found = Vec::new();
    for event in page {
        if filter.admits(&event)? {
            found.push(event);
        }
    }
    Ok(found)
}

fn limit(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).clamp(1, PAGE)
}

fn written(page: Page, form: IdForm) -> Vec<Result<ReadResp, Status>> {
    match page {
        Ok(page) => page.iter().map(|event| Ok(events::event(event, form))).collect(),
        Err(status) => vec![Err(status)],
    }
}

/// A reading with one answer.
pub(super) fn one(response: ReadResp) -> Responses {
    stream::iter([Ok(response)]).boxed()
}
