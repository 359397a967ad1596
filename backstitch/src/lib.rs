//! Backstitch in one process: what `serve` starts, and what people type at it.
//!
//! *Invariant:* data goes to stdout and everything else to stderr, so that every verb can stand in a pipe.
//! *Invariant:* exit 0 means done, 1 means the answer is no, 2 means that there is no answer.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
mod dispatch;
pub mod gateway;
mod log_health;
pub mod pages;
mod read_models;
pub mod system;
pub mod torture;
mod wiring;

pub use config::Config;
pub use system::System;
