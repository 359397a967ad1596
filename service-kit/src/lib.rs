//! What every service process needs once, and nothing of what it is for.

pub mod clock;
pub mod pg;
pub mod postgres;
pub mod problem;
pub mod tasks;

pub use clock::Clock;
pub use problem::Problem;
pub use tasks::Tasks;
