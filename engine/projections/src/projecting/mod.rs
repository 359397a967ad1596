//! From a batch of events to changed rows: what a projection is, when an event is applied, what rows are kept in memory.

pub(crate) mod apart;
pub mod applied;
pub mod changes;
pub mod projection;
pub mod upsert;
