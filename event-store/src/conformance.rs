//! The suite that every adapter passes: what the port promises, one rule a function. An adapter supplies a [`Harness`] and
//! calls each rule from a test of the same name.

#![allow(clippy::unwrap_used, reason = "a test suite: a failed step is a failed test")]

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::to_raw_value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::envelope::Timestamp;
use crate::{
    Append, AppendError, Appended, Delivery, Direction, EventStore, Expected, Filter, Metadata, NewEvent, Position,
    RecordedEvent, StreamName, StreamSnapshot, Subscription,
};

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

/// Rule: what was durable is read back as it was appended, also after the log was closed and opened again.
pub async fn what_is_durable_is_read_back_to_the_byte(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let new = append(&of, Expected::NoStream, 0, 3);
    let ticket = store.append(new.clone()).await.unwrap();
    assert_eq!((ticket.first_version, ticket.last_version), (0, 2));
    let appended = ticket.durable().await.unwrap();
    assert_eq!(appended.version, 2);
    let before = read(&*store, &of).await;
    drop(store);
    harness.close().await;
    let store = harness.open().await;
    let after = read(&*store, &of).await;
    for events in [&before, &after] {
        assert_eq!(events.len(), 3);
        assert_eq!(events[2].position, appended.position);
        for (version, (read, written)) in (0..).zip(events.iter().zip(&new.events)) {
            assert_eq!((read.id, read.version, &read.stream), (written.id, version, &of));
            assert_eq!(read.data.get(), written.data.get());
            assert_eq!(read.metadata, written.metadata);
            assert_eq!((&read.event_type, read.schema_version), (&written.event_type, written.schema_version));
        }
    }
    assert_eq!(*store.head().borrow(), appended.position);
}
