//! Sagas as the log knows them: their events, and a pure fold that says how a saga stands.
//!
//! The engine and the tables of steps live in `saga-orchestrator`; code that only shows sagas needs nothing but this.
//! *Invariant:* what a saga is waiting for, and whether it is settled, follows from its events alone.

pub mod events;
pub mod facts;
mod fold;
pub mod parts;
#[cfg(test)]
mod tests;
pub mod view;

pub use events::*;
pub use facts::*;
pub use parts::*;
pub use view::{ActionView, LegStatus, LegView, SagaState, View};
