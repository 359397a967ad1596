//! The log on Kafka: the relay that publishes it, the feed of its partitions, and a consumer that any team can use.
//!
//! Kafka is a feed that can be refilled from the log at any time; the log is the truth. Followers' checkpoints are
//! positions of the log, [`PartitionSource`] finds where to go on, and what a record claims (see [`cloudevents`]) proves
//! that nothing was missed.

#![allow(dead_code, reason = "the relay comes next")]

pub mod cloudevents;
pub mod config;
mod connection;
mod coverage;
pub mod error;
mod following;
pub mod group;
mod membership;
pub mod partition;
mod records;
pub mod source;
pub mod testing;
pub mod topics;

pub use config::BusConfig;
pub use error::BusError;
pub use group::{Assigned, Group};
pub use source::PartitionSource;
