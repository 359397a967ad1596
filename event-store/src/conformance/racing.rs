//! What holds when many write at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Harness, append, event, ids, read, read_log, stream, write};
use crate::{Append, AppendError, Direction, EventStore, Expected, Filter, Position};

/// Rule: of those who race for a version of one stream exactly one wins; nothing is lost, nothing is there twice.
pub async fn racing_for_one_stream_loses_and_doubles_nothing(harness: &impl Harness) {
    const WRITERS: u64 = 16;
    const EACH: u64 = 25;
    let store = harness.open().await;
    let of = stream("stock-a@main");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, of) = (store.clone(), of.clone());
        writers.spawn(async move {
            let mut at: Option<u64> = None;
            let mut won = Vec::new();
            for number in 0..EACH {
                loop {
                    let event = event(&of, writer * EACH + number, 20);
                    let id = event.id;
                    let one = Append { stream: of.clone(), expected: Expected::at(at), events: vec![event] };
                    match store.append(one).await {
                        Ok(ticket) => {
                            at = Some(ticket.last_version);
                            won.push((ticket.durable().await.unwrap(), id));
                            break;
                        }
                        Err(AppendError::Conflict { actual, .. }) => at = actual,
                        Err(AppendError::Overloaded) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            won
        });
    }
    let mut won: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    won.sort_by_key(|(appended, _)| appended.version);
    let events = read(&*store, &of).await;
    assert_eq!(events.len() as u64, WRITERS * EACH);
    for ((version, event), (appended, id)) in (0..).zip(&events).zip(&won) {
        assert_eq!((event.version, event.id), (version, *id));
        assert_eq!((appended.version, appended.position), (version, event.position));
    }
}

/// Rule: positions rise in commit order: a reader that has seen a position has seen everything below it, while others write.
pub async fn a_reader_never_skips_an_event_that_is_being_written(harness: &impl Harness) {
    let store = harness.open().await;
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let store = store.clone();
        writers.spawn(async move {
            let mut last = Position::START;
            for version in 0..60_u64 {
                let of = stream(&format!("order-{writer}"));
                let appended = write(&*store, append(&of, Expected::at(version.checked_sub(1)), version, 1)).await;
                assert!(appended.position > last, "what was durable first stands first");
                last = appended.position;
            }
        });
    }
    let mut readers = JoinSet::new();
    for page in [1, 7, 100] {
        let store: Arc<dyn EventStore> = store.clone();
        readers.spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 480 {
                let from = seen.last().map_or(Position::START, |(position, _)| *position);
                let events = store.read_all(from, Direction::Forward, page, &Filter::default()).await.unwrap();
                seen.extend(ids(&events));
                tokio::task::yield_now().await;
            }
            seen
        });
    }
    writers.join_all().await;
    let log = ids(&read_log(&*store).await);
    assert_eq!(log.len(), 480);
    for seen in readers.join_all().await {
        assert_eq!(seen, log);
    }
}

/// Rule: whatever was written at once, versions of a stream begin at 0, have no holes and follow the order of positions.
pub async fn versions_have_no_holes(harness: &impl Harness) {
    let store = harness.open().await;
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let store = store.clone();
        writers.spawn(async move {
            let mut tickets = Vec::new();
            for number in 0..40_u64 {
                let of = stream(&format!("order-{}", number % 5));
                let new = append(&of, Expected::Any, (writer * 40 + number) * 10, 1 + number % 3);
                tickets.push(store.append(new).await.unwrap());
            }
            for ticket in tickets {
                ticket.durable().await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let mut next: HashMap<_, u64> = HashMap::new();
    let log = read_log(&*store).await;
    assert_eq!(log.len(), 8 * (40 + 13 + 2 * 13));
    for event in &log {
        let next = next.entry(event.stream.clone()).or_default();
        assert_eq!(event.version, *next);
        *next += 1;
    }
    for info in store.list_streams(None, None, 100).await.unwrap() {
        assert_eq!(info.version + 1, next[&info.stream]);
    }
}
