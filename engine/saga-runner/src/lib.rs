//! Runs sagas on the event log, for any process of `saga-engine`.
//!
//! A program implements [`Subscriber`] for its process: which streams its sagas follow, and what an event means to them.
//! [`Sagas`] subscribes to the log, gives each subject's events to one worker, appends what follows from them, and sends
//! commands by the [`CommandPort`] once the events that issued them are durable. Timers fire by the clock. A checkpoint says
//! where the next start goes on.
//!
//! *Invariant:* a saga needs nothing but the event log and a [`CommandPort`]. What it has sent, to the byte, and what it
//! waits for follows from its stream.
//! *Invariant:* append first, send afterwards. A command leaves only when the event that issued it is durable.
//! *Invariant:* one subject's inputs meet one worker, one after the other. *Invariant:* nothing in memory is needed: a new
//! generation (at start, at a takeover, and after the log has failed it) reads the checkpoint and goes on.
//! *Invariant:* no owner needs to be alone with a partition. Two owners that act on the same saga meet at its stream's
//! expected version, what both send has the same ids and bytes, and the checkpoint of either is a good one to begin from.

pub mod checkpoint;
mod generation;
#[cfg(feature = "in-process")]
pub mod in_process;
mod memory;
pub mod operator;
pub mod ports;
mod report;
mod runner;
mod send;
pub mod stream;
pub mod subscriber;
mod subscription;
mod timers;
mod ways;
mod worker;

#[cfg(test)]
extern crate self as saga_runner; // The process below is shared with `tests/`, where this crate is named.
#[cfg(test)]
#[path = "../tests/box_office/process.rs"]
#[allow(dead_code, reason = "the unit tests need less of it than `tests/running.rs`")]
mod example;

pub use operator::{Answer, Operator, Request};
pub use ports::{CommandPort, Dispatch};
pub use report::Standing;
pub use runner::{Limits, Partitions, Sagas, Setup};
pub use saga_engine::Outcome;
pub use subscriber::{Ended, Subscriber, Trigger};
