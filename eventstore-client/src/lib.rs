//! A thin client of the EventStoreDB/KurrentDB gRPC protocol, as much of it as an event log needs: append, read, follow.
//!
//! Only service paths, field numbers and types matter on the wire; `proto/` tells them in our own words. What is here and
//! not in the official client of 2025: a first connect that fails is tried again, a node that dies is left for the leader,
//! no call outlives its deadline, a conflict says at which revision the stream is, many appends share one call without
//! waiting for one another, and `TCP_NODELAY` is on.
//!
//! *Invariant:* an append is sent again only with the same ids, and one whose outcome is not known is never said to have
//! failed.
//!
//! Left out on purpose: persistent subscriptions, server-side projections, deleting (events are kept for ever).

mod append;
mod batch;
mod call;
mod client;
mod connection;
mod discovery;
mod error;
mod event;
mod fault;
mod notices;
pub mod proto;
mod read;
pub mod settings;
mod subscription;
mod tls;

pub use client::Client;
pub use connection::Health;
pub use error::Error;
pub use event::{Expected, LogPosition, NewEvent, RecordedEvent, Written};
pub use notices::Notices;
pub use read::{Direction, Filter, LogFrom, StreamFrom};
pub use settings::{Credentials, Node, NodePreference, Settings, SettingsError};
pub use subscription::{Message, Subscription};
