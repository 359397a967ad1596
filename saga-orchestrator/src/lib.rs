//! The sagas: the engine, the definitions, timers and what operators see of them.
//!
//! *Invariant:* a saga needs nothing but the event store and somebody who carries its commands out. Its stream says all:
//! what it has sent, to the byte, and what it waits for.

pub mod commands_client;
pub mod config;
pub mod http;
pub mod ports;
mod runner;
pub mod sagas;
pub mod service;
pub mod stream;

pub use commands_client::CommandsClient;
pub use config::SagaConfig;
pub use http::{Handle, router};
pub use ports::{CommandPort, Dispatch};
pub use runner::{CHECKPOINT_STREAM, Sagas, start};
pub use saga_engine::Outcome;
pub use sagas::shop;
