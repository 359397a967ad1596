//! Backstitch in one process: what `serve` starts, and what people type at it.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
mod dispatch;
pub mod log;
pub mod read_models;
pub mod start_errors;
pub mod system;
pub mod torture;
mod wiring;

pub use config::Config;
pub use system::System;
