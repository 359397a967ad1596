//! The write side as its callers see it: the bus over a real log, and HTTP over the bus.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod clock;
mod durability;
mod epochs;
mod followers;
mod gate;
mod grpc;
mod http;
mod idempotency;
mod load;
mod orders;
mod over_tcp;
mod shared;
mod world;
