//! What the engines need to run: a clock that tests can turn, tasks that end with their owner, and (feature `postgres`)
//! transactions that end in time.

pub mod clock;
#[cfg(feature = "postgres")]
pub mod pg;
pub mod tasks;

pub use clock::Clock;
pub use tasks::Tasks;
