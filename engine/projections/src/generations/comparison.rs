//! What a comparison of two generations found, as it is kept in `backstitch.generations`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The position that both reflected.
    pub position: u64,
    /// Rows that are not the same, in all tables.
    pub differences: i64,
    /// The counts of each table.
    pub tables: Vec<Counts>,
    /// The first that differ, cell by cell.
    pub first: Vec<Difference>,
}

/// How many rows of a table are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The name of the table.
    pub table: String,
    /// Rows of the live table.
    pub live: i64,
    /// Rows of the rebuilt one.
    pub rebuilt: i64,
    /// In both, and not the same.
    pub differing: i64,
    /// Only in the live one.
    pub missing: i64,
    /// Only in the rebuilt one.
    pub extra: i64,
}

/// A cell that differs; a row that only one has is one difference without a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The name of the table.
    pub table: String,
    /// The row's primary key.
    pub key: Value,
    /// The name of the column.
    pub column: Option<String>,
    /// What the live one says.
    pub live: Option<Value>,
    /// What the rebuilt one says.
    pub rebuilt: Option<Value>,
}
