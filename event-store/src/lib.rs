//! The log: the port that everything above stands on, the envelope, and its adapters.
//!
//! *Invariant:* position order is commit order. Who has seen position p has seen everything at or below p, always.
//! *Invariant:* nothing above the port relies on what KurrentDB cannot give: no append over two streams, no uniqueness
//! beyond the expected version, no dense positions.

pub mod config;
pub mod conformance;
pub mod envelope;
pub mod error;
pub mod export;
pub mod file_rights;
pub mod find;
pub mod kurrentdb;
pub mod port;
pub mod serve;
pub mod source;
pub mod sqlite;
pub mod stream;
pub mod trace;
pub mod wire;

pub use config::EventStoreConfig;
pub use envelope::{Metadata, NewEvent, Position, RecordedEvent};
pub use error::{AppendError, OpenError, ReadError};
pub use kurrentdb::KurrentStore;
pub use port::{
    Append, Appended, Delivery, Direction, Epoch, EventStore, Expected, Filter, PageLimit, StoreStats, StreamInfo,
    StreamSnapshot, Subscription, Ticket,
};
pub use source::{Source, WholeLog};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use stream::StreamName;
