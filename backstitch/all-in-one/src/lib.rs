//! All services in one process: what `backstitch serve` runs, and what tests and benches start many of.

pub mod config;
mod dispatch;
#[cfg(feature = "cluster")]
pub mod edges;
#[cfg(not(feature = "cluster"))]
#[path = "no_edges.rs"]
mod edges;
pub mod log;
pub mod read_models;
pub mod start_errors;
pub mod system;
mod wiring;

pub use config::Config;
pub use system::System;
