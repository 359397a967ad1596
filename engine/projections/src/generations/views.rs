//! The schema `live`: a view over each table of the live generations, and the views that join them. Readers look
//! tables up there and nowhere else, so that a read model's next generation takes over in one transaction.
//!
//! The views over tables are plain selections: Postgres puts the table in their place when it plans, so that plans are
//! those of the tables.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::pg;
use sqlx::{PgConnection, PgPool};

use super::generation::{Asked, Generation, Stage, known};
use crate::read_model::{ReadModel, ReadModels};

/// The schema in which readers look tables up.
pub const LIVE: &str = "live";

/// How long a switch waits for queries that are running; queries that come after it wait as long.
pub(crate) const LOCK_TIMEOUT: &str = "set local lock_timeout = '200ms'";
/// Between two tries to switch: the queries that came meanwhile are answered.
pub(crate) const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Batches wait here until the views are switched, so that both generations stand still at one position.
const STAND_STILL: &str = "lock table backstitch.projection_checkpoints in share row exclusive mode";

const GIVE_WAY: &str = "
update backstitch.generations set state = case state when 'live' then 'previous' else 'retiring' end
where projection = $1 and generation <> $2 and (state = 'live' or (state = 'previous' and $3))";

const GO_LIVE: &str = "
update backstitch.generations set state = 'live', request_key = coalesce($3, request_key),
    actor = coalesce($4, actor), reason = coalesce($5, reason)
where projection = $1 and generation = $2";

const SHAPE: &str = "select obj_description(to_regnamespace('live'), 'pg_namespace')";

/// Makes the views anew where they are not those of this program.
pub(crate) async fn prepare(
    sql: &mut PgConnection,
    models: &ReadModels,
    generations: &[Generation],
) -> Result<(), sqlx::Error> {
    let live: Vec<&Generation> = generations.iter().filter(|generation| generation.stage == Stage::Live).collect();
    let shape = models.shape_of_views();
    let found: Option<String> = sqlx::query_scalar(SHAPE).fetch_one(&mut *sql).await?;
    if found.as_ref() == Some(&shape) && all_there(sql, models).await? {
        return Ok(());
    }
    let mut made = format!("drop schema if exists {LIVE} cascade; create schema {LIVE}; ");
    live.iter().for_each(|generation| made.push_str(&over(&generation.model, &generation.schema)));
    made.push_str(&marks(live.iter().map(|generation| (&generation.model, &*generation.schema))));
    let views = models.views();
    made.push_str(&format!("set local search_path to {LIVE}; {views}; comment on schema {LIVE} is '{shape}'"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(sql).await.map(|_| ())
}

/// Dropping a table drops the views over it: whether all are there.
async fn all_there(sql: &mut PgConnection, models: &ReadModels) -> Result<bool, sqlx::Error> {
    let wanted: Vec<String> =
        models.all().iter().flat_map(|model| model.tables).map(|table| format!("{LIVE}.{table}")).collect();
    sqlx::query_scalar("select bool_and(to_regclass(name) is not null) from unnest($1::text[]) as wanted(name)")
        .bind(wanted)
        .fetch_one(sql)
        .await
}

/// Lets the views over a read model's tables show those of `schema`.
pub(crate) fn over(model: &ReadModel, schema: &str) -> String {
    let view = |table: &&str| format!("create or replace view {LIVE}.{table} as select * from {schema}.{table}; ");
    model.tables.iter().map(view).collect()
}

/// Lets the view over the marks show those of the live generations; nothing where no read model keeps marks.
pub(crate) fn marks<'g>(live: impl Iterator<Item = (&'g ReadModel, &'g str)>) -> String {
    let own = |(model, schema): (&ReadModel, &str)| {
        format!("select * from {schema}.applied where projection = '{}'", model.name)
    };
    let parts: Vec<String> = live.filter(|(model, _)| model.marks).map(own).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!("create or replace view {LIVE}.applied as {}; ", parts.join(" union all ")),
    }
}

/// What became of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switched {
    /// Answers come from the other generation.
    Done,
    /// The generations are not at one position.
    Behind,
    /// Queries or a batch held it up for too long.
    Busy,
}

/// Lets answers come from generation `to`, in one transaction: queries see the one or the other. The live one stays as the
/// previous one; where `to` was rebuilt, the previous one before it is retired.
pub(crate) async fn switch(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    to: &Generation,
    asked: Option<Asked>,
) -> Result<Switched, sqlx::Error> {
    let (models, model, slice) = (Arc::clone(models), to.model, to.slice());
    let done = pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            sqlx::query(LOCK_TIMEOUT).execute(&mut *sql).await?;
            sqlx::query(STAND_STILL).execute(&mut *sql).await?;
            let known = known(sql, &models).await?;
            let live = known.iter().find(|found| found.model.name == model.name && found.stage == Stage::Live);
            let to = known.iter().find(|found| found.slice() == slice && found.stage.is_fed());
            let (Some(live), Some(to)) = (live, to) else { return Ok(Switched::Behind) };
            if live.positions != to.positions {
                return Ok(Switched::Behind);
            }
            let rebuilt = to.stage == Stage::Ready;
            sqlx::query(GIVE_WAY).bind(model.name).bind(to.number).bind(rebuilt).execute(&mut *sql).await?;
            let go = sqlx::query(GO_LIVE).bind(model.name).bind(to.number);
            let go = go.bind(asked.as_ref().map(|asked| asked.key.clone()));
            let go = go.bind(asked.as_ref().map(|asked| asked.actor.clone()));
            go.bind(asked.and_then(|asked| asked.reason)).execute(&mut *sql).await?;
            let lives = known.iter().filter(|found| found.stage == Stage::Live && found.model.name != model.name);
            let mut views = over(&model, &to.schema);
            views.push_str(&marks(lives.chain([to]).map(|found| (&found.model, &*found.schema))));
            sqlx::raw_sql(sqlx::AssertSqlSafe(views)).execute(sql).await?;
            Ok(Switched::Done)
        })
    })
    .await;
    match done {
        Err(error) if is_lock_timeout(&error) => Ok(Switched::Busy),
        done => done,
    }
}

/// Whether a lock was not to be had in time (`lock_not_available`).
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}
