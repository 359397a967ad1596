//! Two generations of a read model, row by row, at one position.
//!
//! *Invariant:* both are read in one snapshot in which their checkpoints are the same, partition by partition: the replica
//! that feeds a partition writes both in one transaction a batch, so that a difference never depends on the moment of the
//! comparison.

use std::sync::Arc;

use engine_runtime::pg;
use event_store::Position;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::comparison::{Comparison, Counts, Difference};
use super::generation::{Generation, known};
use crate::read_model::ReadModels;

/// How many differing rows are kept to be shown: a screen full. All are counted.
const SHOWN: i64 = 20;

const KEY: &str = "
select a.attname::text from pg_index i
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
where i.indrelid = to_regclass($1) and i.indisprimary
order by array_position(i.indkey::int2[], a.attnum)";

/// Compares; `None`: they are not at one position, or one of them is gone.
///
/// # Errors
/// What Postgres says.
pub(crate) async fn run(
    pool: &PgPool,
    models: &Arc<ReadModels>,
    live: &Generation,
    rebuilt: &Generation,
) -> Result<Option<Comparison>, sqlx::Error> {
    let (models, live, rebuilt) = (Arc::clone(models), live.clone(), rebuilt.clone());
    pg::snapshot(pool, pg::WHOLE_TABLES, move |sql| {
        Box::pin(async move {
            // Writers look rows up by their keys only; here all of them are read.
            sqlx::query("set local enable_seqscan = on").execute(&mut *sql).await?;
            let known = known(sql, &models).await?;
            let found = |of: &Generation| known.iter().find(|found| found.slice() == of.slice());
            match (found(&live), found(&rebuilt)) {
                (Some(one), Some(other)) if one.positions == other.positions => {
                    compare(sql, &live, &rebuilt, one.position()).await.map(Some)
                }
                (Some(_) | None, Some(_) | None) => Ok(None),
            }
        })
    })
    .await
}

async fn compare(
    sql: &mut PgConnection,
    live: &Generation,
    rebuilt: &Generation,
    position: Position,
) -> Result<Comparison, sqlx::Error> {
    let mut found = Comparison { position: position.0, ..Comparison::default() };
    let marks = live.model.marks.then_some("applied");
    for table in live.model.tables.iter().copied().chain(marks) {
        let both = Both::of(sql, table, live, rebuilt).await?;
        let counts = both.count(sql).await?;
        let differences = counts.differing + counts.missing + counts.extra;
        found.differences += differences;
        let room = SHOWN - i64::try_from(found.first.len()).unwrap_or(SHOWN);
        if differences > 0 && room > 0 {
            found.first.extend(both.first(sql, room).await?);
        }
        found.tables.push(counts);
    }
    Ok(found)
}

/// A row, where there is one.
type Row = Option<Json<Value>>;

/// A table of both generations, joined by its key.
struct Both {
    table: String,
    key: Vec<String>,
    /// `from l full join r on …`. Names cannot be bound: they are those of our tables, schemas and columns.
    from: String,
}

impl Both {
    async fn of(
        sql: &mut PgConnection,
        table: &str,
        live: &Generation,
        rebuilt: &Generation,
    ) -> Result<Self, sqlx::Error> {
        let name = format!("{}.{table}", live.schema);
        let key: Vec<String> = sqlx::query_scalar(KEY).bind(name).fetch_all(sql).await?;
        let rows = |of: &Generation| match table {
            "applied" => format!("(select * from {}.applied where projection = '{}')", of.schema, of.model.name),
            _ => format!("{}.{table}", of.schema),
        };
        let on: Vec<String> = key.iter().map(|column| format!("l.{column} = r.{column}")).collect();
        let from = format!("from {} l full join {} r on {}", rows(live), rows(rebuilt), on.join(" and "));
        Ok(Self { table: table.to_owned(), key, from })
    }

    /// A column that no row of either is without.
    fn first_of_key(&self) -> &str {
        self.key.first().map_or("stream", String::as_str)
    }

    async fn count(&self, sql: &mut PgConnection) -> Result<Counts, sqlx::Error> {
        let (k, from) = (self.first_of_key(), &self.from);
        let text = format!(
            "select count(l.{k}), count(r.{k}),
                count(*) filter (where l.{k} is not null and r.{k} is not null and row(l.*) is distinct from row(r.*)),
                count(*) filter (where r.{k} is null), count(*) filter (where l.{k} is null) {from}"
        );
        let (live, rebuilt, differing, missing, extra) =
            sqlx::query_as(AssertSqlSafe(text)).persistent(false).fetch_one(sql).await?;
        Ok(Counts { table: self.table.clone(), live, rebuilt, differing, missing, extra })
    }

    async fn first(&self, sql: &mut PgConnection, most: i64) -> Result<Vec<Difference>, sqlx::Error> {
        let (k, from) = (self.first_of_key(), &self.from);
        let keys: Vec<String> = self.key.iter().map(|c| format!("coalesce(l.{c}, r.{c})")).collect();
        let text = format!(
            "select case when l.{k} is not null then to_jsonb(l) end, case when r.{k} is not null then to_jsonb(r) end
             {from} where row(l.*) is distinct from row(r.*) order by {} limit {most}",
            keys.join(", ")
        );
        let rows: Vec<(Row, Row)> = sqlx::query_as(AssertSqlSafe(text)).persistent(false).fetch_all(sql).await?;
        Ok(rows.into_iter().flat_map(|(live, rebuilt)| self.cells(live, rebuilt)).collect())
    }

    /// What differs in a row.
    fn cells(&self, live: Row, rebuilt: Row) -> Vec<Difference> {
        let (live, rebuilt) = (live.map(|Json(row)| row), rebuilt.map(|Json(row)| row));
        let one = live.as_ref().or(rebuilt.as_ref()).cloned().unwrap_or_default();
        let key: Value = self.key.iter().map(|column| (column.clone(), one[column].clone())).collect();
        let difference = |column: Option<String>, live, rebuilt| Difference {
            table: self.table.clone(),
            key: key.clone(),
            column,
            live,
            rebuilt,
        };
        match (live, rebuilt) {
            (Some(Value::Object(live)), Some(Value::Object(rebuilt))) => live
                .into_iter()
                .filter(|(column, value)| rebuilt.get(column) != Some(value))
                .map(|(column, value)| {
                    let other = rebuilt.get(&column).cloned();
                    difference(Some(column), Some(value), other)
                })
                .collect(),
            (live, rebuilt) => vec![difference(None, live, rebuilt)],
        }
    }
}
