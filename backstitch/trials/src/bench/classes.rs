//! `bench classes`: what commands and reads of one row keep of their throughput while another class of requests is
//! saturated: lists, reads that wait for a position, subscribers.
//!
//! The measured clients are few, so that alone they do not fill the machine: what they lose is lost to the other class.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::load::{self, Flood, Load, Plan, Write};
use super::report::{Floor, Row, per_second};
use super::{Found, Options, clock, machine, orders, shop};

/// Connections of the clients whose throughput is measured.
const MEASURED: usize = 4;
/// The share of it that they must keep.
const KEPT: f64 = 0.8;
/// Orders are placed for so long before anything is measured, so that lists have pages to show.
const FILLING: Duration = Duration::from_secs(2);

/// What is measured.
const REQUESTS: [(&str, Write); 2] = [
    ("POST /v1/orders", orders::place),
    ("GET /v1/products/{sku}", |client, n, into| {
        let product = (client as u64 + n) % orders::PRODUCTS as u64;
        get(&format!("/v1/products/BENCH-{product:03}"), "", into);
    }),
];

/// What floods the shop, and over how many connections.
const FLOODS: [(&str, usize, Write); 3] = [
    ("lists", 64, |_, _, into| get("/v1/orders?limit=50", "", into)),
    ("reads that wait for a position", 512, |_, _, into| {
        get("/v1/products/BENCH-000", "x-min-position: 900000000000\r\nprefer: wait=1\r\n", into);
    }),
    ("subscribers", 512, |_, _, into| get("/v1/events?category=order", "accept: text/event-stream\r\n", into)),
];

/// Measures.
///
/// # Errors
/// If the shop cannot be started, refuses what is measured, or answers nobody of a flood.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let divided = machine::divide();
    let shop = shop::start(options, "classes", shop::Parts::Everything).await?;
    orders::stock_up(shop.address).await?;
    // Each run has clients of its own: their idempotency keys are new.
    let mut runs = (0..).step_by(MEASURED);
    let mut measure = |write: Write, duration: Duration| load(shop.address, runs.next().unwrap_or(0), write, duration);
    measure(orders::place, FILLING).await?;
    let mut rows = Vec::new();
    for (what, write) in REQUESTS {
        let progress = clock(what, options.duration * (2 * FLOODS.len() as u32));
        for (flooded_with, connections, request) in FLOODS {
            // Anew before each flood: the machine's speed changes within minutes.
            let alone = measure(write, options.duration).await?;
            let alone_per_second = per_second(alone.done, alone.wall);
            let case = format!("{what}, {MEASURED} connections, alone");
            rows.push(Row::new("classes", case, "requests/s", alone_per_second).latencies(&alone.latencies));
            let flood = Flood::begin(shop.address, connections, request)?;
            let beside = measure(write, options.duration).await;
            let answers = flood.end()?;
            let beside = beside.with_context(|| format!("{what}, while clients flood the shop with {flooded_with}"))?;
            let case = format!("{what}, beside {connections} connections of {flooded_with} ({answers} answers)");
            let row = Row::new("classes", case, "requests/s", per_second(beside.done, beside.wall));
            let floor = Floor::AtLeast(KEPT * alone_per_second);
            rows.push(row.limit(alone_per_second).latencies(&beside.latencies).floor(floor));
        }
        progress.finish_and_clear();
    }
    shop.stop().await;
    let cores = if divided {
        "all generators have the last processor, the server and its Postgres have the others"
    } else {
        "the generators share the processors with the server"
    };
    Ok(Found { rows, notes: vec![format!("classes: limit: the same clients alone; {cores}")] })
}

async fn load(address: SocketAddr, first_client: usize, write: Write, duration: Duration) -> anyhow::Result<Load> {
    let plan = Plan { address, first_client, connections: MEASURED, duration, write, gate: None };
    tokio::task::spawn_blocking(move || load::run(plan)).await.context("the generator panicked")?
}

fn get(path: &str, headers: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes());
}
