//! Schemas, checkpoints and the fence: what makes it safe that rows are written by whoever runs.
//!
//! `backstitch.projection_checkpoints` has a row per (projection, generation, partition): the position up to which its
//! rows are written, and the epoch of the runner that may write them. A runner that starts raises the epoch; a batch of
//! an older epoch does not commit. Rows, position and the look at the epoch are one transaction.
//!
//! Each generation has a Postgres schema `read_<generation>`. Its shape (all DDL and the folds' version) is kept as a
//! fingerprint: where the program's differs, the generation is dropped and folded again from the log. A generation is
//! bound to one log, known by the id of its first event.

use event_store::Position;
use service_kit::pg;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::changes::{signed, unsigned};
use crate::projections;

/// Raised when a fold changes what it writes without a change of DDL: rows of older programs are folded again.
const FOLDS: u32 = 1;
/// The advisory lock under which schemas are made: two servers that start at once must not make them twice.
const LOCK: i64 = 0x6261_636b_7374_5974;

const BASE: &str = "
create schema if not exists backstitch;
create table if not exists backstitch.projection_checkpoints (
    projection text not null, generation integer not null, partition integer not null,
    position bigint not null, epoch bigint not null,
    primary key (projection, generation, partition));
create table if not exists backstitch.generations (generation integer primary key, shape text not null);
alter table backstitch.generations add column if not exists log uuid;
";

const TAKE_OVER: &str = "
insert into backstitch.projection_checkpoints as c (projection, generation, partition, position, epoch)
select projection, $2, $3, 0, 1 from unnest($1::text[]) as p(projection)
on conflict (projection, generation, partition) do update set epoch = c.epoch + 1
returning projection, position, epoch";

const BIND: &str = "
update backstitch.generations set log = coalesce(log, $1) where generation = $2 returning log";

const ADVANCE: &str = "
update backstitch.projection_checkpoints as c set position = greatest(c.position, n.position)
from unnest($1::text[], $2::bigint[], $3::bigint[]) as n(projection, position, epoch)
where c.projection = n.projection and c.generation = $4 and c.partition = $5 and c.epoch = n.epoch";

/// Which rows a runner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The generation of tables, from 1.
    pub generation: i32,
    /// The partition of the feed; 0 where the feed is the log itself.
    pub partition: i32,
}

impl Slice {
    /// The Postgres schema of the generation.
    pub fn schema(&self) -> String {
        format!("read_{}", self.generation)
    }
}

/// Where a projection stands, and under which epoch its runner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything at or below is in the rows.
    pub position: Position,
    /// The epoch of the runner.
    pub epoch: i64,
}

/// Makes schemas and tables where there are none, or where they have another shape. Any number may do so at once.
///
/// # Errors
/// What Postgres says.
pub async fn prepare(pool: &PgPool, slice: Slice) -> Result<(), sqlx::Error> {
    pg::tx(pool, &slice.schema(), move |sql| {
        Box::pin(async move {
            sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *sql).await?;
            sqlx::raw_sql(BASE).execute(&mut *sql).await?;
            let shape = shape();
            let found: Option<String> =
                sqlx::query_scalar("select shape from backstitch.generations where generation = $1")
                    .bind(slice.generation)
                    .fetch_optional(&mut *sql)
                    .await?;
            if found.as_ref() == Some(&shape) {
                return Ok(());
            }
            if found.is_some() {
                tracing::warn!(generation = slice.generation, "the read models have another shape: folding them again");
            }
            make(sql, slice, &shape).await
        })
    })
    .await
}

async fn make(sql: &mut PgConnection, slice: Slice, shape: &str) -> Result<(), sqlx::Error> {
    // A schema's name cannot be bound; this one is made of a number.
    let fresh = format!("drop schema if exists {0} cascade; create schema {0}", slice.schema());
    sqlx::raw_sql(sqlx::AssertSqlSafe(fresh)).execute(&mut *sql).await?;
    for ddl in projections::DDL {
        sqlx::raw_sql(*ddl).execute(&mut *sql).await?;
    }
    sqlx::query("delete from backstitch.projection_checkpoints where generation = $1")
        .bind(slice.generation)
        .execute(&mut *sql)
        .await?;
    sqlx::query(
        "insert into backstitch.generations (generation, shape) values ($1, $2)
         on conflict (generation) do update set (shape, log) = (excluded.shape, null)",
    )
    .bind(slice.generation)
    .bind(shape)
    .execute(&mut *sql)
    .await
    .map(|_| ())
}

/// A fingerprint of all DDL and of the folds.
fn shape() -> String {
    let text = projections::DDL.concat();
    let id = domain::ids::derive(&["read-model-shape", &FOLDS.to_string(), &text]);
    id.simple().to_string()
}

/// Raises the epoch of the projections, so that any other runner's next batch fails, and says where they stand.
///
/// # Errors
/// What Postgres says.
pub async fn take_over(
    pool: &PgPool,
    slice: Slice,
    names: Vec<String>,
) -> Result<Vec<(String, Checkpoint)>, sqlx::Error> {
    pg::tx(pool, &slice.schema(), move |sql| {
        Box::pin(async move {
            let rows: Vec<(String, i64, i64)> = sqlx::query_as(TAKE_OVER)
                .bind(&names)
                .bind(slice.generation)
                .bind(slice.partition)
                .fetch_all(sql)
                .await?;
            let checkpoint = |position, epoch| Checkpoint { position: Position(unsigned(position)), epoch };
            Ok(rows.into_iter().map(|(name, position, epoch)| (name, checkpoint(position, epoch))).collect())
        })
    })
    .await
}

/// Binds a generation to the log whose first event has this id; the id of the log that it is bound to. Two logs folded
/// into one database would make rows of neither.
///
/// # Errors
/// What Postgres says.
pub async fn bind_to_log(pool: &PgPool, slice: Slice, first_event: Uuid) -> Result<Uuid, sqlx::Error> {
    pg::tx(pool, &slice.schema(), move |sql| {
        Box::pin(async move { sqlx::query_scalar(BIND).bind(first_event).bind(slice.generation).fetch_one(sql).await })
    })
    .await
}

/// Moves checkpoints inside the transaction that writes the rows. `false`: another runner has taken over, and the
/// transaction must not commit.
///
/// # Errors
/// What Postgres says.
pub async fn advance(
    sql: &mut PgConnection,
    slice: Slice,
    moves: &[(&'static str, Checkpoint)],
) -> Result<bool, sqlx::Error> {
    let names: Vec<&str> = moves.iter().map(|(name, _)| *name).collect();
    let positions: Vec<i64> = moves.iter().map(|(_, to)| signed(to.position.0)).collect();
    let epochs: Vec<i64> = moves.iter().map(|(_, to)| to.epoch).collect();
    let done = sqlx::query(ADVANCE)
        .bind(names)
        .bind(positions)
        .bind(epochs)
        .bind(slice.generation)
        .bind(slice.partition)
        .execute(sql)
        .await?;
    Ok(done.rows_affected() == moves.len() as u64)
}
