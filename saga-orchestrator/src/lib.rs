//! The sagas: the engine, the definitions, timers and what operators see of them.
//!
//! *Invariant:* a saga needs nothing but the event store and somebody who carries its commands out. Its stream says all:
//! what it has sent, to the byte, and what it waits for.

pub mod config;
pub mod definition;
pub mod engine;
pub mod ports;
pub mod sagas;

pub use config::SagaConfig;
