//! The shop from outside: the built program serving over real HTTP with a real Postgres, the payment provider as a
//! process of its own. Each test has a world to itself and judges it by the log, the provider's ledger and the tables.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod world;

mod bad_input;
mod bad_luck;
mod cancel;
mod clock;
mod contract;
mod crash;
mod dead_letters;
mod demo;
mod edge;
mod log;
mod log_trouble;
mod payment;
mod place_order;
mod projections;
mod repeat;
mod stock;
mod upgrade;
mod webhooks;
