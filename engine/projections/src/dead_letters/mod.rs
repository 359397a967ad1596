//! What could not be applied: parked streams, and what operators do with them.

pub mod letters;
#[cfg(feature = "postgres")]
pub mod repair;
pub(crate) mod resume;
#[cfg(feature = "postgres")]
pub mod table;

pub use letters::{Cause, Discarding, Letter, Letters, MOST_PARKED, Parked};
#[cfg(feature = "postgres")]
pub use repair::{Refusal, Repaired, Verb};
