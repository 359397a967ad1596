//! The rules of the shop, pure: what may happen to orders, payments, stock, shipments and products.
//!
//! *Invariant:* nothing here reads a clock, draws a number, waits or does IO. Time, prices and ids come in as
//! arguments, so that every rule can be tested by writing down what was, what is asked and what follows.
//!
//! Each aggregate is a folder with the same seven files: `mod` (its transition table), `commands`, `events`, `rejection`,
//! `state` (with `evolve`), `decide`, `tests`.

pub mod command;
pub mod ids;
pub mod kind;
pub mod money;
pub mod order;
pub mod payment;
pub mod product;
pub mod quantity;
pub mod saga;
pub mod shipment;
pub mod stock;

#[cfg(any(test, feature = "testing"))]
pub use eventsourcing::testing;
pub use eventsourcing::{Aggregate, DecodeError, EncodedEvent, Rejected, Timestamp, Visit, aggregate};

pub use command::Command;
pub use kind::Kind;
