//! Indexes that a release has and the tables do not have yet: they are made at the start, and the rows stay as they are.
//!
//! A large table takes long. Meanwhile its batches wait and queries are answered; replicas make one index after the other. An
//! index that no release names any more stays until its tables go.

use engine_runtime::pg;
use sqlx::{PgConnection, PgPool};

use super::generation::{Generation, Stage};
use super::tables::LOCK;
use crate::database::ANSWER_BOUND;
use crate::projecting::apart::is_refusal;
use crate::read_model::Index;

/// The advisory lock under which an index is made. Not that of the tables: who waits for that one waits for moments.
const ONE_BY_ONE: i64 = LOCK + 1;

/// An index is made only where it is missing: to ask `create index if not exists` would wait for batches at every start. A
/// table that somebody has dropped is left alone.
const MISSING: &str = "
select i.ord from unnest($1::text[], $2::text[]) with ordinality as i(index, tab, ord)
where to_regclass(i.index) is null and to_regclass(i.tab) is not null order by i.ord";

/// Makes the indexes that generations of this program lack.
///
/// # Errors
/// What Postgres says, other than that an index cannot be made: answers are right without it.
pub(super) async fn complete(pool: &PgPool, generations: &[Generation]) -> Result<(), sqlx::Error> {
    let there = generations.iter().filter(|generation| generation.stage != Stage::Retiring);
    let wanted: Vec<(&str, &Index)> =
        there.flat_map(|it| it.model.indexes().map(|index| (&*it.schema, index))).collect();
    let indexes: Vec<String> = wanted.iter().map(|(schema, index)| format!("{schema}.{}", index.name)).collect();
    let tables: Vec<String> = wanted.iter().map(|(schema, index)| format!("{schema}.{}", index.table)).collect();
    let asks = async |sql: &mut PgConnection| {
        sqlx::query_scalar::<_, i64>(MISSING).bind(indexes).bind(tables).fetch_all(sql).await
    };
    for ordinal in pg::ask(pool, ANSWER_BOUND, asks).await? {
        let at = usize::try_from(ordinal - 1).ok();
        let Some((schema, index)) = at.and_then(|at| wanted.get(at)) else { continue };
        tracing::info!(schema, index = index.name, "a read model has a new index: making it");
        match make(pool, schema, index).await {
            Err(error) if is_refusal(&error) => {
                tracing::warn!(%error, schema, index = index.name, "an index cannot be made; queries may be slow");
            }
            made => made?,
        }
    }
    Ok(())
}

async fn make(pool: &PgPool, schema: &str, index: &'static Index) -> Result<(), sqlx::Error> {
    pg::tx_within(pool, schema, pg::WHOLE_TABLES, move |sql| {
        Box::pin(async move {
            // Another replica may be making it, for as long as that takes.
            sqlx::query("set local lock_timeout = 0").execute(&mut *sql).await?;
            sqlx::query("select pg_advisory_xact_lock($1)").bind(ONE_BY_ONE).execute(&mut *sql).await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(index.ddl())).execute(sql).await.map(|_| ())
        })
    })
    .await
}
