//! The tables of generations: made, found to be of another shape, dropped.
//!
//! The shape of each generation (the DDL of its tables and its fold's version) is kept as a fingerprint: where the program's
//! differs, that read model's generations are dropped and it is folded again from the log. Indexes are no part of it (`indexes`).
//! All are bound to one log, known by the id of its first event.

use std::sync::Arc;

use engine_runtime::pg;
use event_store::Position;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::generation::{Asked, Generation, Stage, known, stored};
use super::views;
use crate::dead_letters::table;
use crate::feeding::checkpoint;
use crate::projecting::changes::signed;
use crate::read_model::{ReadModel, ReadModels};

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

const MAKE: &str = "
insert into backstitch.generations (projection, generation, state, schema, shape, tables, log, accept_differences,
    until_position, request_key, requested_at, actor, reason)
values ($1, $2, $3, $4, $5, $6, (select log from backstitch.generations where log is not null limit 1), $7, $8, $9, $10,
    $11, $12)";

/// Makes tables with their indexes where there are none, or where they have another shape, and the views that readers use, for a feed of so
/// many partitions. Any number may do so at once.
///
/// # Errors
/// What Postgres says.
pub async fn prepare(pool: &PgPool, models: &Arc<ReadModels>, partitions: u32) -> Result<(), sqlx::Error> {
    let models = Arc::clone(models);
    pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *sql).await?;
            sqlx::raw_sql(BASE).execute(&mut *sql).await?;
            sqlx::raw_sql(checkpoint::DDL).execute(&mut *sql).await?;
            sqlx::raw_sql(table::DDL).execute(&mut *sql).await?;
            let (fit, other): (Vec<_>, Vec<_>) =
                stored(sql).await?.into_iter().partition(|stored| stored.fits(&models));
            if !other.is_empty() {
                sqlx::raw_sql("drop schema if exists live cascade").execute(&mut *sql).await?;
            }
            for old in other {
                tracing::warn!(old.projection, old.generation, "a read model has another shape: folding it again");
                let slice = (old.projection.as_str(), old.generation);
                drop_tables(sql, slice, &old.schema, &old.tables).await?;
            }
            let fit: Vec<Generation> = fit.into_iter().filter_map(|stored| stored.known(&models)).collect();
            for model in models.all() {
                let own = || fit.iter().filter(|generation| generation.model.name == model.name);
                if !own().any(|generation| generation.stage == Stage::Live) {
                    let number = own().map(|generation| generation.number).max().unwrap_or(0) + 1;
                    make(sql, &models, &New { number, ..New::live(*model) }).await?;
                }
            }
            checkpoint::divide(sql, partitions).await?;
            let known = known(sql, &models).await?;
            views::prepare(sql, &models, &known).await
        })
    })
    .await
}

/// A generation to be made.
#[derive(Debug)]
pub(crate) struct New {
    pub model: ReadModel,
    pub number: i32,
    pub stage: Stage,
    pub accept_differences: bool,
    pub until: Option<Position>,
    pub asked: Option<Asked>,
}

impl New {
    /// The first of a read model.
    fn live(model: ReadModel) -> Self {
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
pub(crate) async fn make(sql: &mut PgConnection, models: &ReadModels, new: &New) -> Result<(), sqlx::Error> {
    let schema = new.schema();
    // A schema's name cannot be bound; this one is made of our names and a number.
    let fresh = format!("create schema if not exists {schema}; set local search_path to {schema}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(fresh)).execute(&mut *sql).await?;
    for ddl in new.model.ddl() {
        sqlx::raw_sql(ddl).execute(&mut *sql).await?;
    }
    for index in new.model.indexes() {
        sqlx::raw_sql(sqlx::AssertSqlSafe(index.ddl())).execute(&mut *sql).await?;
    }
    sqlx::query(MAKE)
        .bind(new.model.name)
        .bind(new.number)
        .bind(new.stage.as_str())
        .bind(schema)
        .bind(models.shape(&new.model))
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
    table::forget(sql, projection, generation).await?;
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
