//! A generation as `backstitch.generations` has it: what it is for, how far it has come, who asked for it last.

use std::collections::BTreeMap;

use engine_runtime::clock::Timestamp;
use engine_runtime::pg;
use event_store::Position;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgPool, Row as _};

use super::comparison::Comparison;
use crate::database::ANSWER_BOUND;
use crate::feeding::checkpoint::Slice;
use crate::projecting::changes::unsigned;
use crate::read_model::{ReadModel, ReadModels};

const ALL: &str = "
select g.projection, g.generation, g.state, g.schema, g.shape, g.tables, g.accept_differences, g.until_position,
    (select array_agg(c.position order by c.partition) from backstitch.projection_checkpoints c
        where c.projection = g.projection and c.generation = g.generation),
    g.comparison, g.row_counts, g.last_error, g.request_key
from backstitch.generations g order by g.schema, g.projection, g.generation";

/// Who asks for something, and why.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key of the request: the same one again does nothing twice.
    pub key: String,
    /// The operator who asks for it.
    pub actor: String,
    /// The reason that the operator gives.
    pub reason: Option<String>,
    /// When it was asked for.
    pub at: Timestamp,
}

/// What a generation is for, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It folds the log from the beginning, by itself.
    Building,
    /// It has caught up and is fed with the live one; they are being compared.
    Ready,
    /// It was compared, and differs from the live one; it is fed and waits for a decision.
    Differs,
    /// Answers come from it.
    Live,
    /// Answers came from it; it is still fed.
    Previous,
    /// Its tables are about to be dropped.
    Retiring,
    /// It folds the log up to a position, to be looked at.
    Replaying,
    /// It is as its read model was at that position.
    Replayed,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Building,
        Self::Ready,
        Self::Differs,
        Self::Live,
        Self::Previous,
        Self::Retiring,
        Self::Replaying,
        Self::Replayed,
    ];

    /// As it stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Differs => "differs",
            Self::Live => "live",
            Self::Previous => "previous",
            Self::Retiring => "retiring",
            Self::Replaying => "replaying",
            Self::Replayed => "replayed",
        }
    }

    /// Whether the runner feeds it.
    pub fn is_fed(self) -> bool {
        match self {
            Self::Ready | Self::Differs | Self::Live | Self::Previous => true,
            Self::Building | Self::Retiring | Self::Replaying | Self::Replayed => false,
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The read model whose tables these are.
    pub model: ReadModel,
    /// The number of the generation, from 1.
    pub number: i32,
    /// How far it has come.
    pub stage: Stage,
    /// The Postgres schema of its tables.
    pub schema: String,
    /// Whether it becomes live whatever the comparison says.
    pub accept_differences: bool,
    /// Where a replay ends.
    pub until: Option<Position>,
    /// How far each partition's events are in its rows.
    pub positions: Vec<Position>,
    /// What the last comparison with the live one found.
    pub comparison: Option<Comparison>,
    /// How many rows each table of a replay has.
    pub row_counts: Option<BTreeMap<String, i64>>,
    /// The last thing that did not work, until it works again.
    pub last_error: Option<String>,
    /// The key of the last request that changed it.
    pub request_key: Option<String>,
}

impl Generation {
    /// Everything at or below is in its rows.
    pub fn position(&self) -> Position {
        self.positions.iter().min().copied().unwrap_or_default()
    }

    /// Under what its checkpoint is kept.
    pub fn slice(&self) -> Slice {
        Slice { projection: self.model.name, generation: self.number }
    }
}

/// A row as it is read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) projection: String,
    pub(super) generation: i32,
    state: String,
    pub(super) schema: String,
    shape: String,
    pub(super) tables: Vec<String>,
    accept_differences: bool,
    until_position: Option<i64>,
    positions: Option<Vec<i64>>,
    comparison: Option<Json<Comparison>>,
    row_counts: Option<Json<BTreeMap<String, i64>>>,
    last_error: Option<String>,
    request_key: Option<String>,
}

impl FromRow<'_, PgRow> for Stored {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            projection: row.try_get(0)?,
            generation: row.try_get(1)?,
            state: row.try_get(2)?,
            schema: row.try_get(3)?,
            shape: row.try_get(4)?,
            tables: row.try_get(5)?,
            accept_differences: row.try_get(6)?,
            until_position: row.try_get(7)?,
            positions: row.try_get(8)?,
            comparison: row.try_get(9)?,
            row_counts: row.try_get(10)?,
            last_error: row.try_get(11)?,
            request_key: row.try_get(12)?,
        })
    }
}

impl Stored {
    /// `None`: another program's.
    pub(super) fn known(self, models: &ReadModels) -> Option<Generation> {
        Some(Generation {
            model: models.named(&self.projection)?,
            number: self.generation,
            stage: Stage::ALL.into_iter().find(|stage| stage.as_str() == self.state)?,
            schema: self.schema,
            accept_differences: self.accept_differences,
            until: self.until_position.map(|until| Position(unsigned(until))),
            positions: self.positions.unwrap_or_default().into_iter().map(|at| Position(unsigned(at))).collect(),
            comparison: self.comparison.map(|Json(comparison)| comparison),
            row_counts: self.row_counts.map(|Json(counts)| counts),
            last_error: self.last_error,
            request_key: self.request_key,
        })
    }

    /// Whether its tables are those of this program.
    pub(super) fn fits(&self, models: &ReadModels) -> bool {
        models.named(&self.projection).is_some_and(|model| models.has_shape(&model, &self.shape))
    }
}

/// All generations in the database, those of other programs included.
pub(super) async fn stored(sql: &mut PgConnection) -> Result<Vec<Stored>, sqlx::Error> {
    sqlx::query_as(ALL).fetch_all(sql).await
}

/// All generations of this program's read models.
///
/// # Errors
/// What Postgres says.
pub async fn known(sql: &mut PgConnection, models: &ReadModels) -> Result<Vec<Generation>, sqlx::Error> {
    Ok(stored(sql).await?.into_iter().filter_map(|stored| stored.known(models)).collect())
}

/// All generations of this program's read models.
///
/// # Errors
/// What Postgres says.
pub async fn all(pool: &PgPool, models: &ReadModels) -> Result<Vec<Generation>, sqlx::Error> {
    pg::ask(pool, ANSWER_BOUND, async |sql: &mut PgConnection| known(sql, models).await).await
}
