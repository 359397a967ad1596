//! Puts stories into a log, and deliveries of its events into fresh read models.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_store::{Direction, EventStore, Filter, Position, RecordedEvent, StreamName};
use projection_engine::dead_letters::Parked;
use projection_engine::projecting::projection;
use projection_service::{generations, projections};
use service_kit::pg;
use service_kit::postgres::testing::fresh_database;
use sqlx::PgPool;

use super::stories::{Dice, Story};
use super::{Log, rows};

/// All tables.
pub const TABLES: &[&str] = &[
    "orders",
    "order_lines",
    "payments",
    "payments_ledger",
    "shipments",
    "stock_levels",
    "reservations",
    "products",
    "saga_view",
    "order_timeline",
    "sales_by_day",
    "applied",
];

/// Puts stories into a log, their streams interleaved by the dice. What a provider said of a payment bears its name.
pub async fn tell(log: &Log, dice: &mut Dice, stories: Vec<Story>) {
    let named = |story: Story| (story.stream.parse().unwrap(), story.key, (0..).zip(story.events));
    let mut stories: Vec<(StreamName, String, _)> = stories.into_iter().map(named).collect();
    let (mut seconds, mut last) = (0, None);
    while !stories.is_empty() {
        let index = usize::try_from(dice.roll(stories.len() as u64)).unwrap();
        let (stream, key, events) = &mut stories[index];
        let Some((version, event)) = events.next() else {
            drop(stories.swap_remove(index));
            continue;
        };
        let said = stream.category() == "payment" && !event.event_type.ends_with("Requested");
        let actor = if said { "provider:simulated" } else { "dev" };
        last = Some(log.queue(stream, (key.as_str(), actor), version, vec![event], seconds).await);
        seconds += 1;
    }
    // One that is durable is durable with all before it.
    last.expect("a story has an event").durable().await.unwrap();
}

/// All events of a log.
pub async fn all_events(log: &Log) -> Vec<Arc<RecordedEvent>> {
    let mut all: Vec<Arc<RecordedEvent>> = Vec::new();
    loop {
        let after = all.last().map_or(Position::START, |event| event.position);
        let page = log.store.read_all(after, Direction::Forward, 10_000, &Filter::default()).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.into_iter().map(Arc::new));
    }
}

/// The rows of all tables.
pub async fn all_rows(url: &str) -> BTreeMap<&'static str, Vec<serde_json::Value>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        all.insert(*table, rows(url, table).await);
    }
    all
}

/// Applies deliveries, in pieces, to fresh read models over a fresh database; read models are made anew between some
/// of the pieces, as after a restart.
pub async fn apply_in_pieces(log: &Log, dice: &mut Dice, deliveries: &[Arc<RecordedEvent>]) -> String {
    let url = fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    generations::prepare(&pool, &projections::read_models(), 1).await.unwrap();
    let mut members = projections::all();
    let mut rest = deliveries;
    while !rest.is_empty() {
        let most = [3, 100, 5_000][usize::try_from(dice.roll(3)).unwrap()];
        let size = (usize::try_from(dice.roll(most)).unwrap() + 1).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        let (piece, store, mut parked) = (piece.to_vec(), log.store.clone(), Parked::default());
        members = pg::tx(&pool, "read_1", move |sql| {
            Box::pin(async move {
                for member in &mut members {
                    let taken: Vec<_> = piece.iter().filter(|event| member.takes(&event.stream)).cloned().collect();
                    let applied = projection::apply(&mut **member, sql, &*store, &taken, &mut parked).await?;
                    assert_eq!(applied.waiting, 0, "{:?}", parked.letters());
                }
                Ok(members)
            })
        })
        .await
        .unwrap();
        if dice.roll(4) == 0 {
            members = projections::all();
        }
    }
    pool.close().await;
    url
}
