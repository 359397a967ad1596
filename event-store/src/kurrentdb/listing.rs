//! What the protocol has no question for, found by walking the log: which streams there are, and how much of everything.

use std::collections::BTreeMap;

use eventstore_client as client;

use super::event::of_log;
use super::reading::page;
use crate::envelope::Timestamp;
use crate::{Direction, Filter, Position, ReadError, StoreStats, StreamInfo, StreamName};

/// Events of one page of a walk.
const PAGE_EVENTS: usize = 4_096;

/// Streams by name after `after`. Walks the log from its beginning; holds no more than `limit` names.
pub(super) async fn streams(
    client: &client::Client,
    category: Option<&str>,
    after: Option<&StreamName>,
    limit: usize,
) -> Result<Vec<StreamInfo>, ReadError> {
    let filter = Filter::categories(category);
    let mut found: BTreeMap<StreamName, u64> = BTreeMap::new();
    let mut from = Position::START;
    loop {
        let (events, end) = walk(client, from, &filter).await?;
        for event in events.into_iter().filter_map(|event| of_log(event, &filter)) {
            if after.is_none_or(|after| event.stream > *after) {
                found.insert(event.stream.clone(), event.version);
                if found.len() > limit {
                    // What was put out once is beyond the page for good: names are only added.
                    found.pop_last();
                }
            }
        }
        match end {
            Some(end) => from = end,
            None => break,
        }
    }
    Ok(found.into_iter().map(|(stream, version)| StreamInfo { stream, version }).collect())
}

/// What was counted, and up to where.
#[derive(Debug, Default)]
pub(super) struct Counted {
    up_to: Position,
    events: u64,
    streams: u64,
    bytes: u64,
    last_recorded_at: Option<Timestamp>,
    categories: BTreeMap<String, u64>,
}

/// Numbers about the log. Counts on from where the last call ended.
pub(super) async fn stats(
    client: &client::Client,
    counted: &tokio::sync::Mutex<Counted>,
) -> Result<StoreStats, ReadError> {
    // Held while the log is read: who asks at the same time gets the same walk's numbers. Dropped in between, what was
    // counted so far is whole, page by page.
    let mut counted = counted.lock().await;
    loop {
        let (events, end) = walk(client, counted.up_to, &Filter::default()).await?;
        for event in events {
            counted.add(event);
        }
        if end.is_none() {
            break;
        }
    }
    Ok(StoreStats {
        events: counted.events,
        streams: counted.streams,
        bytes: counted.bytes,
        position: counted.up_to,
        last_recorded_at: counted.last_recorded_at,
        categories: counted.categories.iter().map(|(category, events)| (category.clone(), *events)).collect(),
    })
}

impl Counted {
    fn add(&mut self, event: client::RecordedEvent) {
        self.up_to = Position(event.position.commit);
        let bytes = event.data.len() + event.metadata.len();
        let Some(event) = of_log(event, &Filter::default()) else { return };
        self.events += 1;
        // Streams are never cut short, so each has a first event.
        self.streams += u64::from(event.version == 0);
        self.bytes += bytes as u64;
        self.last_recorded_at = Some(event.recorded_at);
        *self.categories.entry(event.stream.category().to_owned()).or_default() += 1;
    }
}

/// The next events after `from`, and from where to go on; `None`: that was all.
async fn walk(
    client: &client::Client,
    from: Position,
    filter: &Filter,
) -> Result<(Vec<client::RecordedEvent>, Option<Position>), ReadError> {
    let mut events = page(client, from, Direction::Forward, PAGE_EVENTS + 1, filter).await?;
    let whole = events.len() == PAGE_EVENTS + 1;
    events.retain(|event| event.position.commit > from.0);
    let end = events.last().map(|event| Position(event.position.commit)).filter(|_| whole);
    Ok((events, end))
}
