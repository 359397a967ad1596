//! The read model of the example passes the suite for read models.

use projection_engine::conformance::{self as rules, Subject};

use crate::box_office::BoxOffice;
use crate::table::{SEATS, release};

/// Twenty seats: all are held, most twice, and some sold.
async fn subject() -> (BoxOffice, Subject) {
    let office = BoxOffice::open().await;
    office.twenty_seats().await;
    let subject = Subject { models: release(SEATS), store: office.store.clone(), url: office.url.clone(), seed: 1 };
    (office, subject)
}

#[tokio::test]
async fn rows_do_not_depend_on_where_batches_end() {
    let (_office, subject) = subject().await;
    rules::rows_do_not_depend_on_where_batches_end(&subject).await;
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing() {
    let (_office, subject) = subject().await;
    rules::an_event_that_comes_again_changes_nothing(&subject).await;
}

#[tokio::test]
async fn gaps_are_filled_whatever_the_sequence_of_events() {
    let (_office, subject) = subject().await;
    rules::gaps_are_filled_whatever_the_sequence_of_events(&subject).await;
}

#[tokio::test]
async fn a_kill_between_rows_and_checkpoint_leaves_neither() {
    let (_office, subject) = subject().await;
    rules::a_kill_between_rows_and_checkpoint_leaves_neither(&subject).await;
}

#[tokio::test]
async fn a_runner_whose_place_is_taken_writes_nothing() {
    let (_office, subject) = subject().await;
    rules::a_runner_whose_place_is_taken_writes_nothing(&subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_equal_to_what_it_replaces() {
    let (_office, subject) = subject().await;
    rules::a_rebuild_is_equal_to_what_it_replaces(&subject).await;
}
