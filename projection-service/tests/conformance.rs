//! The shop's read models pass the engine's suite for read models.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod support;

use projection_engine::conformance::{self as rules, Subject};
use projection_service::projections;
use service_kit::postgres::testing::fresh_database;
use support::applying::tell;
use support::stories::Dice;
use support::{Log, lives};

async fn subject() -> (Log, Subject) {
    let (log, mut dice) = (Log::new(), Dice(9));
    let lived = lives::of_orders(&mut dice, 12);
    tell(&log, &mut dice, lived).await;
    let url = fresh_database().await.expect("a database");
    let subject = Subject { models: projections::read_models(), store: log.store.clone(), url, seed: 9 };
    (log, subject)
}

#[tokio::test]
async fn rows_do_not_depend_on_where_batches_end() {
    let (_log, subject) = subject().await;
    rules::rows_do_not_depend_on_where_batches_end(&subject).await;
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing() {
    let (_log, subject) = subject().await;
    rules::an_event_that_comes_again_changes_nothing(&subject).await;
}

#[tokio::test]
async fn gaps_are_filled_whatever_the_sequence_of_events() {
    let (_log, subject) = subject().await;
    rules::gaps_are_filled_whatever_the_sequence_of_events(&subject).await;
}

#[tokio::test]
async fn a_kill_between_rows_and_checkpoint_leaves_neither() {
    let (_log, subject) = subject().await;
    rules::a_kill_between_rows_and_checkpoint_leaves_neither(&subject).await;
}

#[tokio::test]
async fn a_runner_whose_place_is_taken_writes_nothing() {
    let (_log, subject) = subject().await;
    rules::a_runner_whose_place_is_taken_writes_nothing(&subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_equal_to_what_it_replaces() {
    let (_log, subject) = subject().await;
    rules::a_rebuild_is_equal_to_what_it_replaces(&subject).await;
}
