//! What every service process needs once, and nothing of what it is for.

pub mod api;
mod bodies;
pub mod class;
pub mod config;
pub mod health;
pub mod hosts;
mod kept;
pub mod limits;
pub mod metrics;
mod observe;
pub mod permits;
pub mod postgres;
pub mod print;
pub mod problem;
pub mod process;
mod refusals;
pub mod repeats;
pub mod request;
pub mod rights;
pub mod serve;
pub mod shutdown;
pub mod start;
pub mod telemetry;
pub mod text;

/// The allocator of every program that links this crate: sagas and orders cost a fifth less processor time with it than with
/// that of the system, and a tenth more memory (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use class::Class;
pub use engine_runtime::{Clock, Pauses, Tasks, clock, pg, tasks};
pub use health::Health;
pub use limits::Limits;
pub use problem::Problem;
pub use secret;
pub use start::{HttpConfig, HttpPorts, StartError};
