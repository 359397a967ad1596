//! Folds the event log into tables of Postgres or of an SQLite file, for any read models.
//!
//! The engine has the read models that it was given. It collects events into batches, lets each read model fold those that it
//! takes, and writes rows and checkpoints in one transaction. An event that cannot be applied parks its stream.
//!
//! Features: `postgres` (default) is `ProjectionEngine`, where a read model can be folded again beside the one that answers, is
//! compared with it and takes its place, and replicas share the work. `sqlite` is `embedded`, for a program of one process. A
//! program that has only the second builds nothing of Postgres.
//!
//! *Invariant:* nothing here writes to the log; everything here can be thrown away and folded again.
//! *Invariant:* rows equal a plain fold of the log, in whatever sequence and however often events arrive.
//!
//! `projecting/` says what a projection is and when an event is applied, over any store of rows; `feeding/` feeds read models from a partition of the log
//! (in one process the log is the only one) and makes their commits safe, `generations/` lets each be made anew beside the one
//! that answers, `dead_letters/` keeps what could not be applied, `progress/` says how far they are.

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "postgres")]
pub mod database;
pub mod dead_letters;
#[cfg(feature = "sqlite")]
pub mod embedded;
#[cfg(feature = "postgres")]
mod engine;
#[cfg(feature = "postgres")]
pub mod feeding;
#[cfg(feature = "postgres")]
pub mod generations;
#[cfg(feature = "postgres")]
pub mod progress;
pub mod projecting;
#[cfg(feature = "postgres")]
pub mod read_model;

#[cfg(feature = "postgres")]
pub use engine::{ProjectionEngine, Setup};
#[cfg(feature = "postgres")]
pub use feeding::{Feeder, Replica};
#[cfg(feature = "postgres")]
pub use progress::{Partition, Progress, State, Status};
#[cfg(feature = "postgres")]
pub use projecting::postgres::Postgres;
pub use projecting::projection::Projection;
pub use projecting::row_store::RowStore;
#[cfg(feature = "postgres")]
pub use read_model::{EarlierShapes, Index, ReadModel, ReadModels};
