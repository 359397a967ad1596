//! Generations: the tables of a read model, made as often as they are needed, each with a checkpoint of its own.
//!
//! `backstitch.generations` has a row per (projection, generation). Its tables lie in the Postgres schema that the row
//! names: `read_<generation>`, or `replay_<projection>_<generation>` for tables as they were at a position. One
//! generation of each read model is live: readers find its tables through the views of the schema `live` (`views.rs`).
//!
//! ```text
//! building → ready → live → previous → retiring → (gone)      replaying → replayed → retiring → (gone)
//!              ↕                ↕
//!           differs           live
//! ```
//!
//! *Invariant:* `ready`, `differs`, `live` and `previous` are fed by the runner in one transaction a batch; `building` and
//! `replaying` fold by themselves; the rest is not fed. What a step has reached is in this table before the next begins,
//! so that the next process goes on from there.
//!
//! `generation` reads that table, `tables` makes and drops what it names, `rebuild` does in the background what `requests`
//! has written down, `compare` and `views` let one generation take another's place.

mod compare;
pub mod comparison;
mod generation;
pub(crate) mod indexes;
pub(crate) mod rebuild;
mod regroup;
pub mod requests;
mod tables;
pub(crate) mod turn;
pub mod views;

pub use comparison::Comparison;
pub use generation::{Asked, Generation, Stage, all, known};
pub use indexes::complete as complete_indexes;
pub use regroup::Regroup;
pub use tables::{bind_to_log, prepare};
