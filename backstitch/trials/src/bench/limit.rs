//! The bare limits: what the engines beneath us do with the same bytes when nothing of ours stands between. This file
//! uses none of our crates, so that nobody can make the limit slower by making our code slower; the house test checks it.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use rusqlite::{Connection, TransactionBehavior};
use sqlx::PgPool;

/// What a bare engine did.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// Rows, events or requests a second.
    pub per_second: f64,
    /// How many it did.
    pub count: u64,
    /// Processor seconds are not taken apart here; this is the wall.
    pub wall: Duration,
}

fn bare(count: u64, wall: Duration) -> Bare {
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let per_second = count as f64 / wall.as_secs_f64();
    Bare { per_second, count, wall }
}

/// SQLite's own batched durable insert: one thread, one prepared statement, `batch` rows of `body` a transaction, each
/// transaction synced (WAL, `synchronous=FULL`), for `duration`. The table has its integer key and nothing else.
///
/// # Errors
/// What SQLite says.
pub fn sqlite_insert(folder: &Path, body: &[u8], batch: usize, duration: Duration) -> rusqlite::Result<Bare> {
    let mut connection = Connection::open(folder.join("limit.db"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch("create table events (position integer primary key, body blob not null) strict")?;
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < duration {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("insert into events (body) values (?1)")?;
            for _ in 0..batch {
                insert.execute([body])?;
                count += 1;
            }
        }
        transaction.commit()?;
    }
    Ok(bare(count, begin.elapsed()))
}

/// A bare axum that reads the whole body and answers 201 with `answer`; it parses, keeps and decides nothing.
pub fn axum_router(path: &str, answer: Bytes) -> Router {
    let reply = move |body: Bytes| {
        let answer = answer.clone();
        async move { answered(&body, answer) }
    };
    Router::new().route(path, post(reply))
}

fn answered(body: &Bytes, answer: Bytes) -> Response {
    if body.is_empty() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (StatusCode::CREATED, [json], answer).into_response()
}

/// Rows of the bare table, the width of an order's row in the read model.
const PG_TABLE: &str = "create table bare_orders (id uuid primary key, number text not null, customer_id uuid not null, \
    status text not null, currency text not null, total bigint not null, lines jsonb not null, \
    placed_at timestamptz not null, stream_version bigint not null, global_position bigint not null)";

const PG_UPSERT: &str = "insert into bare_orders select id, number, id, status, 'EUR', total, lines::jsonb, \
    to_timestamp(position), version, position \
    from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[]) \
      as rows (id, number, status, total, lines, version, position) \
    on conflict (id) do update set (status, total, stream_version, global_position) \
      = (excluded.status, excluded.total, excluded.stream_version, excluded.global_position)";

/// Postgres's own multi-row upsert: `rows` rows in statements of `batch`, one transaction each, as a projector would
/// write them if folding cost nothing. Every row is written `versions` times, so that updates are among them.
///
/// # Errors
/// What Postgres says.
pub async fn postgres_upsert(
    pool: &PgPool,
    rows: u64,
    batch: usize,
    versions: i64,
    lines: &str,
) -> Result<Bare, sqlx::Error> {
    sqlx::query("drop table if exists bare_orders").execute(pool).await?;
    sqlx::query(PG_TABLE).execute(pool).await?;
    let begin = Instant::now();
    let mut count = 0;
    let mut first = 0_u64;
    while first < rows {
        let ids: Vec<u64> = (first..rows.min(first + batch as u64)).collect();
        for version in 0..versions {
            upsert_batch(pool, &ids, version, lines).await?;
            count += ids.len() as u64;
        }
        first += batch as u64;
    }
    let done = bare(count, begin.elapsed());
    sqlx::query("drop table bare_orders").execute(pool).await?;
    Ok(done)
}

async fn upsert_batch(pool: &PgPool, rows: &[u64], version: i64, lines: &str) -> Result<(), sqlx::Error> {
    let signed = |row: &u64| i64::try_from(*row).unwrap_or(i64::MAX);
    let ids: Vec<uuid::Uuid> = rows.iter().map(|row| uuid::Uuid::from_u128(u128::from(*row) << 64)).collect();
    let numbers: Vec<String> = rows.iter().map(|row| format!("{row:012}")).collect();
    let statuses: Vec<&str> = rows.iter().map(|_| if version == 0 { "pending" } else { "confirmed" }).collect();
    let totals: Vec<i64> = rows.iter().map(|row| 1_000 + signed(row)).collect();
    let bodies: Vec<&str> = rows.iter().map(|_| lines).collect();
    let versions: Vec<i64> = rows.iter().map(|_| version).collect();
    let positions: Vec<i64> = rows.iter().map(signed).collect();
    sqlx::query(PG_UPSERT)
        .bind(ids)
        .bind(numbers)
        .bind(statuses)
        .bind(totals)
        .bind(bodies)
        .bind(versions)
        .bind(positions)
        .execute(pool)
        .await?;
    Ok(())
}
