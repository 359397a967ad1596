//! The log on Kafka: the relay that publishes it, the feed of its partitions, and a consumer that any team can use.
//!
//! Kafka is a feed that can be refilled from the log at any time; the log is the truth. Followers' checkpoints are
//! positions of the log, [`PartitionSource`] finds where to go on, and what a record claims (see [`cloudevents`]) proves
//! that nothing was missed.

pub mod arrived;
pub mod cloudevents;
pub mod config;
mod connection;
pub mod consumer;
mod coverage;
pub mod dead_letter;
pub mod error;
mod following;
pub mod group;
pub mod health;
mod membership;
mod outgoing;
mod publisher;
mod records;
pub mod relay;
pub mod republish;
pub mod retry;
mod silence;
pub mod source;
pub mod status;
mod tails;
pub mod testing;
pub mod topics;
pub mod word;

pub use arrived::Arrived;
pub use config::BusConfig;
pub use consumer::Consumer;
pub use dead_letter::DeadLetters;
pub use error::BusError;
pub use group::{Assigned, Group};
pub use relay::Relay;
pub use retry::{HandlerError, Retry};
pub use source::PartitionSource;
