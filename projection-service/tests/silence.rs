//! A Postgres that is gone without a word, while a successor is there: whatever was asked of it just then, the read side
//! gives it up in a bounded time and goes on with the successor.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::time::Duration;

use domain::order;
use futures_util::future::join_all;
use service_kit::postgres::testing::TestCluster;
use support::split::{Manner, Member};
use support::stories::{order_id, placed};
use support::wire::{Asked, Wire};
use support::{BOUND, Log};
use tokio::time::interval;

/// Between two looks: the machine has other tests to run.
const LOOK: Duration = Duration::from_millis(20);

/// What the board asks when it looks how far the read models are.
const BOARD: &[&str] = &[
    "where g.state = 'live' order by g.projection, c.partition",
    "select partitions, revision from backstitch.feed",
    "select count(*), coalesce(max(xmin::text::bigint), 0)",
    "begin isolation level repeatable read, read only",
];

/// What a runner, or another writer, asks before the first batch.
const RUNNER: &[&str] = &[
    "select pg_advisory_xact_lock",
    "select revision from backstitch.feed",
    "select g.projection, g.generation, g.state, g.schema, g.shape",
    "update set epoch = c.epoch + 1",
    "update backstitch.generations set log = $1 where log is null",
    "insert into backstitch.feeders",
];

/// How Postgres is asked for a database of the cluster, by TCP.
async fn database(cluster: &TestCluster) -> String {
    let url = cluster.fresh_database().await.unwrap();
    let name = url.strip_prefix("postgres:///").and_then(|rest| rest.split_once('?')).unwrap().0;
    cluster.postgres().tcp_url(name).unwrap()
}

async fn sell(log: &Log, number: u64) {
    let placed = order::Event::OrderPlaced(placed(number, &[(1, 2)], 0)).encode();
    log.append(&order_id(number).stream(), vec![placed], 0).await;
}

/// Every request is answered, and in the end with these orders.
async fn shows(member: &Member, log: &Log, url: &str, orders: usize, lost: &str) {
    let shop = member.shop(log.clone(), url);
    let mut look = interval(LOOK);
    let shown = async {
        loop {
            look.tick().await;
            let answer = shop.get("/v1/orders").await;
            if answer.status == 200 && answer.body["items"].as_array().is_some_and(|items| items.len() == orders) {
                return;
            }
            assert!([200, 503].contains(&answer.status), "{lost}: {}", answer.body);
        }
    };
    assert!(tokio::time::timeout(BOUND, shown).await.is_ok(), "nothing is shown after nobody answered: {lost}");
}

/// A replica goes on although nobody ever answers what it asks in these words, the first time.
async fn goes_on(cluster: &TestCluster, lost: &'static str) {
    let url = database(cluster).await;
    let (wire, log) = (Wire::to(&url, Asked::Words(lost), 1).await, Log::new());
    sell(&log, 1).await;
    let member = Member::start(&log, &wire.url, "a", 1);
    let fed = member.feed_all(&Manner::plain());
    wire.fell_silent().await;
    shows(&member, &log, &url, 1, lost).await;
    sell(&log, 2).await;
    shows(&member, &log, &url, 2, lost).await;
    drop(fed);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_runners_go_on_after_a_postgres_that_is_gone_without_a_word() {
    let cluster = TestCluster::start().await.unwrap();
    join_all(BOARD.iter().chain(RUNNER).map(|lost| goes_on(&cluster, lost))).await;
}

/// Positions without rows are written at the change of a session, before anything else moves them.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_nobody_answers_for_holds_a_runner_up_for_seconds_and_is_told() {
    let cluster = TestCluster::start().await.unwrap();
    let url = database(&cluster).await;
    let keeps = "update backstitch.projection_checkpoints as c set position = greatest";
    let (wire, log) = (Wire::to(&url, Asked::Words(keeps), 1).await, Log::new());
    let member = Member::start(&log, &wire.url, "a", 1);
    let fed = member.feed_all(&Manner::plain());
    let shop = member.shop(log.clone(), &url);
    shows(&member, &log, &url, 0, "nothing yet").await;
    shop.rebuild("orders", false).await;
    wire.fell_silent().await;
    let mut look = interval(LOOK);
    let told = async {
        loop {
            look.tick().await;
            let shown = shop.get("/v1/projections").await.ok();
            if shown["items"][0]["state"] == "down" {
                return shown["items"][0]["last_error"].as_str().unwrap().to_owned();
            }
        }
    };
    let told = tokio::time::timeout(BOUND, told).await.expect("it is told that the partition stands still");
    assert!(told.contains("Postgres"), "{told}");
    sell(&log, 1).await;
    shows(&member, &log, &url, 1, keeps).await;
    drop(fed);
    member.stop().await;
}

/// sqlx asks each connection that is given back whether it lives, in the background and without a bound of its own.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_die_when_they_are_given_back_take_no_place_in_their_pool() {
    let cluster = TestCluster::start().await.unwrap();
    let url = database(&cluster).await;
    let (wire, log) = (Wire::to(&url, Asked::Ping, 8).await, Log::new());
    sell(&log, 1).await;
    let member = Member::start(&log, &wire.url, "a", 1);
    let fed = member.feed_all(&Manner::plain());
    wire.fell_silent().await;
    shows(&member, &log, &url, 1, "ping").await;
    sell(&log, 2).await;
    shows(&member, &log, &url, 2, "ping").await;
    drop(fed);
    member.stop().await;
}
