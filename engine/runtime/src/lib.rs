//! What the engines need to run: a clock that tests can turn, and tasks that end with their owner.

pub mod clock;
pub mod tasks;

pub use clock::Clock;
pub use tasks::Tasks;
