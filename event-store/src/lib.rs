//! The log: the port that everything above stands on, the envelope, and its adapters.
//!
//! Features: `sqlite` (default) is the embedded log, `kurrentdb` the log of another process, and `serve` offers the embedded log
//! to other processes. A program that embeds the log compiles neither gRPC nor TLS.
//!
//! *Invariant:* position order is commit order. Who has seen position p has seen everything at or below p, always.
//! *Invariant:* nothing above the port relies on what KurrentDB cannot give: no append over two streams, no uniqueness
//! beyond the expected version, no dense positions.

pub mod config;
pub mod conformance;
pub mod delegate;
pub mod envelope;
pub mod error;
pub mod export;
pub mod file_rights;
pub mod find;
#[cfg(feature = "kurrentdb")]
pub mod kurrentdb;
pub mod partition;
pub mod port;
#[cfg(feature = "serve")]
pub mod serve;
pub mod source;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod stream;
pub mod trace;
#[cfg(any(feature = "kurrentdb", feature = "serve"))]
pub mod wire;

pub use config::EventStoreConfig;
pub use delegate::Delegate;
pub use envelope::{Metadata, NewEvent, Position, RecordedEvent};
pub use error::{AppendError, OpenError, ReadError};
#[cfg(feature = "kurrentdb")]
pub use kurrentdb::KurrentStore;
pub use port::{
    Append, Appended, Delivery, Direction, Epoch, EventStore, Expected, Filter, PageLimit, StoreStats, StreamInfo,
    StreamSnapshot, Subscription, Ticket,
};
pub use source::{Source, WholeLog};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};
pub use stream::StreamName;
