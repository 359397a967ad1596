//! `bench everything`: orders over HTTP with sagas and all read models on, for a minute in which no backlog grows; then
//! a second start on what was left.
//!
//! The load is admitted as fast as orders are confirmed and the read models keep up: what is measured is what the shop
//! can sustain, not how long a queue it can build.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use event_store::EventStore;
use parking_lot::Mutex;
use service_kit::Tasks;
use tokio::sync::Semaphore;

use super::lives::{self, Follower, Run};
use super::load::Plan;
use super::report::{Floor, Row};
use super::shop::{self, Parts};
use super::{Found, Options, clock, orders};
use crate::demo::client::{Client, PATIENCE};

/// Orders a second, seconds of a second start, MB resident. Source: the first floors.
const FLOOR_ORDERS: f64 = 500.0;
const FLOOR_START_S: f64 = 1.0;
const FLOOR_RSS_MB: f64 = 500.0;
/// Connections of the generator.
const CONNECTIONS: usize = 64;
/// Events that the slowest read model may be behind before new orders wait: half a second of them at the floor.
const LAG_MAX: u64 = 10_000;
/// How often the read models' backlog is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Until all that is on its way is through after the load ends.
const DRAIN: Duration = Duration::from_secs(60);

/// Measures.
///
/// # Errors
/// If the shop cannot be started, refuses an order, or leaves one behind.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let shop = shop::start(options, "everything", Parts::Everything).await?;
    orders::stock_up(shop.address).await?;
    let store = shop.store();
    let (gate, tasks) = (Arc::new(Semaphore::new(0)), Tasks::new());
    let admitted = Arc::new(Semaphore::new(options.clients));
    let follower = Follower::start(Arc::clone(&store), Arc::clone(&admitted), &tasks).await?;
    let lags = admit(&shop.url(), Arc::clone(&admitted), Arc::clone(&gate), &store, &tasks)?;
    let (address, duration) = (shop.address, options.duration);
    let plan =
        Plan { address, first_client: 0, connections: CONNECTIONS, duration, write: orders::place, gate: Some(gate) };
    let progress = clock("everything on", options.duration);
    let Run { load, per_second, used } = lives::run(plan, &follower, progress).await?;
    follower.until(load.done, DRAIN).await?;
    let told = follower.told();
    tasks.shut_down(Duration::from_secs(1)).await;
    let events = store.stats().await?.events;
    drop(store);
    shop.stop().await;
    let starts = second_start(options).await?;
    let (middle, late) = lags.thirds();
    let case = format!("orders to confirmed, sagas and read models on, {} in flight", options.clients);
    let mut rows = vec![
        Row::new("everything", case, "orders/s", per_second)
            .latencies(&told.latencies)
            .used(used)
            .floor(Floor::AtLeast(FLOOR_ORDERS)),
        // Within what is admitted a backlog wavers; growing means that it goes on rising once the run is under way.
        Row::new("everything", "read models behind, last third of the run", "events", late)
            .limit(middle)
            .floor(Floor::Under(middle + LAG_MAX as f64 / 2.0)),
        Row::new("everything", "most memory resident", "MB", used.rss_mb).floor(Floor::Under(FLOOR_RSS_MB)),
    ];
    rows.extend(starts);
    let note = format!(
        "everything: {} orders in {:.0} s, {events} events; limit of the backlog: the middle third's; the generator took \
         {:.1} s of processor, Postgres's is not in cpu s; memory is this process with the generator, without Postgres",
        told.confirmed,
        load.wall.as_secs_f64(),
        load.generator_cpu.as_secs_f64()
    );
    Ok(Found { rows, notes: vec![note] })
}

/// What the read models were behind, look by look.
#[derive(Debug, Clone, Default)]
struct Lags(Arc<Mutex<Vec<u64>>>);

impl Lags {
    fn add(&self, lag: u64) {
        self.0.lock().push(lag);
    }

    /// The mean of the middle third and of the last one; in the first the backlog comes to what is admitted.
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn thirds(&self) -> (f64, f64) {
        let lags = self.0.lock();
        let third = (lags.len() / 3).max(1);
        let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len().max(1) as f64;
        let last = lags.len().saturating_sub(third);
        (mean(&lags[last.saturating_sub(third)..last]), mean(&lags[last..]))
    }
}

/// Passes permits on while the read models keep up, and notes how far they are behind.
fn admit(
    url: &str,
    from: Arc<Semaphore>,
    to: Arc<Semaphore>,
    store: &Arc<dyn EventStore>,
    tasks: &Tasks,
) -> anyhow::Result<Lags> {
    let (lags, keeps_up) = (Lags::default(), Arc::new(AtomicBool::new(true)));
    let (noted, told, stop) = (lags.clone(), Arc::clone(&keeps_up), tasks.stopping());
    let (client, head) = (Client::new(url, PATIENCE)?, store.head());
    tasks.spawn("bench backlog", async move {
        while !stop.is_cancelled() {
            match slowest(&client).await {
                Ok(position) => {
                    let lag = head.borrow().0.saturating_sub(position);
                    noted.add(lag);
                    told.store(lag <= LAG_MAX, Ordering::Relaxed);
                }
                Err(error) => tracing::error!(%error, "the backlog cannot be seen"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let stop = tasks.stopping();
    tasks.spawn("bench admission", async move {
        while !stop.is_cancelled() {
            if !keeps_up.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            tokio::select! {
                permit = from.acquire() => match permit {
                    Ok(permit) => {
                        permit.forget();
                        to.add_permits(1);
                    }
                    Err(_) => return,
                },
                () = stop.cancelled() => return,
            }
        }
    });
    Ok(lags)
}

/// The position of the read model that is furthest behind.
async fn slowest(client: &Client) -> anyhow::Result<u64> {
    let answer = client.get("/v1/projections").await?.good()?;
    let items = answer.body["items"].as_array().context("a list of projections")?;
    let position = |item: &serde_json::Value| {
        let position = &item["position"];
        position.as_u64().or_else(|| position.as_str()?.parse().ok())
    };
    items
        .iter()
        .map(|item| position(item).context("a projection's position"))
        .try_fold(u64::MAX, |least, position| Ok(least.min(position?)))
}

/// Starts the shop again on what the run left: until commands are taken, and until the read models answer.
async fn second_start(options: &Options) -> anyhow::Result<Vec<Row>> {
    let begin = Instant::now();
    let shop = shop::opened(options, "everything", Parts::Everything).await?;
    let commands = begin.elapsed().as_secs_f64();
    shop.up().await?;
    let everything = begin.elapsed().as_secs_f64();
    shop.stop().await;
    let floor = Floor::Under(FLOOR_START_S);
    Ok(vec![
        Row::new("everything", "second start, until commands are taken", "s", commands).floor(floor),
        Row::new("everything", "second start, until queries are answered", "s", everything).floor(floor),
    ])
}
