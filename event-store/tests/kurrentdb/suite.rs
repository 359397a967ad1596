//! The conformance suite.

use event_store::conformance;

use crate::Kurrent;

/// The suite's files.
const RULES: [&str; 5] = [
    include_str!("../../src/conformance/appending.rs"),
    include_str!("../../src/conformance/failing.rs"),
    include_str!("../../src/conformance/following.rs"),
    include_str!("../../src/conformance/racing.rs"),
    include_str!("../../src/conformance/reading.rs"),
];

/// Rules that say nothing here, each with its reason.
const NOT_HERE: [(&str, &str); 2] = [
    (
        "a_failed_commit_ends_the_epoch_and_leaves_nothing_of_it",
        "the server answers what is durable, so nothing is queued here that could fail; and the same ids are sent again: \
         `a_commit_that_fails_at_the_server_is_made_good_by_the_same_ids`",
    ),
    ("what_was_queued_behind_a_failed_commit_fails_with_it", "as above: nothing is queued behind anything"),
];

#[test]
fn every_rule_of_the_suite_is_called_here_or_named_with_its_reason() {
    let here = include_str!("suite.rs");
    let names = RULES.iter().flat_map(|file| file.split("pub async fn ").skip(1)).map(|rule| rule.split('(').next());
    let called = |name: &str| here.contains(&format!("conformance::{name}("));
    let named = |name: &str| NOT_HERE.iter().any(|(rule, reason)| *rule == name && !reason.is_empty());
    let missing: Vec<_> = names.map(Option::unwrap).filter(|name| called(name) == named(name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_durable_is_read_back_to_the_byte() {
    conformance::what_is_durable_is_read_back_to_the_byte(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_read_both_ways_from_any_version() {
    conformance::a_stream_is_read_both_ways_from_any_version(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_is_read_both_ways_from_any_position() {
    conformance::the_log_is_read_both_ways_from_any_position(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_are_listed_by_name_and_category() {
    conformance::streams_are_listed_by_name_and_category(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_newest_snapshot_of_a_stream_is_given_back() {
    conformance::the_newest_snapshot_of_a_stream_is_given_back(&Kurrent::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_numbers_about_the_log_are_those_of_its_events() {
    conformance::the_numbers_about_the_log_are_those_of_its_events(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn durable_implies_every_earlier_ticket_durable() {
    conformance::durable_implies_every_earlier_ticket_durable(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_is_written_though_nobody_waits_for_it() {
    conformance::an_append_is_written_though_nobody_waits_for_it(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_conflicts_with_what_is_queued() {
    conformance::an_append_conflicts_with_what_is_queued(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repeated_append_gets_the_first_answer() {
    conformance::a_repeated_append_gets_the_first_answer(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repeated_append_gets_the_first_answer_while_that_is_queued() {
    conformance::a_repeated_append_gets_the_first_answer_while_that_is_queued(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn other_ids_at_the_same_version_conflict() {
    conformance::other_ids_at_the_same_version_conflict(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_without_events_or_with_too_many_is_refused() {
    conformance::an_append_without_events_or_with_too_many_is_refused(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_writes_what_is_queued_and_takes_nothing_more() {
    conformance::closing_writes_what_is_queued_and_takes_nothing_more(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_subscriber_sees_an_event_that_is_not_durable() {
    conformance::no_subscriber_sees_an_event_that_is_not_durable(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscriber_gets_each_event_once_across_the_seam() {
    conformance::a_subscriber_gets_each_event_once_across_the_seam(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_subscriber_misses_nothing() {
    conformance::a_slow_subscriber_misses_nothing(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_filtered_subscriber_gets_its_categories_and_every_checkpoint() {
    conformance::a_filtered_subscriber_gets_its_categories_and_every_checkpoint(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscriber_is_told_when_it_has_caught_up() {
    conformance::a_subscriber_is_told_when_it_has_caught_up(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_wait_loses_nothing() {
    conformance::a_dropped_wait_loses_nothing(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscription_ends_when_the_store_closes() {
    conformance::a_subscription_ends_when_the_store_closes(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_for_one_stream_loses_and_doubles_nothing() {
    conformance::racing_for_one_stream_loses_and_doubles_nothing(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_never_skips_an_event_that_is_being_written() {
    conformance::a_reader_never_skips_an_event_that_is_being_written(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn versions_have_no_holes() {
    conformance::versions_have_no_holes(&Kurrent::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_of_an_older_epoch_is_refused() {
    conformance::an_append_of_an_older_epoch_is_refused(&Kurrent::new()).await;
}
