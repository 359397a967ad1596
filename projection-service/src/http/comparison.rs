//! The result of the comparison of two generations, as answers show it.

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
    /// The first differences, cell by cell.
    pub first: Vec<Difference>,
}

/// The numbers of equal and differing rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ComparedTable)]
pub struct Counts {
    /// The name of the table.
    pub table: String,
    /// The number of rows in the live generation.
    pub live: i64,
    /// The number of rows in the rebuilt generation.
    pub rebuilt: i64,
    /// The number of rows that are in both and differ.
    pub differing: i64,
    /// The number of rows that only the live generation has.
    pub missing: i64,
    /// The number of rows that only the rebuilt generation has.
    pub extra: i64,
}

/// A cell that differs. A row that only one generation has is one difference without a column.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ComparedCell)]
pub struct Difference {
    /// The name of the table.
    pub table: String,
    /// The row's primary key.
    #[schema(value_type = Object)]
    pub key: Value,
    /// The name of the column; null for a row that only one generation has.
    pub column: Option<String>,
    /// The value in the live generation.
    #[schema(value_type = Option<Object>)]
    pub live: Option<Value>,
    /// The value in the rebuilt generation.
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
