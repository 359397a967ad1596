//! What the engines need to run: a clock that tests can turn, tasks that end with their owner, log messages about what takes
//! long, and (feature `postgres`) transactions that end in time.

pub mod aside;
pub mod clock;
#[cfg(feature = "postgres")]
pub mod pg;
pub mod tasks;
pub mod waiting;

pub use clock::Clock;
pub use pauses::Pauses;
pub use tasks::Tasks;
