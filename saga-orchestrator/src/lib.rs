//! The sagas of the shop: their tables of steps, what events mean to them, and what operators see of them. `saga-engine` has
//! the rules that they follow, `saga-runner` runs them on the log.

#[cfg(feature = "service")]
pub mod commands_client;
pub mod config;
pub mod http;
pub mod running;
pub mod sagas;
#[cfg(feature = "service")]
pub mod service;
pub mod stream;

#[cfg(feature = "service")]
pub use commands_client::CommandsClient;
pub use config::SagaConfig;
pub use http::{Handle, router};
pub use running::{CHECKPOINT_STREAM, Sagas, setup, start};
pub use saga_runner::{CommandPort, Dispatch, Outcome};
pub use sagas::shop;
