//! A team of its own: writes an invoice for each order that is placed, in its own Postgres. The whole program.
//!
//! ```text
//! export BACKSTITCH__BUS__BROKERS=127.0.0.1:9092 DATABASE_URL=postgres://localhost/billing
//! cargo run -p event-bus --example invoices
//! ```
//!
//! Kill it at any moment and start it again, or start three of it: each order has one invoice. See docs/consuming-events.md.

use std::time::Duration;

use anyhow::Context as _;
use event_bus::consumer::Received;
use event_bus::{BusConfig, Consumer, HandlerError};
use service_kit::shutdown;
use sqlx::{PgConnection, PgPool};

/// What an invoice needs of `OrderPlaced` (`schemas/events/order/OrderPlaced.v1.json` has all of it).
#[derive(Debug, serde::Deserialize)]
struct OrderPlaced {
    number: String,
    totals: Totals,
}

#[derive(Debug, serde::Deserialize)]
struct Totals {
    total: Money,
}

/// In minor units: cents, yen.
#[derive(Debug, serde::Deserialize)]
struct Money {
    amount: i64,
    currency: String,
}

/// `[bus]` of `backstitch.toml`, or the environment.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Settings {
    bus: BusConfig,
}

/// There is no unique key on `order_number`, on purpose: that each order has one invoice is the consumer's doing.
const TABLE: &str = "create table if not exists invoices (
    id bigint generated always as identity primary key,
    order_number text not null, amount bigint not null, currency text not null)";

/// Writes the invoice on the connection it is given: in the transaction that also moves the consumer's offset.
async fn invoice(received: Received<OrderPlaced>, connection: &mut PgConnection) -> Result<(), HandlerError> {
    let Totals { total } = received.data.totals;
    if total.amount < 0 {
        // Not for trying again: after some attempts it is a dead letter, and the order's later events wait for a person.
        return Err(HandlerError::failed(format!("the total is {} {}", total.amount, total.currency)));
    }
    sqlx::query("insert into invoices (order_number, amount, currency) values ($1, $2, $3)")
        .bind(received.data.number)
        .bind(total.amount)
        .bind(total.currency)
        .execute(connection)
        .await?; // A database that is away is waited for; rows that it refuses are the event's fault.
    Ok(())
}

/// Consumes until it is told to stop.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let Settings { bus } = service_kit::config::load(service_kit::config::file(None).as_deref())?;
    let url = std::env::var("DATABASE_URL").context("set DATABASE_URL to the Postgres that has the invoices")?;
    let pool = PgPool::connect(&url).await.context("Postgres does not answer")?;
    sqlx::query(TABLE).execute(&pool).await?;

    let told_to_stop = shutdown::signalled()?;
    let consumer = Consumer::builder(&bus, "billing")
        .on("OrderPlaced", 1, |received, connection| Box::pin(invoice(received, connection)))
        .start(&pool)
        .await?;
    println!("consuming `{}`", bus.topic);
    told_to_stop.await;
    anyhow::ensure!(
        consumer.shut_down(Duration::from_secs(10)).await,
        "a handler hangs; its transaction is rolled back"
    );
    Ok(())
}
