//! `bench store`: the served log over loopback, through our own client: 64 appends at a time, one alone, and a subscriber
//! that catches up; beside the same appends in process, in the same run. Client and server share the machine's cores.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use event_store::kurrentdb::KurrentStore;
use event_store::serve::{ServeOptions, Server};
use event_store::{Append, Delivery, EventStore, Expected, Filter, Position, SqliteOptions, SqliteStore};
use service_kit::Tasks;

use super::append::Template;
use super::machine::Used;
use super::report::{Floor, Row, per_second};
use super::{Found, Options, bar, clients, clock};

/// Single appends a second, 64 at a time. Source: the floor; its goal is 15 000.
const FLOOR_APPENDS: f64 = 8_000.0;
/// Half of all lone appends take less, in ms. Source: the issue.
const CEILING_ALONE_MS: f64 = 1.0;
/// Events a second of a subscriber that catches up. Source: the issue.
const FLOOR_CATCH_UP: f64 = 200_000.0;
/// Events that the subscriber finds: more than the log keeps in memory, some seconds of work.
const EVENTS: u64 = 500_000;
/// Events of one append while the log is filled.
const FILLED_AT_ONCE: u64 = 1_000;

/// Measures.
///
/// # Errors
/// If the log cannot be opened, served or written.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let in_process = appends(options, "in process", options.clients, None).await?;
    let limit = in_process.value;
    found.rows.push(in_process);
    let served = Served::start(options, "store-served").await?;
    let at_once = appends(options, "over the protocol", options.clients, Some(&served)).await?;
    found.rows.push(at_once.limit(limit).floor(Floor::AtLeast(FLOOR_APPENDS)));
    let alone = appends(options, "over the protocol", 1, Some(&served)).await?;
    let p50 = alone.p50_ms.context("there was an append")?;
    found.rows.push(alone);
    found.rows.push(Row::new("store", "half of all lone appends", "ms", p50).floor(Floor::Under(CEILING_ALONE_MS)));
    served.stop().await;
    found.rows.push(catch_up(options).await?.floor(Floor::AtLeast(FLOOR_CATCH_UP)));
    found.notes.push(format!(
        "store: client and server in one process, joined by loopback; an append is one event; limit: the same {} clients on \
         the log itself; the subscriber reads {EVENTS} events that are not in the log's memory",
        options.clients
    ));
    Ok(found)
}

/// A log that is served, and a client of it.
struct Served {
    log: Arc<SqliteStore>,
    client: Arc<KurrentStore>,
    tasks: Tasks,
}

impl Served {
    async fn start(options: &Options, folder: &str) -> anyhow::Result<Self> {
        let log = SqliteStore::open(&options.folder(folder)?, SqliteOptions::default())?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(log.clone(), ServeOptions::on(listen)?).await?;
        let (url, tasks) = (server.connection_string(), Tasks::new());
        let stop = tasks.stopping();
        tasks.spawn("served log", async move {
            if let Err(error) = server.run(stop.cancelled_owned()).await {
                tracing::error!(%error, "the log is no longer served");
            }
        });
        let client = KurrentStore::connect(&url).await?;
        Ok(Self { log, client, tasks })
    }

    async fn stop(self) {
        self.client.close();
        self.tasks.shut_down(std::time::Duration::from_secs(5)).await;
        self.log.close().await;
    }
}

/// Each client appends to streams of its own, the next when the last is durable: to the log itself, or where it is served.
async fn appends(options: &Options, how: &str, number: usize, served: Option<&Served>) -> anyhow::Result<Row> {
    let progress = clock(&format!("append, {number} {how}"), options.duration);
    let own = match served {
        Some(_) => None,
        None => Some(SqliteStore::open(&options.folder("store-in-process")?, SqliteOptions::default())?),
    };
    let store: Arc<dyn EventStore> = match (served, &own) {
        (Some(served), _) => served.client.clone(),
        (None, Some(own)) => own.clone(),
        (None, None) => anyhow::bail!("there is a log"),
    };
    let template = Arc::new(Template::new()?);
    let before = store.stats().await?.events;
    let act = {
        let (store, template) = (store.clone(), template);
        move |client: usize, n: u64| {
            let (store, template) = (store.clone(), template.clone());
            async move {
                // A second case on one log has streams of its own.
                let append = template.append(client, number as u64, n)?;
                store.append(append).await?.durable().await?;
                Ok(())
            }
        }
    };
    let used = Used::by("self");
    let (latencies, wall) = clients::run(number, options.duration, act).await?;
    let used = Used::since(used, Used::by("self"));
    let events = store.stats().await?.events - before;
    anyhow::ensure!(events == latencies.len(), "{} appends were answered, the log has {events}", latencies.len());
    if let Some(own) = own {
        own.close().await;
    }
    progress.finish_and_clear();
    let case = format!("{number} client{} {how}", if number == 1 { "" } else { "s" });
    Ok(Row::new("store", case, "appends/s", per_second(latencies.len(), wall)).latencies(&latencies).used(used))
}

async fn catch_up(options: &Options) -> anyhow::Result<Row> {
    let served = Served::start(options, "store-catch-up").await?;
    let progress = bar("filling the log", EVENTS);
    let template = Template::new()?;
    for first in (0..EVENTS).step_by(usize::try_from(FILLED_AT_ONCE)?) {
        let one = template.append(0, 0, first)?;
        let mut events = one.events;
        for version in first + 1..first + FILLED_AT_ONCE {
            events.append(&mut template.append(0, 0, version)?.events);
        }
        let append = Append { stream: one.stream, expected: Expected::at(first.checked_sub(1)), events };
        served.log.append(append).await?.durable().await?;
        progress.set_position(first);
    }
    progress.finish_and_clear();
    let used = Used::by("self");
    let begin = Instant::now();
    let mut subscription = served.client.subscribe(Position::START, Filter::default()).await?;
    let mut count = 0;
    while count < EVENTS {
        match subscription.next().await.context("the subscription ended")?? {
            Delivery::Events { events, .. } => count += events.len() as u64,
            Delivery::CaughtUp => {}
        }
    }
    let wall = begin.elapsed();
    let used = Used::since(used, Used::by("self"));
    drop(subscription);
    served.stop().await;
    Ok(Row::new("store", "a subscriber that catches up", "events/s", per_second(count, wall)).used(used))
}
