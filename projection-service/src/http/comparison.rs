//! What a comparison of two generations found, as answers say it.

use projection_engine::generations::comparison;
use serde::Serialize;
use serde_json::Value;
use service_kit::api::LogPosition;
use utoipa::ToSchema;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = GenerationComparison)]
pub struct Comparison {
    /// The position that both reflected.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// Rows that are not the same, in all tables.
    pub differences: i64,
    /// The counts of each table.
    pub tables: Vec<Counts>,
    /// The first that differ, cell by cell.
    pub first: Vec<Difference>,
}

/// How many rows of a table are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ComparedTable)]
pub struct Counts {
    /// The table.
    pub table: String,
    /// Rows of the live one.
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
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ComparedCell)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// The row's primary key.
    #[schema(value_type = Object)]
    pub key: Value,
    /// The column.
    pub column: Option<String>,
    /// What the live one says.
    #[schema(value_type = Option<Object>)]
    pub live: Option<Value>,
    /// What the rebuilt one says.
    #[schema(value_type = Option<Object>)]
    pub rebuilt: Option<Value>,
}

impl From<comparison::Comparison> for Comparison {
    fn from(found: comparison::Comparison) -> Self {
        let comparison::Comparison { position, differences, tables, first } = found;
        let (tables, first) =
            (tables.into_iter().map(Into::into).collect(), first.into_iter().map(Into::into).collect());
        Self { position, differences, tables, first }
    }
}

impl From<comparison::Counts> for Counts {
    fn from(found: comparison::Counts) -> Self {
        let comparison::Counts { table, live, rebuilt, differing, missing, extra } = found;
        Self { table, live, rebuilt, differing, missing, extra }
    }
}

impl From<comparison::Difference> for Difference {
    fn from(found: comparison::Difference) -> Self {
        let comparison::Difference { table, key, column, live, rebuilt } = found;
        Self { table, key, column, live, rebuilt }
    }
}
