//! Several orchestrators over one log: each has some of the partitions, and whatever happens to one of them, or to who
//! has what, everything ends as it would have, and happens once.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use domain::ids::OrderId;
use domain::saga::SagaState;
use event_store::{Delivery, EventStore, Filter, Position};
use futures_util::future::join_all;
use service_kit::Clock;
use world::cluster::Fate;
use world::node::{Node, Town};
use world::running::order;

const PARTITIONS: u32 = 6;

/// Orders 1 to `count`, of which each fifth is declined.
async fn place(town: &Town, count: u128) -> Vec<OrderId> {
    let orders: Vec<OrderId> = (1..=count).map(order).collect();
    for (n, id) in (1..).zip(&orders) {
        town.place(*id, if n % 5 == 0 { "tok_decline" } else { "tok_approve" }).await;
    }
    orders
}

/// All orders as they must end, and nothing twice.
async fn assert_all_ended(town: &Town, orders: &[OrderId]) {
    let (ends, stock) = town.ends(orders).await;
    let (mut sent, mut rejected) = (0, 0);
    for (end, id) in ends.iter().zip(orders) {
        if end.saga == SagaState::Completed {
            sent += 1;
            assert_eq!((end.order, end.taken), (domain::order::Status::Completed, 200), "{id}: {end:?}");
        } else {
            rejected += 1;
            assert_eq!(end.saga, SagaState::Compensated, "{id}: {end:?}");
            assert_eq!((end.order, end.taken), (domain::order::Status::Rejected, 0), "{id}: {end:?}");
        }
    }
    assert_eq!((sent, rejected), (orders.len() - orders.len() / 5, orders.len() / 5));
    let left = 1000 - i64::try_from(sent).unwrap();
    assert_eq!(stock, [(left, 0, 0); 2]);
    let sum = i64::try_from(sent).unwrap() * 200;
    assert_eq!(town.booked(), BTreeMap::from([("held", (sent, sum)), ("taken", (sent, sum))]));
    town.assert_everything_happened_once().await;
}

