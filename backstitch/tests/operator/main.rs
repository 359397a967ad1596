//! A person on call, with the command line alone: finds what stands still, understands it, repairs it, and sees what came
//! of it. Judged by the log, the provider's ledger and the tables.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(dead_code, reason = "the world is shared with the tests of the shop, which ask more of it")]

#[path = "../shop/world.rs"]
mod world;

mod bus_dead_letters;
mod desk;
mod examples;
mod lineage;
mod output;
mod prepare;
mod repair;
mod rewind;
