//! The read model in a file passes the suite for read models.

use projection_engine::conformance::{self as rules, EmbeddedSubject};

use super::Hall;
use super::table::SEATS;
use crate::table::IDS;

/// Twenty seats: all are held, most twice, and some sold.
async fn subject() -> (Hall, EmbeddedSubject) {
    let hall = Hall::open();
    hall.office.twenty_seats().await;
    let (store, folder) = (hall.office.store.clone(), hall.path.with_file_name(""));
    (hall, EmbeddedSubject { ids: IDS, models: vec![SEATS], store, folder, seed: 1 })
}

#[tokio::test]
async fn rows_do_not_depend_on_where_batches_end() {
    let (_hall, subject) = subject().await;
    rules::rows_do_not_depend_on_where_batches_end(&subject).await;
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing() {
    let (_hall, subject) = subject().await;
    rules::an_event_that_comes_again_changes_nothing(&subject).await;
}

#[tokio::test]
async fn gaps_are_filled_whatever_the_sequence_of_events() {
    let (_hall, subject) = subject().await;
    rules::gaps_are_filled_whatever_the_sequence_of_events(&subject).await;
}

#[tokio::test]
async fn a_kill_between_rows_and_checkpoint_leaves_neither() {
    let (_hall, subject) = subject().await;
    rules::a_kill_between_rows_and_checkpoint_leaves_neither(&subject).await;
}

#[tokio::test]
async fn a_runner_whose_place_is_taken_writes_nothing() {
    let (_hall, subject) = subject().await;
    rules::a_runner_whose_place_is_taken_writes_nothing(&subject).await;
}

#[tokio::test]
async fn a_rebuild_is_equal_to_what_it_replaces() {
    let (_hall, subject) = subject().await;
    rules::a_rebuild_is_equal_to_what_it_replaces(&subject).await;
}
