//! Clients within the process: each does the next thing as soon as its last is durable.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use service_kit::Tasks;
use tokio::sync::mpsc;

use super::report::Latencies;

/// Runs `clients` clients for `duration`: each calls `act` with its number and a count, again and again.
///
/// # Errors
/// The first failure of any client: a bench that is refused measures nothing.
pub async fn run<F, A>(clients: usize, duration: Duration, act: F) -> anyhow::Result<(Latencies, Duration)>
where
    F: Fn(usize, u64) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let tasks = Tasks::new();
    let (results, mut collected) = mpsc::channel(clients); // One result a client: nobody waits for room.
    let begin = Instant::now();
    for client in 0..clients {
        let (act, results) = (act.clone(), results.clone());
        tasks.spawn("bench client", async move {
            let mut latencies = Latencies::default();
            let mut outcome = Ok(());
            let mut n = 0;
            while begin.elapsed() < duration && outcome.is_ok() {
                let start = Instant::now();
                outcome = act(client, n).await;
                latencies.add(start.elapsed());
                n += 1;
            }
            let _ = results.send(outcome.map(|()| latencies)).await; // Nobody listens once one has failed.
        });
    }
    drop(results);
    let mut all = Vec::with_capacity(clients);
    for _ in 0..clients {
        all.push(collected.recv().await.context("a client panicked")??);
    }
    Ok((Latencies::of(all), begin.elapsed()))
}
