//! Backstitch in one process: what `serve` starts, and what people type at it.

pub mod bench;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
mod dispatch;
mod log_health;
mod read_models;
pub mod system;
pub mod torture;
mod wiring;

pub use config::Config;
pub use system::System;
