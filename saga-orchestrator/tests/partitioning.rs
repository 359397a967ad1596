//! The number of partitions changes between two runs over one log, from a cluster to one process and back: the sagas that
//! are under way go on.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::time::Duration;

use domain::ids::OrderId;
use domain::saga::SagaState;
use futures_util::future::join_all;
use service_kit::Clock;
use world::node::Town;
use world::running::order;

/// Orders that wait for the warehouse, begun under `before` partitions, go to their ends under `after` of them.
async fn goes_on_under_another_number(before: u32, after: u32) {
    let mut town = Town::open(before, Clock::system()).await;
    let first = town.healthy();
    first.assign_all();
    let orders: Vec<OrderId> = (1..=12).map(order).collect();
    for id in &orders {
        town.place(*id, "tok_approve").await;
        town.until_settled(*id).await;
    }
    first.close().await; // Its last checkpoints are saved.
    town.partitions = after;
    let second = town.healthy();
    second.assign_all();
    let go_on = join_all(orders.iter().map(|id| town.to_its_end(*id)));
    tokio::time::timeout(Duration::from_secs(120), go_on).await.expect("no saga is forgotten");
    let (ends, stock) = town.ends(&orders).await;
    assert!(ends.iter().all(|end| end.saga == SagaState::Completed), "{before} -> {after}: {ends:#?}");
    assert_eq!(stock, [(1000 - 12, 0, 0); 2], "{before} -> {after}");
    town.assert_everything_happened_once().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_s_sagas_go_on_in_one_process_and_the_other_way_round() {
    goes_on_under_another_number(6, 1).await;
    goes_on_under_another_number(1, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_go_on_when_the_number_of_partitions_changes() {
    goes_on_under_another_number(6, 3).await;
    goes_on_under_another_number(6, 8).await;
}
