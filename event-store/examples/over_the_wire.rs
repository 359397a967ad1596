//! How fast the served log is for one process that uses it over the wire, on this machine, client and server together:
//! single appends one at a time and 64 at a time, each durable before its answer, and catching up with what was written.
//!
//! `cargo run --release -p event-store --example over_the_wire -- [seconds]`

#![allow(clippy::unwrap_used, reason = "a measurement that fails measures nothing")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::conformance::{append, stream};
use event_store::serve::{ServeOptions, Server};
use event_store::{Delivery, EventStore, Expected, Filter, KurrentStore, Position, SqliteOptions, SqliteStore};
use tokio::task::JoinSet;

fn main() {
    let seconds = std::env::args().nth(1).map_or(3, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    let server = tokio::runtime::Runtime::new().unwrap();
    let serving =
        server.block_on(Server::bind(log, ServeOptions::on("127.0.0.1:0".parse().unwrap()).unwrap())).unwrap();
    let url = serving.connection_string();
    server.spawn(serving.run(std::future::pending()));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = KurrentStore::connect(&url).await.unwrap();
        for writers in [1, 64] {
            appends(&store, writers, Duration::from_secs(seconds)).await;
        }
        catch_up(&store).await;
    });
    server.shutdown_background();
}

/// Appends one event at a time from each of so many writers, each to streams of its own.
async fn appends(store: &Arc<KurrentStore>, writers: u64, time: Duration) {
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            for number in 0_u64.. {
                if begun.elapsed() >= time {
                    break;
                }
                let of = stream(&format!("order-{writers}-{writer}-{}", number / 20));
                let new = append(&of, Expected::at((number % 20).checked_sub(1)), number % 20, 1);
                let asked = Instant::now();
                store.append(new).await.unwrap().durable().await.unwrap();
                times.push(asked.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{writers:>3} at a time: {rate:>8.0} appends/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

/// Follows everything from the beginning to the end.
async fn catch_up(store: &KurrentStore) {
    let end = *store.head().borrow();
    let begun = Instant::now();
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    let (mut seen, mut count) = (Position::START, 0);
    while seen < end {
        if let Delivery::Events { events, up_to } = subscription.next().await.unwrap().unwrap() {
            (seen, count) = (up_to, count + events.len());
        }
    }
    println!("catching up: {:>8.0} events/s ({count} events)", count as f64 / begun.elapsed().as_secs_f64());
}
