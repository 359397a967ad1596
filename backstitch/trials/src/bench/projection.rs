//! `bench projection`: one read model (`orders`) catching up on a log that is already there, beside Postgres's own
//! multi-row upsert of as many rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::ids::{self, CustomerId, OrderId, ShipmentId};
use domain::money::{Currency, Money};
use domain::order::{self, Event, OrderLine, Totals};
use domain::quantity::Quantity;
use event_store::{Append, EventStore, Expected, NewEvent, SqliteOptions, SqliteStore, Ticket};
use service_kit::postgres::{PrivatePostgres, Settings};
use service_kit::{Clock, Tasks};
use tokio::sync::watch;

use super::append::metadata;
use super::machine::Used;
use super::report::{Floor, Row, per_second};
use super::{Found, Options, bar, limit};

/// Events a second on two cores. Source: the first floors.
const FLOOR: f64 = 40_000.0;
/// Events of an order's life in its own stream.
const LIFE: u64 = 5;
/// Orders written ahead; at the floor they take 10 s to read.
const ORDERS: u64 = 80_000;
/// Orders whose lives overlap in the log, as with so many in flight.
const IN_FLIGHT: u64 = 256;
/// Rows a statement of the bare upsert.
const BATCH: usize = 1_000;
/// How long catching up may take at most: a tenth of the floor.
const BOUND: Duration = Duration::from_secs(100);

/// Measures.
///
/// # Errors
/// If the log or Postgres cannot be used.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let store = SqliteStore::open(&options.folder("projection")?, SqliteOptions::default())?;
    fill(&store).await?;
    let postgres = PrivatePostgres::start(&options.folder("postgres")?, Settings::server()).await?;
    let url = postgres.database("bench").await?;
    let pool = sqlx::PgPool::connect(&url).await?;
    let lines = serde_json::to_string(&lines()?)?;
    let bare = limit::postgres_upsert(&pool, ORDERS, BATCH, i64::try_from(LIFE)?, &lines).await?;
    pool.close().await;
    let (sender, receiver) = watch::channel(Some(url));
    let tasks = Tasks::new();
    let config = projection_service::Config { only: vec!["orders".to_owned()] };
    let progress = bar("orders catches up", ORDERS * LIFE);
    let (before, begin) = (Used::by("self"), Instant::now());
    let log = Arc::clone(&store) as Arc<dyn EventStore>;
    let handle = projection_service::start(log, receiver, Clock::system(), tasks.clone(), &config);
    let head = *store.head().borrow();
    anyhow::ensure!(handle.progress.all_reached(head, BOUND).await, "`orders` did not catch up within {BOUND:?}");
    let wall = begin.elapsed();
    let used = Used::since(before, Used::by("self"));
    progress.finish_and_clear();
    tasks.shut_down(Duration::from_secs(5)).await;
    let rows = rows_written(&postgres).await?;
    anyhow::ensure!(rows == i64::try_from(ORDERS)?, "{ORDERS} orders are in the log, {rows} in the read model");
    drop(sender);
    store.close().await;
    postgres.stop().await;
    let row = Row::new("projection", "orders, catching up", "events/s", per_second(ORDERS * LIFE, wall));
    let row = row.limit(bare.per_second).used(used).floor(Floor::AtLeast(FLOOR));
    let note = format!(
        "projection: {ORDERS} orders of {LIFE} events, {IN_FLIGHT} lives overlapping; Postgres's own processor time is \
         not in cpu s; limit: Postgres's multi-row upsert of as many rows, {BATCH} a statement and transaction"
    );
    Ok(Found { rows: vec![row], notes: vec![note] })
}

async fn rows_written(postgres: &PrivatePostgres) -> anyhow::Result<i64> {
    let pool = sqlx::PgPool::connect(&postgres.database("bench").await?).await?;
    let completed = "select count(*) from live.orders where status = 'completed'";
    let rows = sqlx::query_scalar(completed).fetch_one(&pool).await.context("the read model's rows")?;
    pool.close().await;
    Ok(rows)
}

/// Writes the lives of [`ORDERS`] orders, [`IN_FLIGHT`] of them interleaved.
async fn fill(store: &SqliteStore) -> anyhow::Result<()> {
    let progress = bar("writing a log", ORDERS * LIFE);
    let mut first = 0;
    while first < ORDERS {
        let window = first..ORDERS.min(first + IN_FLIGHT);
        let mut last: Option<Ticket> = None;
        for step in 0..LIFE {
            for order in window.clone() {
                last = Some(store.append(append(order, step)?).await?);
                progress.inc(1);
            }
        }
        if let Some(ticket) = last {
            ticket.durable().await?; // What was queued before it is durable then.
        }
        first += IN_FLIGHT;
    }
    progress.finish_and_clear();
    Ok(())
}

fn append(order: u64, step: u64) -> anyhow::Result<Append> {
    let id = OrderId(ids::derive(&["bench-order", &order.to_string()]));
    let event = match step {
        0 => Event::OrderPlaced(placed(id)?),
        1 => Event::OrderConfirmed(order::OrderConfirmed {}),
        2 => Event::OrderDispatchAllowed(order::OrderDispatchAllowed {}),
        3 => Event::OrderShipped(order::OrderShipped { shipment_id: ShipmentId::derive(id, 0) }),
        _ => Event::OrderCompleted(order::OrderCompleted {}),
    };
    let encoded = event.encode();
    let command_id = ids::derive(&["bench-command", &order.to_string(), &step.to_string()]);
    let metadata = metadata(id.to_string(), command_id, Clock::system().now());
    let event = NewEvent {
        id: ids::event_id(command_id, 0, encoded.data.get()),
        event_type: encoded.event_type.into(),
        schema_version: encoded.schema_version,
        data: encoded.data,
        metadata: Arc::new(metadata),
    };
    let expected = Expected::at(step.checked_sub(1));
    Ok(Append { stream: id.stream().parse()?, expected, events: vec![event] })
}

fn placed(order_id: OrderId) -> anyhow::Result<order::OrderPlaced> {
    let eur = |amount| Money::new(amount, Currency::EUR);
    let totals =
        Totals { subtotal: eur(3_000), discount: eur(0), tax: eur(663), shipping: eur(490), total: eur(4_153) };
    Ok(order::OrderPlaced {
        order_id,
        number: order_id.number(),
        customer_id: CustomerId(ids::derive(&["bench-customer"])),
        lines: lines()?,
        totals,
        payment_method: "tok_approve".to_owned(),
        tags: Vec::new(),
        placed_at: Clock::system().now(),
    })
}

fn lines() -> anyhow::Result<Vec<OrderLine>> {
    let eur = |amount| Money::new(amount, Currency::EUR);
    let line = |line: u32, quantity: i64| -> anyhow::Result<OrderLine> {
        Ok(OrderLine {
            line,
            item: format!("BENCH-{line:03}@main").parse()?,
            name: format!("Bench product {line}"),
            quantity: Quantity::new(quantity)?,
            unit_price: eur(1_000),
            net: eur(1_000 * quantity),
            discount_share: eur(0),
            tax_share: eur(190 * quantity),
        })
    };
    Ok(vec![line(1, 1)?, line(2, 2)?])
}
