//! Sagas of another domain, run over the embedded log alone: the bookings of a box office. `docs/library.md` explains it.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod box_office;

use std::sync::atomic::Ordering;
use std::time::Duration;

use box_office::process::BoxOffice;
use box_office::{Office, TO_PAY, key, saga};
use engine_runtime::Clock;
use saga_engine::{Act, Action, Refusal};
use saga_runner::checkpoint::{self, Partition};
use saga_runner::{Answer, Request};
use uuid::Uuid;

fn clock() -> Clock {
    Clock::manual(epoch())
}

/// 2026-01-05T12:00:00Z.
fn epoch() -> eventsourcing::Timestamp {
    eventsourcing::Timestamp::from_timestamp(1_767_614_400, 0).unwrap()
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_begins_sends_waits_and_ends_by_what_is_in_the_log() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let office = Office::open(dir.path(), &clock);
    office.book(1, "a1", "ann").await;
    let begun = office.saga_until(1, "StepStarted").await;
    assert_eq!(begun.first().unwrap(), "SagaStarted");
    until("the seat is held", || office.seats.came.lock().len() == 1).await;
    office.pay(1).await;
    let story = office.saga_until(1, "SagaCompleted").await;
    let steps = ["StepStarted", "StepSucceeded", "StepStarted", "StepSucceeded", "StepStarted", "StepSucceeded"];
    let without_notes: Vec<&String> = story.iter().filter(|event| *event != "SagaInputRecorded").collect();
    assert_eq!(without_notes[1..7], steps);
    assert_eq!(office.types("seat-a1").await, ["SeatHeld", "SeatSold"]);
    let sold = office.events("seat-a1").await.remove(1);
    let first = office.events(&saga(1)).await.remove(0);
    assert_eq!(&*sold.metadata.actor, "saga:booking");
    assert_eq!(first.metadata.partition_key, Uuid::from_u128(1).to_string());
    assert_eq!(sold.metadata.correlation_id, first.metadata.correlation_id, "one story, one correlation id");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_fires_when_the_clock_is_turned_and_what_was_done_is_compensated() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let office = Office::open(dir.path(), &clock);
    office.book(1, "a1", "ann").await;
    waits_for_the_guest(&office, 1).await;
    clock.advance(TO_PAY - Duration::from_secs(1));
    office.book(3, "a3", "cem").await; // By the time that this one waits, the runner has seen the new time.
    waits_for_the_guest(&office, 3).await;
    assert_eq!(office.types("seat-a1").await, ["SeatHeld"], "not before its time");
    clock.advance(Duration::from_secs(1));
    let story = office.saga_until(1, "SagaCompensated").await;
    assert!(story.contains(&"StepFailed".to_owned()), "{story:?}");
    assert_eq!(office.types("seat-a1").await, ["SeatHeld", "SeatReleased"]);
    office.pay(1).await; // Too late: nothing is active that waits for it.
    office.book(2, "a1", "ben").await;
    waits_for_the_guest(&office, 2).await;
    assert_eq!(office.saga_until(1, "SagaCompensated").await, story);
    office.close().await;
}

