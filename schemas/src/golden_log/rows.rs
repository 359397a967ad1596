//! The facts of the read models' rows: a log is imported, followed by the real runner into a real Postgres, and asked.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use event_store::{EventStore, SqliteOptions, SqliteStore};
use projection_service::Config;
use serde_json::Value;
use service_kit::{Clock, Tasks};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

/// What the read models may take for a log of some thousand events; it ends a run that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The facts of each table: named columns, without positions, without what is said in words.
const FACTS: &[(&str, &str)] = &[
    (
        "orders",
        "select to_jsonb(t) from (select id, number, customer_id, status, held_reason, currency, subtotal, discount,
         tax, shipping, total, item_count, reason, shipment_id from live.orders) t order by id",
    ),
    (
        "order_lines",
        "select to_jsonb(t) from (select order_id, line, sku, location, name, quantity, unit_price, net,
         discount_share, tax_share, currency from live.order_lines) t order by order_id, line",
    ),
    (
        "payments",
        "select to_jsonb(t) from (select id, order_id, attempt_group, state, outcome_unknown, currency, amount,
         authorized, captured, refunded, voided, failure_code from live.payments) t order by id",
    ),
    (
        "payments_ledger",
        "select to_jsonb(t) from (select entry_id, payment_id, order_id, kind, state, amount, currency, request_id
         from live.payments_ledger) t order by entry_id",
    ),
    (
        "shipments",
        "select to_jsonb(t) from (select id, order_id, status, lines, reason from live.shipments) t order by id",
    ),
    (
        "stock_levels",
        "select to_jsonb(t) from (select sku, location, on_hand, reserved, committed, available, received, adjusted,
         shipped, restocked from live.stock_levels) t order by sku, location",
    ),
    (
        "reservations",
        "select to_jsonb(t) from (select reservation_id, order_id, sku, location, quantity, state, reason
         from live.reservations) t order by reservation_id",
    ),
    (
        "products",
        "select to_jsonb(t) from (select sku, name, price, currency, status from live.products) t order by sku",
    ),
    (
        "saga_view",
        "select to_jsonb(t) from (select saga_id, type, definition_version, order_id, state, step, reason,
         handed_over_to from live.saga_view) t order by saga_id",
    ),
    (
        "order_timeline",
        "select to_jsonb(t) from (select order_id, event_id, stream, version, event_type, actor
         from live.order_timeline) t order by order_id, stream, version",
    ),
    (
        "sales_by_day",
        "select to_jsonb(t) from (select day, currency, orders, units, gross, discounts, tax, shipping, captured,
         refunded, cancelled from live.sales_by_day) t order by day, currency",
    ),
];

/// The facts of all tables after the export in `file`, made in the empty database at `database`.
pub(super) async fn of(file: &Path, database: &str) -> Result<Vec<(&'static str, Vec<Value>)>> {
    let folder = tempfile::tempdir().context("cannot make a folder for the log")?;
    let input = BufReader::new(File::open(file).with_context(|| format!("cannot open {}", file.display()))?);
    event_store::sqlite::import(input, folder.path(), &mut |_, _| {}).context("the export cannot be imported")?;
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).context("the log cannot be opened")?;
    let (tasks, head) = (Tasks::new(), *store.head().borrow());
    let (_keep, url) = watch::channel(Some(database.to_owned()));
    let store: Arc<dyn EventStore> = store;
    let handle = projection_service::start(store, url, Clock::system(), tasks.clone(), &Config::default());
    let reached = handle.progress.all_reached(head, PATIENCE).await;
    let said = format!("{:?}", handle.progress.statuses());
    tasks.shut_down(PATIENCE).await;
    ensure!(reached, "the read models did not come to position {head}: {said}");
    let mut sql = PgConnection::connect(database).await.context("the database does not answer")?;
    let mut tables = Vec::new();
    for (table, facts) in FACTS {
        let rows = sqlx::query_scalar(*facts).fetch_all(&mut sql).await;
        tables.push((*table, rows.with_context(|| format!("the rows of {table} cannot be read"))?));
    }
    Ok(tables)
}
