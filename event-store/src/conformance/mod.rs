//! The suite that every adapter passes: what the port promises, one rule a function. An adapter supplies a [`Harness`] and
//! calls each rule from a test of the same name. No rule asks for more than KurrentDB can give: positions rise, no more.

#![allow(clippy::unwrap_used, reason = "a test suite: a failed step is a failed test")]

mod appending;
mod failing;
mod following;
mod racing;
mod reading;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use crate::envelope::Timestamp;
use crate::{
    Append, Appended, Delivery, Direction, EventStore, Expected, Filter, Metadata, NewEvent, Position, RecordedEvent,
    StreamName, Subscription,
};

pub use appending::*;
pub use failing::*;
pub use following::*;
pub use racing::*;
pub use reading::*;

/// What the suite needs of an adapter. Each rule gets a harness, and so a log, of its own.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the harness's log; empty at first.
    async fn open(&self) -> Arc<dyn EventStore>;
    /// Closes the log that [`Self::open`] gave.
    async fn close(&self);
    /// Makes the next commit fail before it is durable; `false`: this adapter cannot be made to.
    fn fail_next_commit(&self) -> bool;
}

/// The name of a stream.
pub fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

/// An event whose id follows from its stream and its number, with a payload of about `bytes`.
pub fn event(of: &StreamName, number: u64, bytes: usize) -> NewEvent {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{of}/{number}").as_bytes());
    let data = serde_json::json!({ "number": number, "fill": "x".repeat(bytes) });
    NewEvent {
        id,
        event_type: "Happened".into(),
        schema_version: 1,
        data: to_raw_value(&data).unwrap(),
        metadata: Arc::new(Metadata {
            partition_key: of.to_string(),
            correlation_id: id,
            causation_id: id,
            command_id: id,
            command_hash: Some("5e".repeat(32)),
            traceparent: None,
            actor: "conformance".to_owned(),
            occurred_at: Timestamp::from_timestamp_micros(1_700_000_000_000_000).unwrap(),
        }),
    }
}

/// An append of the events numbered `first`, `first + 1`, … behind `expected`.
pub fn append(of: &StreamName, expected: Expected, first: u64, count: u64) -> Append {
    let events = (first..first + count).map(|number| event(of, number, 20)).collect();
    Append { stream: of.clone(), expected, events }
}

async fn write(store: &dyn EventStore, append: Append) -> Appended {
    store.append(append).await.unwrap().durable().await.unwrap()
}

async fn read(store: &dyn EventStore, of: &StreamName) -> Vec<RecordedEvent> {
    store.read_stream(of, 0, Direction::Forward, 10_000).await.unwrap()
}

async fn read_log(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let from = events.last().map_or(Position::START, |event| event.position);
        let page = store.read_all(from, Direction::Forward, 1_000, &Filter::default()).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Follows until everything at or below `end` was delivered; the events in the order in which they came.
async fn follow_to(subscription: &mut Subscription, end: Position) -> Vec<Arc<RecordedEvent>> {
    let mut found = Vec::new();
    let mut seen = Position::START;
    while seen < end {
        match subscription.next().await.unwrap().unwrap() {
            Delivery::CaughtUp => {}
            Delivery::Events { events, up_to } => {
                assert!(up_to > seen, "the checkpoint moves with each delivery");
                assert!(events.last().is_none_or(|last| last.position <= up_to), "nothing is beyond its checkpoint");
                seen = up_to;
                found.extend(events);
            }
        }
    }
    found
}

fn ids<'a>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> Vec<(Position, Uuid)> {
    events.into_iter().map(|event| (event.position, event.id)).collect()
}
