//! The write side: HTTP, load, decide, append; the payment provider, its driver and its webhooks.
//!
//! *Invariant:* no answer leaves before every append beneath the state it was decided on is durable.
//! *Invariant:* a command has its effect once, however often it is sent under one id.
//! *Invariant:* nothing outside is called while a command is decided; the provider is called after the append.

pub mod bus;
pub mod clock_watch;
pub mod config;
pub mod contexts;
#[cfg(feature = "service")]
pub mod grpc;
pub mod http;
mod preconditions;
mod pricing;
pub mod provider;
#[cfg(feature = "service")]
pub mod service;
pub mod write_side;

pub use bus::{CommandBus, CommandMeta, Loaded, Origin, Reply, SendError};
pub use http::{HttpState, router};
pub use write_side::WriteSide;
