//! What a program gives to the engine: its read models, and what joins their tables.

use eventsourcing::Namespace;

use crate::projecting::applied;
use crate::projecting::projection::Projection;
use crate::projecting::shape::shape;

/// An index of a table: it changes how fast rows are found, and never what they are. So one that a release adds is made at its
/// start beside the rows that are there.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Its name, which no other index of the program has. An index that is to find other rows or columns needs another one: the
    /// one that is there is known by its name.
    pub name: &'static str,
    /// The table whose rows it finds.
    pub table: &'static str,
    /// What is indexed, as SQL says it after the table: `(guest, seat) where guest is not null`.
    pub on: &'static str,
}

impl Index {
    /// An index of a table.
    pub const fn new(name: &'static str, table: &'static str, on: &'static str) -> Self {
        Self { name, table, on }
    }

    /// SQL that makes it in the schema that is looked up first, where it is not there yet.
    pub(crate) fn ddl(&self) -> String {
        format!("create index if not exists {} on {} {}", self.name, self.table, self.on)
    }
}

/// What earlier releases called the tables of a read model, for which an index was a part of the shape.
#[derive(Debug, Clone, Copy)]
pub struct EarlierShapes {
    /// The shape that these names stand for. Once the tables have another one, they stand for nothing.
    pub of: &'static str,
    /// The names. The first of them is written, so that a replica of the earlier release finds its own.
    pub names: &'static [&'static str],
}

/// A read model: its tables, and what folds events into them.
#[derive(Debug, Clone, Copy)]
pub struct ReadModel {
    /// Its name, for ever: checkpoints and generations are kept under it.
    pub name: &'static str,
    /// SQL that makes its tables, without their indexes, in the order in which it can be run.
    pub ddl: &'static [&'static str],
    /// The indexes of its tables.
    pub indexes: &'static [&'static [Index]],
    /// Its tables; `applied`, which read models share, is not among them.
    pub tables: &'static [&'static str],
    /// Whether it keeps marks in `applied`.
    pub marks: bool,
    /// Whether version 0 of a stream begins a row, without which later events of the stream change nothing that can be shown.
    /// Such an event cannot be discarded.
    pub begins_row: bool,
    /// Raised when its fold changes what it writes without a change of DDL: rows of older programs are folded again.
    pub folds: u32,
    /// What earlier releases called its shape, if they did so by another rule.
    pub earlier: Option<EarlierShapes>,
    /// With nothing kept in memory yet.
    pub make: fn() -> Box<dyn Projection>,
}

impl ReadModel {
    /// What makes its tables, and `applied` where it needs that.
    pub fn ddl(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.marks.then_some(applied::DDL).into_iter().chain(self.ddl.iter().copied())
    }

    /// Its indexes, of all of its tables.
    pub fn indexes(&self) -> impl Iterator<Item = &'static Index> + '_ {
        self.indexes.iter().copied().flatten()
    }

    /// A fingerprint of what its rows are: of its tables and of its fold, in a namespace of the program's own. How rows are found
    /// is no part of it.
    pub fn shape(&self, ids: Namespace) -> String {
        let text: String = self.ddl().collect();
        shape(ids, self.folds, &text)
    }

    /// The names that earlier releases gave to this shape.
    fn earlier_names(&self, shape: &str) -> &'static [&'static str] {
        self.earlier.filter(|earlier| earlier.of == shape).map_or(&[], |earlier| earlier.names)
    }
}

/// All read models of a program. A database holds those of one program.
#[derive(Debug)]
pub struct ReadModels {
    models: Vec<ReadModel>,
    ids: Namespace,
    views: &'static str,
    at_rest: Option<&'static str>,
}

impl ReadModels {
    /// These read models. In the namespace the fingerprints of their tables are derived: it never changes, else all tables are
    /// folded again.
    pub fn new(ids: Namespace, models: impl IntoIterator<Item = ReadModel>) -> Self {
        Self { models: models.into_iter().collect(), ids, views: "", at_rest: None }
    }

    /// SQL that makes views over tables of several read models. It is run where readers look tables up.
    #[must_use]
    pub fn with_views(self, views: &'static str) -> Self {
        Self { views, ..self }
    }

    /// A query over those views that selects, of the keys `$1` (`uuid[]`), those that are at rest: nothing more happens to
    /// them by itself. Replicas that do not write the rows themselves ask it for those who wait ([`crate::Progress::watch`]).
    #[must_use]
    pub fn with_at_rest(self, query: &'static str) -> Self {
        Self { at_rest: Some(query), ..self }
    }

    /// Every read model, in the order in which they were given.
    pub fn all(&self) -> &[ReadModel] {
        &self.models
    }

    /// The read model of this name.
    pub fn named(&self, name: &str) -> Option<ReadModel> {
        self.models.iter().find(|model| model.name == name).copied()
    }

    /// The names of all read models.
    pub fn names(&self) -> Vec<&'static str> {
        self.models.iter().map(|model| model.name).collect()
    }

    /// The name of a read model's shape, as it is written beside its tables.
    pub(crate) fn shape(&self, model: &ReadModel) -> String {
        let shape = model.shape(self.ids);
        model.earlier_names(&shape).first().map_or(shape.clone(), |first| (*first).to_owned())
    }

    /// Whether tables beside which this was written have the shape that the read model has now.
    pub(crate) fn has_shape(&self, model: &ReadModel, written: &str) -> bool {
        let shape = model.shape(self.ids);
        written == shape || model.earlier_names(&shape).contains(&written)
    }

    /// A fingerprint of all views: that of the tables, which they show column by column, and of the joins.
    pub(crate) fn shape_of_views(&self) -> String {
        let shapes: String = self.models.iter().map(|model| self.shape(model)).collect();
        self.ids.derive(&["live-views", &shapes, self.views]).simple().to_string()
    }

    pub(crate) fn views(&self) -> &'static str {
        self.views
    }

    pub(crate) fn at_rest(&self) -> Option<&'static str> {
        self.at_rest
    }
}
