//! The sagas: the engine, the definitions, timers and what operators see of them.
//!
//! *Invariant:* a saga needs nothing but the event store and somebody who carries its commands out. Its stream says all:
//! what it has sent, to the byte, and what it waits for.

pub mod commands_client;
pub mod config;
pub mod definition;
pub mod engine;
pub mod http;
pub mod ids;
pub mod outcome;
pub mod ports;
pub mod process;
mod runner;
pub mod sagas;
pub mod service;
pub mod stream;

pub use commands_client::CommandsClient;
pub use config::SagaConfig;
pub use http::{Handle, router};
pub use ports::{CommandPort, Dispatch, Outcome};
pub use runner::{CHECKPOINT_STREAM, Sagas, start};
pub use sagas::shop;
