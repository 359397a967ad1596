//! `bench hot-stream`: real `ReserveStock` commands that all succeed, all on one item, beside the same commands spread
//! over many. One stream is one decision after the other; pipelining keeps it from being one sync after the other.

use std::sync::Arc;

use anyhow::Context;
use command_service::provider;
use command_service::{CommandBus, CommandMeta};
use domain::ids::{OrderId, ReservationId, StockId};
use domain::quantity::Quantity;
use domain::{Command, ids, stock};
use event_store::{EventStore, SqliteOptions, SqliteStore};
use service_kit::{Clock, Tasks};

use super::machine::Used;
use super::report::{Floor, Row, per_second};
use super::{Found, Options, clients, clock};

/// The spread load's items: more than clients, so that they seldom meet.
const SPREAD: usize = 1_024;
/// The hot stream as a share of the spread load. Source: the first floors.
const FLOOR: f64 = 0.5;
/// Pieces of one receipt: the most that one command may receive.
const PIECES: i64 = 1_000_000;
/// Receipts of each case, over all its items: more pieces than a run reserves, even of a minute at 200 k/s.
const RECEIPTS: usize = 16;

/// Measures.
///
/// # Errors
/// If a reservation is refused.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let spread = case(options, "spread", SPREAD).await?;
    let hot = case(options, "hot", 1).await?;
    let share = hot.value / spread.value;
    let spread_per_second = spread.value;
    let rows = vec![
        spread,
        hot.limit(spread_per_second),
        Row::new("hot-stream", "hot as a share of spread", "×", share).floor(Floor::AtLeast(FLOOR)),
    ];
    let note = format!(
        "hot-stream: {} clients, one ReserveStock each on its way, through the command bus; limit: the same over {SPREAD} items",
        options.clients
    );
    Ok(Found { rows, notes: vec![note] })
}

async fn case(options: &Options, name: &'static str, items: usize) -> anyhow::Result<Row> {
    let folder = options.folder(&format!("hot-stream-{name}"))?;
    let store = SqliteStore::open(&folder, SqliteOptions::default())?;
    let (tasks, (wake, _queue)) = (Tasks::new(), provider::channel());
    let log = Arc::clone(&store) as Arc<dyn EventStore>;
    let bus = CommandBus::new(log, Clock::system(), tasks.clone(), wake);
    let receipts = items.max(RECEIPTS);
    for receipt in 0..receipts {
        let item = receipt % items;
        let receive = stock::ReceiveStock { item: item_id(item)?, quantity: Quantity::new(PIECES)? };
        send(&bus, item, stock::Command::ReceiveStock(receive), &format!("receive {receipt}")).await?;
    }
    let progress = clock(&format!("ReserveStock, {name}"), options.duration);
    let before = Used::by("self");
    let reserving = bus.clone();
    let act = move |client: usize, n: u64| {
        let bus = reserving.clone();
        async move {
            let item = (client + usize::try_from(n)? * 61) % items; // 61 and 1 024 have no common divisor.
            let order_id = OrderId(ids::derive(&["bench-order", &client.to_string(), &n.to_string()]));
            let reservation_id = ReservationId::derive(order_id, &item_id(item)?, 0);
            let reserve = stock::ReserveStock { reservation_id, order_id, quantity: Quantity::new(1)? };
            send(&bus, item, stock::Command::ReserveStock(reserve), &format!("reserve {client} {n}")).await
        }
    };
    let (latencies, wall) = clients::run(options.clients, options.duration, act).await?;
    let used = Used::since(before, Used::by("self"));
    progress.finish_and_clear();
    let events = store.stats().await?.events - receipts as u64;
    anyhow::ensure!(events == latencies.len(), "{} were answered, the log has {events} reservations", latencies.len());
    tasks.shut_down(std::time::Duration::from_secs(2)).await;
    store.close().await;
    let case = if items == 1 { "one item".to_owned() } else { format!("{items} items") };
    Ok(Row::new("hot-stream", case, "reserves/s", per_second(latencies.len(), wall)).latencies(&latencies).used(used))
}

fn item_id(item: usize) -> anyhow::Result<StockId> {
    Ok(format!("BENCH-{item:04}@main").parse()?)
}

async fn send(bus: &CommandBus, item: usize, command: stock::Command, name: &str) -> anyhow::Result<()> {
    let id = ids::derive(&["bench-command", name]);
    let command = Command::Stock { id: item_id(item)?, command };
    let reply = bus.send(command, CommandMeta::machine(id, id, id, "saga:bench")).await.context(name.to_owned())?;
    anyhow::ensure!(reply.changed, "{name} changed nothing");
    Ok(())
}
