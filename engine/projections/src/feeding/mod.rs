//! Feeds read models from a partition of the log: batches, one transaction each, checkpoints and their fence.

pub mod checkpoint;
mod feeder;
pub(crate) mod member;
mod replica;
pub(crate) mod report;
pub(crate) mod runner;
pub(crate) mod session;

pub use crate::projecting::log::end_of;
pub use feeder::Feeder;
pub use replica::Replica;