/// Waits until a saga has held its seat.
async fn waits_for_the_guest(office: &Office, booking: u128) {
    let held = async {
        while office.view(booking).await.step() != Some("pay") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), held).await.expect("the seat is held in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_ends_a_saga_without_touching_what_another_guest_has() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let office = Office::open(dir.path(), &clock);
    office.book(1, "a1", "ann").await;
    waits_for_the_guest(&office, 1).await;
    office.book(2, "a1", "ben").await;
    let story = office.saga_until(2, "SagaCompensated").await;
    assert!(story.contains(&"StepFailed".to_owned()), "{story:?}");
    assert_eq!(office.types("seat-a1").await, ["SeatHeld"], "nothing of another guest is released");
    office.pay(1).await;
    office.saga_until(1, "SagaCompleted").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_a_command_is_on_its_way_goes_on_with_the_same_command() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let office = Office::open(dir.path(), &clock);
    office.seats.silent.store(true, Ordering::SeqCst);
    office.book(1, "a1", "ann").await;
    until("the command comes", || !office.seats.came.lock().is_empty()).await;
    let came = office.seats.came.lock().clone();
    office.die().await;

    let office = Office::open(dir.path(), &clock);
    waits_for_the_guest(&office, 1).await;
    assert_eq!(office.seats.came.lock()[..], came[..1], "the same id and the same bytes");
    assert_eq!(office.types("seat-a1").await, ["SeatHeld"], "carried out once");
    office.pay(1).await;
    office.saga_until(1, "SagaCompleted").await;
    assert_eq!(office.types("seat-a1").await, ["SeatHeld", "SeatSold"]);
    let begun = office.types(&saga(1)).await.into_iter().filter(|event| event == "SagaStarted").count();
    assert_eq!(begun, 1, "the first event is read again and begins nothing anew");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_start_goes_on_at_the_checkpoint_with_the_sagas_that_are_active() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let office = Office::open(dir.path(), &clock);
    for booking in 1..=20 {
        office.book(booking, &format!("b{booking}"), "ann").await;
        waits_for_the_guest(&office, booking).await;
    }
    office.pay(1).await;
    office.saga_until(1, "SagaCompleted").await;
    office.close().await;

    let office = Office::open(dir.path(), &clock);
    let saved = checkpoint::load::<BoxOffice>(&*office.store, Partition { number: 0, of: 1 }).await.unwrap();
    assert_eq!(saved.active.len(), 19, "all but the one that has ended");
    assert!(saved.position.0 > 60, "{}", saved.position);
    assert!(saved.active.iter().all(|active| active.due == Some(clock.now() + TO_PAY) && !active.open));
    until("the log is followed", || office.followed_after().is_some()).await;
    assert_eq!(office.followed_after(), Some(saved.position), "what is before it is not read again");
    office.pay(20).await;
    office.saga_until(20, "SagaCompleted").await;
    clock.advance(TO_PAY);
    for booking in 2..20 {
        office.saga_until(booking, "SagaCompensated").await;
        assert_eq!(office.types(&format!("seat-b{booking}")).await, ["SeatHeld", "SeatReleased"]);
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_s_act_is_done_once_and_refused_where_it_would_break_a_rule() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let office = Office::open(dir.path(), &clock);
    office.book(1, "a1", "ann").await;
    waits_for_the_guest(&office, 1).await;
    let operator = office.sagas.operator();
    let ask = |action, request: u128, if_match| {
        let (actor, reason) = ("alice".to_owned(), "the concert is off".to_owned());
        let act = Act { action, actor, reason, step: None, request_id: Uuid::from_u128(request) };
        operator.act(Request { key: key(1), act, if_match, hash: "00".into() })
    };
    let version = office.events(&saga(1)).await.len() as u64 - 1;
    assert_eq!(ask(Action::Compensate, 1, Some(0)).await, Answer::VersionMismatch { version });
    let refused = ask(Action::HandOver, 2, None).await;
    assert!(matches!(refused, Answer::Refused { refusal: Refusal::NobodyTakesOver, .. }), "{refused:?}");
    assert_eq!(ask(Action::Compensate, 3, Some(version)).await, Answer::Done);
    office.saga_until(1, "SagaCompensated").await;
    assert_eq!(ask(Action::Compensate, 3, Some(version)).await, Answer::AlreadyDone);
    let acts: Vec<_> = office.events(&saga(1)).await;
    let acts: Vec<_> = acts.iter().filter(|event| &*event.event_type == "OperatorActed").collect();
    assert_eq!(acts.len(), 1);
    assert_eq!(&*acts[0].metadata.actor, "operator:alice");
    assert_eq!(office.types("seat-a1").await, ["SeatHeld", "SeatReleased"]);
    assert_eq!(office.sagas.standing().borrow().describe(), Ok("runs partition 0".to_owned()));
    office.close().await;
}
