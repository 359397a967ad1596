//! Aggregates as pure rules: what may happen, and what has happened. No IO.
//!
//! [`Aggregate`] is a unit of consistency with its `decide` and `evolve`; [`events!`], [`commands!`] and [`rejections!`] declare
//! what it says and hears; [`ids`] derives the ids that a retry must make again; [`upcast`] lifts events of older schema
//! versions; `testing` (feature `testing`) is the given/when/then kit.

pub mod aggregate;
pub mod declare;
pub mod ids;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod upcast;

pub use aggregate::{Aggregate, DecodeError, EncodedEvent, Rejected, StoredEvent, Timestamp};
pub use declare::Visit;
pub use ids::Namespace;
pub use upcast::Upcaster;
