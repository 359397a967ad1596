//! What could not be applied: parked streams, and what operators do with them.

pub mod letters;
pub mod repair;

pub use letters::{Cause, Discarding, Letter, Letters, MOST_PARKED, Parked};
pub use repair::{Refusal, Repaired, Verb};
