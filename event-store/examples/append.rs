//! How fast the embedded log appends, without anything above it: `cargo run --release -p event-store --example append`.
//!
//! 64 clients, each with streams of its own, one durable event of about 600 bytes at a time; then the same bytes
//! through SQLite alone, in batches of 64, which is the limit to compare with. (`backstitch bench append` is the
//! product's bench; this one builds in a minute and is for work on the log itself.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::conformance::event;
use event_store::{Append, Delivery, EventStore, Expected, Filter, Position, SqliteOptions, SqliteStore, StreamName};
use tokio::task::JoinSet;

const CLIENTS: u64 = 64;
const PAYLOAD: usize = 560;
const FOR: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir_in(".").expect("a folder to write to");
    let events_per_stream: u64 = std::env::args().nth(1).map_or(u64::MAX, |text| text.parse().expect("a number"));
    let store = SqliteStore::open(dir.path(), SqliteOptions::default()).expect("opens");
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let store = store.clone();
        clients.spawn(append_for(store, client, begin, events_per_stream));
    }
    let mut latencies: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    let elapsed = begin.elapsed();
    latencies.sort();
    let at = |permille: usize| latencies[latencies.len() * permille / 1000];
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    println!("append: {rate:.0} events/s, p50 {:?}, p99 {:?}, p999 {:?}", at(500), at(990), at(999));
    println!("cpu {:.2} s of {:.2} s", cpu_seconds(), elapsed.as_secs_f64());
    store.close().await;
    let begin = Instant::now();
    let again = SqliteStore::open(dir.path(), SqliteOptions::default()).expect("opens");
    println!("second start: {:?}", begin.elapsed());
    println!("{:?}", again.stats().await.expect("stats"));
    let begin = Instant::now();
    let mut subscription = again.subscribe(Position::START, Filter::default()).await.expect("subscribes");
    let mut read = 0;
    while let Some(Ok(Delivery::Events { events, .. })) = subscription.next().await {
        read += events.len();
    }
    println!("catch-up: {:.0} events/s", read as f64 / begin.elapsed().as_secs_f64());
    again.close().await;
    println!("bare SQLite, batches of 64: {:.0} events/s", bare(64));
    println!("bare SQLite, batches of 1024: {:.0} events/s", bare(1024));
}

async fn append_for(store: Arc<SqliteStore>, client: u64, begin: Instant, events_per_stream: u64) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut number = 0_u64;
    let mut of: StreamName = format!("bench-{client}-0").parse().expect("a name");
    let template = event(&of, 0, PAYLOAD);
    while begin.elapsed() < FOR {
        let version = number % events_per_stream;
        if version == 0 && number > 0 {
            of = format!("bench-{client}-{number}").parse().expect("a name");
        }
        let mut new = template.clone();
        new.id = uuid::Uuid::from_u64_pair(client, number);
        let append = Append { stream: of.clone(), expected: Expected::at(version.checked_sub(1)), events: vec![new] };
        let start = Instant::now();
        store.append(append).await.expect("queued").durable().await.expect("durable");
        latencies.push(start.elapsed());
        number += 1;
    }
    latencies
}

/// SQLite's own durable insert of as many bytes, with the same index on (stream, version), by one thread.
fn bare(batch: i64) -> f64 {
    let dir = tempfile::tempdir_in(".").expect("a folder to write to");
    let connection = rusqlite::Connection::open(dir.path().join("bare.db")).expect("opens");
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).expect("wal");
    connection
        .execute_batch(
            "pragma synchronous = full;
             create table events (position integer primary key, stream integer, version integer, data text, unique (stream, version));",
        )
        .expect("a table");
    let data = "x".repeat(PAYLOAD + 240);
    let begin = Instant::now();
    let mut position = 0_i64;
    while begin.elapsed() < FOR / 2 {
        let transaction = connection.unchecked_transaction().expect("begins");
        {
            let mut insert =
                transaction.prepare_cached("insert into events values (?1, ?2, ?3, ?4)").expect("a statement");
            for _ in 0..batch {
                position += 1;
                insert.execute((position, position % 64, position / 64, &data)).expect("inserts");
            }
        }
        transaction.commit().expect("commits");
    }
    position as f64 / begin.elapsed().as_secs_f64()
}

fn cpu_seconds() -> f64 {
    // SAFETY: `getrusage` writes the struct it is given a pointer to; all zeros is a valid one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
