//! What a program gives to the engine: its read models, and what joins their tables.

use eventsourcing::Namespace;

use crate::projecting::applied;
use crate::projecting::projection::Projection;

/// A read model: its tables, and what folds events into them.
#[derive(Debug, Clone, Copy)]
pub struct ReadModel {
    /// Its name, for ever: checkpoints and generations are kept under it.
    pub name: &'static str,
    /// SQL that makes its tables, in the order in which it can be run.
    pub ddl: &'static [&'static str],
    /// Its tables; `applied`, which read models share, is not among them.
    pub tables: &'static [&'static str],
    /// Whether it keeps marks in `applied`.
    pub marks: bool,
    /// Whether version 0 of a stream begins a row, without which later events of the stream change nothing that can be shown.
    /// Such an event cannot be discarded.
    pub begins_row: bool,
    /// Raised when its fold changes what it writes without a change of DDL: rows of older programs are folded again.
    pub folds: u32,
    /// With nothing kept in memory yet.
    pub make: fn() -> Box<dyn Projection>,
}

impl ReadModel {
    /// What makes its tables, and `applied` where it needs that.
    pub fn ddl(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.marks.then_some(applied::DDL).into_iter().chain(self.ddl.iter().copied())
    }

    /// A fingerprint of its tables and of its fold, in a namespace of the program's own.
    pub fn shape(&self, ids: Namespace) -> String {
        let text: String = self.ddl().collect();
        ids.derive(&["read-model-shape", &self.folds.to_string(), &text]).simple().to_string()
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

    /// A fingerprint of a read model's tables and of its fold.
    pub(crate) fn shape(&self, model: &ReadModel) -> String {
        model.shape(self.ids)
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
