//! `bench cluster`: the same customers before one process, before a cluster with one replica of each service, and before
//! one with two, one after the other in the same run. Every setup is processes of its own, payment provider included.
//!
//! A customer places an order (POST → durable), asks for it at the position of its answer (event → row: in a cluster by
//! way of the relay and Kafka), and waits until its saga rests; then comes the next one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use serde_json::json;

use super::report::{Latencies, Row, per_second};
use super::{Found, Options, clock, orders};
use crate::cluster::{Cluster, Shape};
use crate::demo::server::Processes;

/// Seconds that a query may wait for a position, or for rest.
const WAIT: &str = "wait=30";

/// Not measured: connections are made, partitions looked up, tables met for the first time.
const WARM_UP: Duration = Duration::from_secs(3);
/// The number of a customer's first order that is measured.
const MEASURED_FROM: usize = 1_000_000;

/// Measures.
///
/// # Errors
/// If a setup does not start, refuses an order, or does not bring one to rest.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let program = std::env::current_exe().context("where this program lies")?;
    let mut rows = Vec::new();
    let one = {
        let mut shop = Processes::start(&program, &[]).await?;
        shop.server.answers("/health/ready").await?;
        let measured = measure(&shop.server.url, "one process", options).await?;
        shop.server.stop().await?;
        measured
    };
    rows.extend(one.rows("one process", None));
    for replicas in [1, 2] {
        let what = if replicas == 1 { "cluster, one replica of each" } else { "cluster, two replicas of each" };
        let measured = cluster(&program, replicas, what, options).await?;
        rows.extend(measured.rows(what, Some(&one)));
    }
    let note = format!(
        "cluster: {} customers, each one order after the other; limit: one process in the same run; all processes share \
         the cores with Kafka, Postgres and the customers",
        options.clients
    );
    Ok(Found { rows, notes: vec![note] })
}

/// What the customers of one setup saw.
struct Measured {
    wall: Duration,
    /// POST until it was answered: durable.
    durable: Latencies,
    /// From there until a query showed the row.
    row: Latencies,
    /// From the POST until the order's saga rested.
    rest: Latencies,
}

impl Measured {
    fn rows(&self, what: &str, beside: Option<&Self>) -> Vec<Row> {
        let rate = |measured: &Self| per_second(measured.rest.len(), measured.wall);
        let count = |latencies: &Latencies| per_second(latencies.len(), self.wall);
        let sagas = Row::new("cluster", format!("{what}: sagas to rest"), "sagas/s", rate(self)).latencies(&self.rest);
        vec![
            beside.map_or(sagas.clone(), |one| sagas.limit(rate(one))),
            Row::new("cluster", format!("{what}: POST → durable"), "orders/s", count(&self.durable))
                .latencies(&self.durable),
            Row::new("cluster", format!("{what}: event → row"), "orders/s", count(&self.row)).latencies(&self.row),
        ]
    }
}

async fn cluster(program: &Path, replicas: usize, what: &str, options: &Options) -> anyhow::Result<Measured> {
    let folder = options.folder(&format!("cluster-{replicas}"))?;
    let cluster = Cluster::plan(&folder, program, Shape { replicas, ..Shape::default() })?;
    let measured = async {
        cluster.up(|_| {}).await?;
        measure(&cluster.plan.url, what, options).await
    };
    let measured = measured.await;
    cluster.down().await;
    cluster.kill_all();
    measured
}

async fn measure(url: &str, what: &str, options: &Options) -> anyhow::Result<Measured> {
    let address: SocketAddr = url.trim_start_matches("http://").parse()?;
    orders::stock_up(address).await?;
    let progress = clock(what, options.duration);
    let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).tcp_nodelay(true).build()?;
    let base: Arc<str> = url.into();
    let all = async |from: usize, duration: Duration| {
        let until = Instant::now() + duration;
        let lives = (0..options.clients).map(|customer| customer_until(&http, &base, (customer, from), until));
        try_join_all(lives).await.context(what.to_owned())
    };
    all(0, WARM_UP).await?;
    let begun = Instant::now();
    let seen = all(MEASURED_FROM, options.duration).await?;
    let wall = begun.elapsed();
    progress.finish_and_clear();
    let (mut durable, mut row, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for (one, two, three) in seen {
        durable.push(one);
        row.push(two);
        rest.push(three);
    }
    Ok(Measured { wall, durable: Latencies::of(durable), row: Latencies::of(row), rest: Latencies::of(rest) })
}

async fn customer_until(
    http: &reqwest::Client,
    base: &str,
    (customer, from): (usize, usize),
    until: Instant,
) -> anyhow::Result<(Latencies, Latencies, Latencies)> {
    let (mut durable, mut row, mut rest) = (Latencies::default(), Latencies::default(), Latencies::default());
    let mut n = from;
    while Instant::now() < until {
        let begun = Instant::now();
        let (first, second) = ((customer + n) % orders::PRODUCTS, (customer + n + 1) % orders::PRODUCTS);
        let body = json!({
            "customer_id": format!("00000000-0000-4000-8000-{customer:012}"), "payment_method": "tok_approve",
            "lines": [{"sku": format!("BENCH-{first:03}"), "quantity": 1}, {"sku": format!("BENCH-{second:03}"), "quantity": 2}],
        });
        let key = format!("bench-cluster-{customer}-{n}");
        let placed =
            answered(http.post(format!("{base}/v1/orders")).header("idempotency-key", key).json(&body)).await?;
        let acknowledged = Instant::now();
        durable.add(acknowledged - begun);
        let position = placed.headers().get("x-commit-position").cloned().context("an answer without a position")?;
        let id = placed.json::<serde_json::Value>().await?["id"].as_str().context("an order without an id")?.to_owned();
        let asked = || http.get(format!("{base}/v1/orders/{id}")).header("prefer", WAIT);
        answered(asked().header("x-min-position", position.clone())).await?;
        row.add(acknowledged.elapsed());
        let rested = answered(asked().query(&[("until", "settled")]).header("x-min-position", position)).await?;
        if rested.json::<serde_json::Value>().await?["settled"] != true {
            bail!("order {id} did not come to rest");
        }
        rest.add(begun.elapsed());
        n += 1;
    }
    Ok((durable, row, rest))
}

async fn answered(request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
    let response = request.send().await?;
    if response.status().is_success() {
        return Ok(response);
    }
    bail!("refused with {}: {}", response.status(), response.text().await?)
}