async fn all_to_their_ends(town: &Town, orders: &[OrderId]) {
    join_all(orders.iter().map(|id| town.to_its_end(*id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orchestrators_share_the_partitions_and_every_saga_ends_once() {
    let town = Town::open(PARTITIONS, Clock::system()).await;
    let (one, other) = (town.healthy(), town.healthy());
    (0..3).for_each(|partition| one.assign(partition));
    (3..6).for_each(|partition| other.assign(partition));
    let orders = place(&town, 40).await;
    all_to_their_ends(&town, &orders).await;
    assert_all_ended(&town, &orders).await;
    let shares = [&one, &other].map(|node| node.sender.sent().len());
    assert!(shares.iter().all(|sent| *sent > 50), "both have worked: {shares:?}");
    one.close().await;
    other.close().await;
}

/// A shop whose orchestrator dies at a moment; `false` if it never came to that moment.
async fn dies_at(moment: usize) -> bool {
    let town = Town::open(1, Clock::system()).await;
    let one = town.node(Fate::stopping_at(moment));
    one.assign(0);
    let orders = [order(1), order(2)];
    town.place(orders[0], "tok_approve").await;
    town.place(orders[1], "tok_decline").await;
    let died = tokio::select! {
        () = all_to_their_ends(&town, &orders) => false,
        () = one.fate.stands_still() => true,
    };
    one.die();
    if died {
        let other = town.healthy();
        other.assign(0);
        all_to_their_ends(&town, &orders).await;
        other.close().await;
    }
    let (ends, stock) = town.ends(&orders).await;
    let sagas: Vec<SagaState> = ends.iter().map(|end| end.saga).collect();
    assert_eq!(sagas, [SagaState::Completed, SagaState::Compensated], "killed at moment {moment}");
    assert_eq!(stock, [(999, 0, 0); 2], "killed at moment {moment}");
    assert_eq!(town.booked(), BTreeMap::from([("held", (1, 200)), ("taken", (1, 200))]));
    town.assert_everything_happened_once().await;
    died
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_dies_at_any_moment_is_taken_over_and_all_ends_as_without() {
    let mut moment = 0;
    // Eight at a time: each waits for the disk most of its time.
    while join_all((moment..moment + 8).map(dies_at)).await.contains(&true) {
        moment += 8;
    }
    assert!(moment > 40, "it died at many moments: {moment}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_change_hands_under_load_lose_nothing_and_do_nothing_twice() {
    let town = Town::open(PARTITIONS, Clock::system()).await;
    let nodes = [town.healthy(), town.healthy()];
    nodes[0].assign_all();
    let orders: Vec<OrderId> = (1..=60).map(order).collect();
    let moved = AtomicUsize::new(0);
    let moves = async {
        // With every tenth event a partition goes to the other one.
        let mut log = town.store.subscribe(Position::START, Filter::default()).await.unwrap();
        let (mut events_seen, mut owner) = (0, [0_usize; PARTITIONS as usize]);
        while let Some(Ok(delivery)) = log.next().await {
            let Delivery::Events { events, .. } = delivery else { continue };
            events_seen += events.len();
            if events_seen >= 10 {
                events_seen = 0;
                let index = moved.fetch_add(1, Relaxed) % owner.len();
                let partition = u32::try_from(index).unwrap();
                nodes[owner[index]].revoke(partition).await;
                owner[index] = 1 - owner[index];
                nodes[owner[index]].assign(partition);
            }
        }
    };
    let load = async {
        let orders = place(&town, 60).await;
        all_to_their_ends(&town, &orders).await;
    };
    tokio::select! { () = load => {}, () = moves => {} }
    let moved = moved.load(Relaxed);
    assert!(moved >= 12, "each partition moved there and back: {moved}");
    assert_all_ended(&town, &orders).await;
    for node in nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_both_have_all_partitions_for_long_change_nothing_of_what_happens() {
    let town = Town::open(2, Clock::system()).await;
    let (one, other) = (town.healthy(), town.healthy());
    one.assign_all();
    other.assign_all();
    let orders = place(&town, 40).await;
    all_to_their_ends(&town, &orders).await;
    assert_all_ended(&town, &orders).await;
    let met = one.fate.conflicts.load(Relaxed) + other.fate.conflicts.load(Relaxed);
    assert!(met > orders.len(), "they met all the time: {met}");
    for node in [&one, &other] {
        // Nobody gave up meanwhile.
        let report = node.health.report();
        assert_eq!(report.dependencies["sagas"].detail.as_deref(), Some("runs partitions 0, 1"), "{report:?}");
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_comes_again_and_again_from_its_very_beginning_changes_nothing() {
    let town = Town::open(2, Clock::system()).await;
    let again = || {
        let mut node: Node = town.healthy();
        node.comes = world::cluster::Comes::AgainAndAgain;
        node.assign_all();
        node
    };
    let first = again();
    let orders = place(&town, 20).await;
    all_to_their_ends(&town, &orders).await;
    first.close().await;
    let end = *town.store.head().borrow();
    // Another one takes all of it in once more: nothing is sent, nothing is written.
    let second = again();
    let next = order(21);
    town.place(next, "tok_decline").await;
    town.to_its_end(next).await;
    second.close().await;
    let log = town.store.read_all(end, event_store::Direction::Forward, 1_000, &Filter::default()).await.unwrap();
    let foreign = log.iter().filter(|event| {
        let key = event.metadata.partition_key.as_str();
        key != next.to_string() && !event.stream.as_str().contains("@main")
    });
    assert_eq!(foreign.map(|event| event.stream.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
    let taken_in = second.handed_over.load(Relaxed);
    assert!(taken_in > usize::try_from(end.0).unwrap() / 2, "it was handed the whole log again: {taken_in} of {end}");
    assert!(second.sender.sent().len() < 10, "only the new order's commands were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timers_of_a_dead_orchestrator_fire_at_the_next_one() {
    let clock = world::running::start_of_time();
    let town = Town::open(1, clock.clone()).await;
    let (one, other) = (town.healthy(), town.healthy());
    one.assign(0);
    town.place(order(1), "tok_3ds_abandon").await;
    town.until(order(1), "waiting for the customer", |view| !view.notes.is_empty()).await;
    one.die();
    other.assign(0);
    clock.advance(Duration::from_secs(460));
    town.until(order(1), "renewed", |view| {
        view.legs.iter().any(|leg| leg.direction == domain::saga::Direction::Renew && leg.ended_at.is_some())
    })
    .await;
    other.die();
    let third = town.healthy();
    third.assign(0);
    clock.advance(Duration::from_secs(30 * 60));
    let view = town.until(order(1), "over", |view| view.state().is_end()).await;
    assert_eq!((view.state(), view.reason.as_deref()), (SagaState::Compensated, Some("payment_timeout")));
    third.close().await;
}
