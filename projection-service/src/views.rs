//! The schema `live`: a view over each table of the live generations, and the views that join them. Readers look
//! tables up there and nowhere else, so that a read model's next generation takes over in one transaction.
//!
//! The views over tables are plain selections: Postgres puts the table in their place when it plans, so that plans are
//! those of the tables.

use sqlx::PgConnection;

use crate::generations::{Generation, Stage};
use crate::projections::{ALL, ReadModel, VIEWS};

/// The schema in which readers look tables up.
pub const LIVE: &str = "live";

const SHAPE: &str = "select obj_description(to_regnamespace('live'), 'pg_namespace')";

/// Makes the views anew where they are not those of this program.
pub(crate) async fn prepare(sql: &mut PgConnection, generations: &[Generation]) -> Result<(), sqlx::Error> {
    let live: Vec<&Generation> = generations.iter().filter(|generation| generation.stage == Stage::Live).collect();
    let shape = shape();
    let found: Option<String> = sqlx::query_scalar(SHAPE).fetch_one(&mut *sql).await?;
    if found.as_ref() == Some(&shape) && all_there(sql).await? {
        return Ok(());
    }
    let mut made = format!("drop schema if exists {LIVE} cascade; create schema {LIVE}; ");
    live.iter().for_each(|generation| made.push_str(&over(generation.model, &generation.schema)));
    made.push_str(&marks(live.iter().map(|generation| (generation.model, &*generation.schema))));
    made.push_str(&format!("set local search_path to {LIVE}; {VIEWS}; comment on schema {LIVE} is '{shape}'"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(sql).await.map(|_| ())
}

/// Dropping a table drops the views over it: whether all are there.
async fn all_there(sql: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let wanted: Vec<String> =
        ALL.iter().flat_map(|model| model.tables).map(|table| format!("{LIVE}.{table}")).collect();
    sqlx::query_scalar("select bool_and(to_regclass(name) is not null) from unnest($1::text[]) as wanted(name)")
        .bind(wanted)
        .fetch_one(sql)
        .await
}

/// A fingerprint of all views: that of the tables, which they show column by column, and of the joins.
fn shape() -> String {
    let shapes: String = ALL.iter().map(ReadModel::shape).collect();
    domain::ids::derive(&["live-views", &shapes, VIEWS]).simple().to_string()
}

/// Lets the views over a read model's tables show those of `schema`.
pub(crate) fn over(model: &ReadModel, schema: &str) -> String {
    let view = |table: &&str| format!("create or replace view {LIVE}.{table} as select * from {schema}.{table}; ");
    model.tables.iter().map(view).collect()
}

/// Lets the view over the marks show those of the live generations.
pub(crate) fn marks<'g>(live: impl Iterator<Item = (&'g ReadModel, &'g str)>) -> String {
    let own = |(model, schema): (&ReadModel, &str)| {
        format!("select * from {schema}.applied where projection = '{}'", model.name)
    };
    let parts: Vec<String> = live.filter(|(model, _)| model.marks).map(own).collect();
    format!("create or replace view {LIVE}.applied as {}; ", parts.join(" union all "))
}
