//! `bench commands`: `POST /v1/orders` over TCP, each answer durable, beside a bare axum that reads the same body and
//! answers as many bytes. Projections and sagas are off: this is the write path alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use service_kit::Tasks;
use tokio::net::TcpListener;

use super::load::{self, Load};
use super::machine::Used;
use super::report::{Floor, Row, per_second};
use super::{Found, Options, clock, limit, orders, shop};

/// Commands a second on two cores. Source: the first floors.
const FLOOR: f64 = 8_000.0;
/// Bytes of the body that `POST /v1/orders` answers with, measured; the bare axum answers as many.
const ANSWER_BYTES: usize = 420;

/// Measures.
///
/// # Errors
/// If the shop cannot be started, or refuses an order.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let bare = bare(options).await?;
    let shop = shop::start(options, "commands", shop::Parts::WritePath).await?;
    orders::stock_up(shop.address).await?;
    let already = shop.store().stats().await?.events;
    let progress = clock("commands over HTTP", options.duration);
    let before = Used::by("self");
    let load = load(shop.address, options.clients, options.duration, "commands").await?;
    let used = Used::since(before, Used::by("self")).without(load.generator_cpu);
    progress.finish_and_clear();
    let events = shop.store().stats().await?.events - already;
    anyhow::ensure!(events >= load.done, "{} orders were answered, the log has {events} events of them", load.done);
    shop.stop().await;
    let case = format!("POST /v1/orders, {} connections, projections and sagas off", options.clients);
    let row = Row::new("commands", case, "orders/s", per_second(load.done, load.wall))
        .limit(bare)
        .latencies(&load.latencies)
        .used(used)
        .floor(Floor::AtLeast(FLOOR));
    let note = format!(
        "commands: two items an order; the generator took {:.1} s of processor beside it; limit: a bare axum with the \
         same requests and answers of as many bytes, nothing parsed, nothing kept",
        load.generator_cpu.as_secs_f64()
    );
    Ok(Found { rows: vec![row], notes: vec![note] })
}

/// Requests a second of a bare axum.
async fn bare(options: &Options) -> anyhow::Result<f64> {
    let progress = clock("a bare axum", options.duration);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = limit::axum_router("/v1/orders", vec![b' '; ANSWER_BYTES].into());
    let tasks = Tasks::new();
    let stop = tasks.stopping();
    tasks.spawn("bare axum", async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the bare axum failed");
        }
    });
    let load = load(address, options.clients, options.duration, "the bare axum").await?;
    tasks.shut_down(Duration::from_secs(1)).await;
    progress.finish_and_clear();
    Ok(per_second(load.done, load.wall))
}

async fn load(address: SocketAddr, clients: usize, duration: Duration, what: &'static str) -> anyhow::Result<Load> {
    let plan =
        load::Plan { address, first_client: 0, connections: clients, duration, write: orders::place, gate: None };
    let run = tokio::task::spawn_blocking(move || load::run(plan));
    run.await.context("the generator panicked")?.context(what)
}
