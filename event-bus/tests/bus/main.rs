//! The bus on a real Kafka: what is relayed, followed and handed over, and what that survives. Everything is judged by the
//! log and by Kafka's records, read with a plain client of our own.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod faults;
mod following;
mod groups;
mod relaying;
mod settings;
mod world;
