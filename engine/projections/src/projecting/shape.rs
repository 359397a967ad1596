//! The fingerprint by which a program knows rows that it would fold in another way.

use eventsourcing::Namespace;

/// A fingerprint of the tables that `ddl` makes and of the fold with this number.
pub(crate) fn shape(ids: Namespace, folds: u32, ddl: &str) -> String {
    ids.derive(&["read-model-shape", &folds.to_string(), ddl]).simple().to_string()
}
