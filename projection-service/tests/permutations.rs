//! The proof that order does not matter: whatever is done to the deliveries of a real log, the rows of every table are
//! those of a plain fold in memory, and those of a straight run.
//!
//! Thousands of streams that really differ (`support/lives.rs`), over real Postgres; delivered permuted across streams,
//! permuted altogether, twice, again from earlier on, with holes, in any pieces, with restarts in between. That no
//! event is lost at the runner's own seams is in `live.rs` and `outage.rs`.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event_store::RecordedEvent;
use support::applying::{TABLES, all_events, all_rows, apply_in_pieces, tell};
use support::books::{Books, in_order};
use support::stories::Dice;
use support::{Log, Shop, lives};

type Deliveries = Vec<Arc<RecordedEvent>>;

/// Permuted across streams, each stream in its own order; some events twice in a row, some not delivered at all: the
/// last one of each stream is, and brings those before it. Now and then everything of a while ago comes again.
fn across_streams(dice: &mut Dice, events: &[Arc<RecordedEvent>]) -> Deliveries {
    let mut streams: BTreeMap<&str, Vec<&Arc<RecordedEvent>>> = BTreeMap::new();
    events.iter().for_each(|event| streams.entry(event.stream.as_str()).or_default().push(event));
    let mut streams: Vec<_> = streams.into_values().map(|stream| stream.into_iter().peekable()).collect();
    let mut deliveries = Vec::new();
    while !streams.is_empty() {
        let index = usize::try_from(dice.roll(streams.len() as u64)).unwrap();
        let Some(event) = streams[index].next() else {
            drop(streams.swap_remove(index));
            continue;
        };
        let last = streams[index].peek().is_none();
        let times = if last { 1 + dice.roll(2) } else { dice.roll(3) };
        (0..times).for_each(|_| deliveries.push(event.clone()));
        if dice.roll(500) == 0 {
            let from = deliveries.len().saturating_sub(usize::try_from(dice.roll(300)).unwrap());
            deliveries.extend_from_within(from..);
        }
    }
    deliveries
}

/// Permuted altogether, each event once or twice.
fn anyhow(dice: &mut Dice, events: &[Arc<RecordedEvent>]) -> Deliveries {
    let mut deliveries: Deliveries =
        events.iter().flat_map(|event| vec![event.clone(); 1 + dice.roll(2) as usize]).collect();
    for index in (1..deliveries.len()).rev() {
        deliveries.swap(index, usize::try_from(dice.roll(index as u64 + 1)).unwrap());
    }
    deliveries
}

/// What makes a thousand orders a thousand, not one told a thousand times.
fn assert_that_they_differ(events: &[Arc<RecordedEvent>], books: &Books, orders: usize) {
    let mut by_order: BTreeMap<&str, String> = BTreeMap::new();
    for event in events.iter().filter(|event| !["stock", "product"].contains(&event.stream.category())) {
        let story = by_order.entry(&event.metadata.partition_key).or_default();
        story.push_str(&format!("{} {}\n", event.stream.category(), event.event_type));
    }
    let distinct: BTreeSet<&String> = by_order.values().collect();
    assert_eq!(by_order.len(), orders);
    assert!(distinct.len() * 10 >= orders * 9, "only {} of {orders} orders differ", distinct.len());
    let seen: BTreeSet<&str> = events.iter().map(|event| &*event.event_type).collect();
    let missing: Vec<_> = lives::all_types().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no order brought {missing:?}");
    let all = |table: &str, column: &str, states: &[&str]| {
        let found = books.values(table, column);
        let lacking: Vec<_> = states.iter().filter(|state| !found.contains(**state)).collect();
        assert!(lacking.is_empty(), "{table}.{column} is never {lacking:?}");
    };
    let open = ["pending", "confirmed", "cancel_pending", "dispatching", "shipped"];
    all("orders", "status", &[&open[..], &["rejected", "cancelled", "completed"]].concat());
    let held = ["requested", "action_required", "authorized", "captured", "voided", "expired", "declined"];
    all("payments", "state", &[&held[..], &["refunded", "refund_failed", "succeeded_late"]].concat());
    all("shipments", "status", &["planned", "ready", "dispatched", "delivered", "lost", "cancelled"]);
    all("reservations", "state", &["reserved", "committed", "released", "expired", "shipped"]);
    let going = ["running", "waiting", "compensating", "needs_attention"];
    all("saga_view", "state", &[&going[..], &["completed", "compensated", "handed_over"]].concat());
}

/// Tells so many orders and compares every table after every kind of delivery.
async fn prove(seed: u64, orders: usize) {
    println!("seed {seed}, {orders} orders");
    let (log, mut dice) = (Log::new(), Dice(seed));
    let lived = lives::of_orders(&mut dice, orders as u64);
    tell(&log, &mut dice, lived).await;
    let events = all_events(&log).await;
    let books = Books::fold(&events);
    if orders >= 1_000 {
        assert_that_they_differ(&events, &books, orders);
    }
    assert_eq!(books.tables().chain(["applied"]).collect::<BTreeSet<_>>(), TABLES.iter().copied().collect());
    let mut straight: Option<BTreeMap<&str, Vec<serde_json::Value>>> = None;
    for (how, deliveries) in [
        ("straight", events.clone()),
        ("across streams", across_streams(&mut dice, &events)),
        ("anyhow", anyhow(&mut dice, &events)),
    ] {
        let url = apply_in_pieces(&log, &mut dice, &deliveries).await;
        let rows = all_rows(&url).await;
        for table in books.tables() {
            compare(&in_order(rows[table].clone()), &books.rows(table), &format!("{table}, {how}, seed {seed}"));
        }
        let first = straight.get_or_insert_with(|| rows.clone());
        assert_eq!(rows["applied"], first["applied"], "{how}, seed {seed}");
    }
    println!("{} events, seed {seed}: all tables as folded", events.len());
}

/// The first row that differs says more than a thousand rows.
#[track_caller]
fn compare(found: &[serde_json::Value], expected: &[serde_json::Value], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[tokio::test]
async fn a_thousand_orders_permuted_repeated_and_cut_give_the_rows_of_a_plain_fold() {
    prove(1, 1_000).await;
}

#[tokio::test]
async fn so_do_other_orders() {
    for seed in 2..6 {
        prove(seed, 60).await;
    }
}

#[tokio::test]
async fn the_last_event_of_each_stream_alone_brings_all_of_it() {
    let (log, mut dice) = (Log::new(), Dice(6));
    let lived = lives::of_orders(&mut dice, 60);
    tell(&log, &mut dice, lived).await;
    let events = all_events(&log).await;
    let last: BTreeMap<_, _> = events.iter().map(|event| (event.stream.as_str(), event.clone())).collect();
    let rows = all_rows(&apply_in_pieces(&log, &mut dice, &last.into_values().collect::<Vec<_>>()).await).await;
    let books = Books::fold(&events);
    books.tables().for_each(|table| compare(&in_order(rows[table].clone()), &books.rows(table), table));
}

#[tokio::test]
async fn the_runner_s_rows_are_those_of_the_plain_fold_too() {
    let (mut shop, mut dice) = (Shop::start().await, Dice(7));
    let lived = lives::of_orders(&mut dice, 60);
    tell(&shop.log, &mut dice, lived).await;
    shop = shop.restart().await; // Wherever it was by then.
    shop.caught_up().await;
    let (books, rows) = (Books::fold(&all_events(&shop.log).await), all_rows(&shop.url).await);
    books.tables().for_each(|table| compare(&in_order(rows[table].clone()), &books.rows(table), table));
}
