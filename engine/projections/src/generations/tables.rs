//! Generations: the tables of a read model, made as often as they are needed, each with a checkpoint of its own.
//!
//! `backstitch.generations` has a row per (projection, generation). Its tables lie in the Postgres schema that the row
//! names: `read_<generation>`, or `replay_<projection>_<generation>` for tables as they were at a position. One
//! generation of each read model is live: readers find its tables through the views of the schema `live` (`views.rs`).
//!
//! ```text
//! building → ready → live → previous → retiring → (gone)      replaying → replayed → retiring → (gone)
//!              ↕                ↕
//!           differs           live
//! ```
//!
//! *Invariant:* `ready`, `differs`, `live` and `previous` are fed by the runner in one transaction a batch; `building` and
//! `replaying` fold by themselves; the rest is not fed. What a step has reached is in this table before the next begins,
//! so that the next process goes on from there.
//!
//! The shape of each generation (its DDL and its fold's version) is kept as a fingerprint: where the program's differs,
//! that read model's generations are dropped and it is folded again from the log. All are bound to one log, known by the
//! id of its first event.

use std::collections::BTreeMap;

use event_store::Position;
use service_kit::pg;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::changes::{signed, unsigned};
use crate::checkpoint::{self, Slice};
use crate::compare::Comparison;
use crate::database::ANSWER_BOUND;
use crate::dead_letters;
use crate::projections::{self, ReadModel};
use crate::requests::Asked;
use crate::views;

/// The advisory lock under which schemas are made: two servers that start at once must not make them twice.
pub(crate) const LOCK: i64 = 0x6261_636b_7374_5974;

/// Before this release one row stood for all read models: they are folded again.
const BASE: &str = "
create schema if not exists backstitch;
do $$ declare old text; begin
    if exists (select from information_schema.tables where table_schema = 'backstitch' and table_name = 'generations')
        and not exists (select from information_schema.columns
            where table_schema = 'backstitch' and table_name = 'generations' and column_name = 'projection') then
        for old in select nspname from pg_namespace where nspname ~ '^read_[0-9]+$' loop
            execute format('drop schema %I cascade', old);
        end loop;
        drop table backstitch.generations;
        drop table if exists backstitch.projection_checkpoints;
    end if;
end $$;
create table if not exists backstitch.generations (
    projection text not null, generation integer not null, state text not null, schema text not null,
    shape text not null, tables text[] not null, log uuid, accept_differences boolean not null default false,
    until_position bigint, comparison jsonb, row_counts jsonb, last_error text,
    request_key text, requested_at timestamptz, actor text, reason text,
    primary key (projection, generation));
create unique index if not exists generations_live on backstitch.generations (projection) where state = 'live';
create unique index if not exists generations_rebuilt on backstitch.generations (projection)
    where state in ('building', 'ready', 'differs');
";

/// Under the lock, and only where there is something to write: many runners do so at once.
const BIND: &str = "update backstitch.generations set log = $1 where log is null";

const BOUND: &str = "select log from backstitch.generations where log is not null";

const ALL: &str = "
select g.projection, g.generation, g.state, g.schema, g.shape, g.tables, g.accept_differences, g.until_position,
    (select array_agg(c.position order by c.partition) from backstitch.projection_checkpoints c
        where c.projection = g.projection and c.generation = g.generation),
    g.comparison, g.row_counts, g.last_error, g.request_key
from backstitch.generations g order by g.schema, g.projection, g.generation";

const MAKE: &str = "
insert into backstitch.generations (projection, generation, state, schema, shape, tables, log, accept_differences,
    until_position, request_key, requested_at, actor, reason)
values ($1, $2, $3, $4, $5, $6, (select log from backstitch.generations where log is not null limit 1), $7, $8, $9, $10,
    $11, $12)";

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
    /// The read model.
    pub model: &'static ReadModel,
    /// From 1.
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
struct Stored {
    projection: String,
    generation: i32,
    state: String,
    schema: String,
    shape: String,
    tables: Vec<String>,
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
    fn known(self) -> Option<Generation> {
        Some(Generation {
            model: projections::named(&self.projection)?,
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

    fn fits(&self) -> bool {
        projections::named(&self.projection).is_some_and(|model| model.shape() == self.shape)
    }
}

/// Makes tables where there are none, or where they have another shape, and the views that readers use, for a feed of so
/// many partitions. Any number may do so at once.
///
/// # Errors
/// What Postgres says.
pub async fn prepare(pool: &PgPool, partitions: u32) -> Result<(), sqlx::Error> {
    pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *sql).await?;
            sqlx::raw_sql(BASE).execute(&mut *sql).await?;
            sqlx::raw_sql(checkpoint::DDL).execute(&mut *sql).await?;
            sqlx::raw_sql(dead_letters::DDL).execute(&mut *sql).await?;
            let (fit, other): (Vec<_>, Vec<_>) = stored(sql).await?.into_iter().partition(Stored::fits);
            if !other.is_empty() {
                sqlx::raw_sql("drop schema if exists live cascade").execute(&mut *sql).await?;
            }
            for old in other {
                tracing::warn!(old.projection, old.generation, "a read model has another shape: folding it again");
                let slice = (old.projection.as_str(), old.generation);
                drop_tables(sql, slice, &old.schema, &old.tables).await?;
            }
            let fit: Vec<Generation> = fit.into_iter().filter_map(Stored::known).collect();
            for model in projections::ALL {
                let own = || fit.iter().filter(|generation| generation.model.name == model.name);
                if !own().any(|generation| generation.stage == Stage::Live) {
                    let number = own().map(|generation| generation.number).max().unwrap_or(0) + 1;
                    make(sql, &New { number, ..New::live(model) }).await?;
                }
            }
            checkpoint::divide(sql, partitions).await?;
            let known = known(sql).await?;
            views::prepare(sql, &known).await
        })
    })
    .await
}

