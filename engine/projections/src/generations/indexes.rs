//! Indexes that a release has and the tables do not have yet. They are made in the background: batches and queries go on, and
//! the rows stay as they are. Replicas make one index after the other. An index that no release names any more stays until its
//! tables go.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Pauses, Tasks, pg};
use sqlx::{PgConnection, PgPool};

use super::generation::{Stage, all};
use super::tables::LOCK;
use crate::database::{ANSWER_BOUND, Database};
use crate::read_model::{Index, ReadModels};

/// The advisory lock of the connection that makes indexes.
const MAKES_INDEXES: i64 = LOCK + 1;

/// What is missing, and whether somebody who was interrupted has left a part of it that finds nothing. A table that somebody has
/// dropped is left alone.
const MISSING: &str = "
select i.ord, to_regclass(i.index) is not null from unnest($1::text[], $2::text[]) with ordinality as i(index, tab, ord)
where to_regclass(i.tab) is not null
    and not exists (select from pg_index where indexrelid = to_regclass(i.index) and indisvalid)
order by i.ord";

/// Waiting for a lock costs nobody anything here; Postgres ends what takes longer than all else that reads whole tables.
const BOUNDS: &str = "set lock_timeout = 0; set statement_timeout = '30min'";

/// The pauses before it is tried again: while the tables are not there yet, Postgres is away, or another replica makes indexes.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(200), Duration::from_secs(60));

/// Makes the missing indexes as soon as the tables are there; ends when none is missing any more.
pub(crate) async fn complete_in_background(database: Database, models: Arc<ReadModels>, tasks: Tasks) {
    let stopping = tasks.stopping();
    let made = async {
        let mut pauses = PAUSES;
        loop {
            match database.writer().await {
                Ok(None) => return,
                Ok(Some(pool)) => match complete(&pool, &models).await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::debug!(%error, "it cannot be seen whether an index is missing; trying again")
                    }
                },
                Err(error) => tracing::debug!(%error, "it cannot be seen whether an index is missing; trying again"),
            }
            tokio::time::sleep(pauses.failed()).await;
        }
    };
    tokio::select! {
        () = made => {}
        // What Postgres is making it goes on making, unless it is stopped as well.
        () = stopping.cancelled() => {}
    }
}

/// Makes the indexes that the generations of this program lack. `false`: another replica is making indexes, look again later.
/// One that cannot be made is logged and left out: answers are right without it.
///
/// # Errors
/// The connection to Postgres broke, or the tables are not there.
pub async fn complete(pool: &PgPool, models: &ReadModels) -> Result<bool, sqlx::Error> {
    let generations = all(pool, models).await?;
    let there = generations.iter().filter(|generation| generation.stage != Stage::Retiring);
    let wanted: Vec<(&str, &Index)> =
        there.flat_map(|it| it.model.indexes().map(|index| (&*it.schema, index))).collect();
    if pg::ask(pool, ANSWER_BOUND, async |sql: &mut PgConnection| missing(sql, &wanted).await).await?.is_empty() {
        return Ok(true);
    }
    let mut sql = pg::detach(pool).await?;
    sqlx::raw_sql(BOUNDS).execute(&mut sql).await?;
    if !sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(MAKES_INDEXES).fetch_one(&mut sql).await? {
        return Ok(false);
    }
    // Looked for again: nobody else makes any now.
    for (schema, index, half) in missing(&mut sql, &wanted).await? {
        tracing::info!(schema, index = index.name, "a read model has a new index: making it");
        match make(&mut sql, schema, index, half).await {
            Err(error) if error.as_database_error().is_some() => {
                tracing::warn!(%error, schema, index = index.name, "an index cannot be made; queries may be slow");
            }
            made => made?,
        }
    }
    Ok(true)
}

async fn missing<'a>(
    sql: &mut PgConnection,
    wanted: &[(&'a str, &'a Index)],
) -> Result<Vec<(&'a str, &'a Index, bool)>, sqlx::Error> {
    let indexes: Vec<String> = wanted.iter().map(|(schema, index)| format!("{schema}.{}", index.name)).collect();
    let tables: Vec<String> = wanted.iter().map(|(schema, index)| format!("{schema}.{}", index.table)).collect();
    let found: Vec<(i64, bool)> = sqlx::query_as(MISSING).bind(indexes).bind(tables).fetch_all(sql).await?;
    let of = |(ordinal, half): (i64, bool)| {
        let (schema, index) = wanted.get(usize::try_from(ordinal - 1).ok()?)?;
        Some((*schema, *index, half))
    };
    Ok(found.into_iter().filter_map(of).collect())
}

/// Outside of a transaction: only so is an index made beside writers.
async fn make(sql: &mut PgConnection, schema: &str, index: &Index, half: bool) -> Result<(), sqlx::Error> {
    if half {
        let drop = format!("drop index concurrently if exists {schema}.{}", index.name);
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut *sql).await?;
    }
    let Index { name, table, on } = index;
    let make = format!("create index concurrently if not exists {name} on {schema}.{table} {on}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(sql).await.map(|_| ())
}
