//! A read model of an embedded store: its tables, and what folds events into them.

use eventsourcing::Namespace;

use crate::embedded::Sqlite;
use crate::projecting::projection::Projection;
use crate::projecting::shape::shape;

/// A read model: its tables, and what folds events into them.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedModel {
    /// Its name, for ever: its checkpoint is kept under it.
    pub name: &'static str,
    /// SQL that makes its tables, their indexes and views, in the order in which it can be run. When it changes, the read model is
    /// folded again.
    pub ddl: &'static [&'static str],
    /// Its tables. No other read model of the program has one of the same name, and none begins with `backstitch_`.
    pub tables: &'static [&'static str],
    /// Raised when its fold changes what it writes without a change of DDL: rows of older programs are folded again.
    pub folds: u32,
    /// With nothing kept in memory yet.
    pub make: fn() -> Box<dyn Projection<Sqlite>>,
}

impl EmbeddedModel {
    /// A fingerprint of what its rows are: of its tables and of its fold, in a namespace of the program's own.
    pub fn shape(&self, ids: Namespace) -> String {
        shape(ids, self.folds, &self.ddl.concat())
    }
}
