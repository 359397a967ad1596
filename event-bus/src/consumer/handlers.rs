//! Handlers by event type and schema version: the code that a team writes, and the dispatch of records to it.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use event_store::RecordedEvent;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use crate::retry::HandlerError;

/// The future of a handler's work on one event.
pub type Handled<'c> = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'c>>;

/// An event for a handler: its decoded data and its envelope.
#[derive(Debug, Clone)]
pub struct Received<T> {
    /// The data of the event, as the handler's type.
    pub data: T,
    /// The event: its stream, version, position, metadata with `traceparent`, and its data to the byte.
    pub event: Arc<RecordedEvent>,
    /// The record in Kafka that the event came from.
    pub from: Origin,
}

/// The place of a record in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition, from 0.
    pub partition: i32,
    /// Offset of the record in its partition.
    pub offset: i64,
}

/// A handler with its event, not yet run.
pub(super) type Call = Box<dyn for<'c> FnOnce(&'c mut PgConnection) -> Handled<'c> + Send>;

/// Decodes the data of an event for a handler.
type Prepare = dyn Fn(&Arc<RecordedEvent>, Origin) -> Result<Call, serde_json::Error> + Send + Sync;

/// The consumer's handling of an event.
pub(super) enum Found<'a> {
    Handler(&'a Prepare),
    /// The consumer has no handler for the type: it skips the event.
    OtherType,
    /// The consumer has handlers for the type, but not for this version of its schema.
    OtherVersion,
}

/// All handlers of a consumer.
#[derive(Default)]
pub(super) struct Handlers {
    types: HashSet<String>,
    by_version: HashMap<(String, u16), Box<Prepare>>,
}

impl Handlers {
    /// Adds a handler. It replaces another one for the same type and version.
    pub fn add<T, F>(&mut self, event_type: &str, schema_version: u16, handler: F)
    where
        T: DeserializeOwned + Send + 'static,
        F: for<'c> Fn(Received<T>, &'c mut PgConnection) -> Handled<'c> + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        let prepare = move |event: &Arc<RecordedEvent>, from: Origin| -> Result<Call, serde_json::Error> {
            let data: T = serde_json::from_str(event.data.get())?;
            let (handler, received) = (Arc::clone(&handler), Received { data, event: Arc::clone(event), from });
            Ok(Box::new(move |connection| handler(received, connection)))
        };
        self.types.insert(event_type.to_owned());
        self.by_version.insert((event_type.to_owned(), schema_version), Box::new(prepare));
    }

    pub fn is_empty(&self) -> bool {
        self.by_version.is_empty()
    }

    pub fn find(&self, event: &RecordedEvent) -> Found<'_> {
        match self.by_version.get(&(event.event_type.to_string(), event.schema_version)) {
            Some(prepare) => Found::Handler(prepare.as_ref()),
            None if self.types.contains(&*event.event_type) => Found::OtherVersion,
            None => Found::OtherType,
        }
    }

    /// The schema versions of a type that have handlers, for messages.
    pub fn versions(&self, event_type: &str) -> String {
        let mut versions: Vec<u16> =
            self.by_version.keys().filter(|(of, _)| of == event_type).map(|(_, version)| *version).collect();
        versions.sort_unstable();
        versions.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
    }
}
