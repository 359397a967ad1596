//! From a batch of events to changed rows: what a projection is, when an event is applied, what rows are kept in memory.

pub(crate) mod apart;
#[cfg(feature = "postgres")]
pub mod applied;
pub(crate) mod batch;
pub mod changes;
pub mod log;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod projection;
pub mod row_store;
pub(crate) mod shape;
#[cfg(feature = "postgres")]
pub mod upsert;
