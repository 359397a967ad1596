//! `bench saga`: orders of two items carried by `order_fulfilment` up to `OrderConfirmed`, so many in flight; placed
//! over HTTP, counted by reading the log. Read models are off, the provider answers at once, every event is durable.

use std::sync::Arc;
use std::time::Duration;

use service_kit::Tasks;
use tokio::sync::Semaphore;

use super::lives::{self, Follower, Run};
use super::load::Plan;
use super::report::{Floor, Row};
use super::{Found, Options, clock, orders, shop};

/// Sagas a second on two cores. Source: the first floors.
const FLOOR: f64 = 1_000.0;
/// Connections of the generator; fewer than orders in flight, since placing takes a fraction of an order's life.
const CONNECTIONS: usize = 64;
/// Until the last orders are confirmed after the load ends: they are as many as are in flight.
const DRAIN: Duration = Duration::from_secs(60);

/// Measures.
///
/// # Errors
/// If the shop cannot be started, refuses an order, or leaves one behind.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let shop = shop::start(options, "saga", shop::Parts::Sagas).await?;
    orders::stock_up(shop.address).await?;
    let store = shop.store();
    let (from, bytes) = (*store.head().borrow(), store.stats().await?.bytes);
    let (gate, tasks) = (Arc::new(Semaphore::new(options.clients)), Tasks::new());
    let follower = Follower::start(Arc::clone(&store), Arc::clone(&gate), &tasks).await?;
    let connections = CONNECTIONS.min(options.clients);
    let (address, duration) = (shop.address, options.duration);
    let plan = Plan { address, first_client: 0, connections, duration, write: orders::place, gate: Some(gate) };
    let progress = clock("order_fulfilment up to OrderConfirmed", options.duration);
    let Run { load, per_second, used } = lives::run(plan, &follower, progress).await?;
    follower.until(load.done, DRAIN).await?;
    let told = follower.told();
    let weight = lives::weigh(store.as_ref(), from, bytes, told.placed).await?;
    tasks.shut_down(Duration::from_secs(1)).await;
    shop.stop().await;
    let case = format!("order_fulfilment up to OrderConfirmed, two items, {} in flight", options.clients);
    let rows = vec![
        Row::new("saga", case, "sagas/s", per_second)
            .latencies(&told.latencies)
            .used(used)
            .floor(Floor::AtLeast(FLOOR)),
        Row::new("saga", "events a saga", "events", weight.events),
        Row::new("saga", "bytes of data a saga", "bytes", weight.data_bytes),
        Row::new("saga", "bytes on disk a saga", "bytes", weight.disk_bytes),
    ];
    let note = format!(
        "saga: {} orders placed and confirmed; events and bytes are of the whole life up to the wait for the warehouse; \
         the generator took {:.1} s of processor; read models off, provider answers at once",
        told.confirmed,
        load.generator_cpu.as_secs_f64()
    );
    Ok(Found { rows, notes: vec![note] })
}
