//! The consumer that any team can use, against a real Kafka and a real Postgres.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod away;
mod dead_letters;
mod exactly_once;
mod killed;
mod rebalance;
mod shop;