async fn stored(sql: &mut PgConnection) -> Result<Vec<Stored>, sqlx::Error> {
    sqlx::query_as(ALL).fetch_all(sql).await
}

/// All generations of this program's read models.
///
/// # Errors
/// What Postgres says.
pub async fn known(sql: &mut PgConnection) -> Result<Vec<Generation>, sqlx::Error> {
    Ok(stored(sql).await?.into_iter().filter_map(Stored::known).collect())
}

/// All generations of this program's read models.
///
/// # Errors
/// What Postgres says.
pub async fn all(pool: &PgPool) -> Result<Vec<Generation>, sqlx::Error> {
    pg::ask(pool, ANSWER_BOUND, known).await
}

/// A generation to be made.
#[derive(Debug)]
pub(crate) struct New {
    pub model: &'static ReadModel,
    pub number: i32,
    pub stage: Stage,
    pub accept_differences: bool,
    pub until: Option<Position>,
    pub asked: Option<Asked>,
}

impl New {
    /// The first of a read model.
    fn live(model: &'static ReadModel) -> Self {
        Self { model, number: 1, stage: Stage::Live, accept_differences: false, until: None, asked: None }
    }

    fn schema(&self) -> String {
        match self.until {
            None => format!("read_{}", self.number),
            Some(_) => format!("replay_{}_{}", self.model.name, self.number),
        }
    }
}

/// Makes a generation's tables and its row.
pub(crate) async fn make(sql: &mut PgConnection, new: &New) -> Result<(), sqlx::Error> {
    let schema = new.schema();
    // A schema's name cannot be bound; this one is made of our names and a number.
    let fresh = format!("create schema if not exists {schema}; set local search_path to {schema}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(fresh)).execute(&mut *sql).await?;
    for ddl in new.model.ddl() {
        sqlx::raw_sql(ddl).execute(&mut *sql).await?;
    }
    sqlx::query(MAKE)
        .bind(new.model.name)
        .bind(new.number)
        .bind(new.stage.as_str())
        .bind(schema)
        .bind(new.model.shape())
        .bind(new.model.tables)
        .bind(new.accept_differences)
        .bind(new.until.map(|until| signed(until.0)))
        .bind(new.asked.as_ref().map(|asked| &asked.key))
        .bind(new.asked.as_ref().map(|asked| asked.at))
        .bind(new.asked.as_ref().map(|asked| &asked.actor))
        .bind(new.asked.as_ref().and_then(|asked| asked.reason.as_ref()))
        .execute(&mut *sql)
        .await?;
    checkpoint::complete(sql).await
}

/// Drops a generation: tables, checkpoint, row; its schema with the last of it.
pub(crate) async fn drop_tables(
    sql: &mut PgConnection,
    (projection, generation): (&str, i32),
    schema: &str,
    tables: &[impl AsRef<str>],
) -> Result<(), sqlx::Error> {
    for table in tables {
        let drop = format!("drop table if exists {schema}.{}", table.as_ref());
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut *sql).await?;
    }
    for forget in [
        "delete from backstitch.projection_checkpoints where projection = $1 and generation = $2",
        "delete from backstitch.generations where projection = $1 and generation = $2",
    ] {
        sqlx::query(forget).bind(projection).bind(generation).execute(&mut *sql).await?;
    }
    dead_letters::forget(sql, projection, generation).await?;
    let shared: bool = sqlx::query_scalar("select exists (select from backstitch.generations where schema = $1)")
        .bind(schema)
        .fetch_one(&mut *sql)
        .await?;
    let rest = match shared {
        true => format!(
            "do $$ begin if to_regclass('{schema}.applied') is not null then
                 delete from {schema}.applied where projection = '{projection}'; end if; end $$"
        ),
        false => format!("drop table if exists {schema}.applied; drop schema if exists {schema}"),
    };
    sqlx::raw_sql(sqlx::AssertSqlSafe(rest)).execute(sql).await.map(|_| ())
}

/// Binds the read models to the log whose first event has this id; whether they were folded from that one. Two logs
/// folded into one database would make rows of neither.
///
/// # Errors
/// What Postgres says.
pub async fn bind_to_log(pool: &PgPool, first_event: Uuid) -> Result<bool, sqlx::Error> {
    let bound: Vec<Uuid> = pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *sql).await?;
            sqlx::query(BIND).bind(first_event).execute(&mut *sql).await?;
            sqlx::query_scalar(BOUND).fetch_all(sql).await
        })
    })
    .await?;
    Ok(bound.iter().all(|log| *log == first_event))
}
