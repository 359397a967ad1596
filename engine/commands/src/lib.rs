//! Carries commands out, for any aggregates on any event store.
//!
//! [`CommandEngine`] has the aggregates that it was made for. A command takes its turn in its stream, is decided on the state
//! that those before it leave, its events are appended, and the answer leaves when all beneath it is durable.
//!
//! *Invariant:* no answer leaves before every append beneath the state it was decided on is durable.
//! *Invariant:* a command has its effect once, however often it is sent under one id.

mod cache;
pub mod command;
mod decision;
mod engine;
mod idempotency;
mod older;
mod pipeline;
mod snapshot;
#[cfg(test)]
mod test_aggregate;

pub use command::{CommandMeta, Loaded, OUTCOMES, Origin, Reply, SendError};
pub use engine::{CommandEngine, Request};
