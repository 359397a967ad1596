//! The rows follow the log.

use std::time::Duration;

use event_store::Position;
use projection_engine::embedded::{EmbeddedModel, RebuildError};

use super::table::{SEATS, Seats};
use super::{Hall, IN_VAIN};

/// The next release, whose `seats` has an index. The fold is the same.
const WITH_INDEX: EmbeddedModel =
    EmbeddedModel { ddl: &[SEATS.ddl[0], "create index seats_by_guest on seats (guest)"], ..SEATS };

/// The next release, which reads `SeatHeld` of schema version 2 as well.
const NEXT: EmbeddedModel = EmbeddedModel { make: || Box::new(Seats::<2>::default()), ..SEATS };

#[tokio::test]
async fn a_restart_goes_on_from_the_checkpoint_and_applies_nothing_twice() {
    let hall = Hall::open();
    hall.office.hold("a1", "ann").await;
    hall.office.hold("a1", "ann").await;
    let held = hall.office.hold("a2", "bob").await;
    let running = hall.start(SEATS).await;
    running.reached(held).await;
    assert_eq!(running.seats().await, ["a1 held ann 2 1", "a2 held bob 1 0"]);
    let sold = hall.office.sell("a1", "ann").await;
    running.reached(sold).await; // Followed live.
    running.stop().await;

    // While nothing follows, the log goes on.
    let sold = hall.office.sell("a2", "bob").await;
    let running = hall.start(SEATS).await;
    running.reached(sold).await;
    assert_eq!(running.seats().await, ["a1 sold ann 2 2", "a2 sold bob 1 1"]);
    assert_eq!(running.models.standing().models[0].folded, 1, "only what came since is folded");
    assert!(!running.models.reached(Position(sold.0 + 1), IN_VAIN).await, "the log does not go so far");
    running.stop().await;
}

#[tokio::test]
async fn a_changed_shape_is_folded_again_and_an_unchanged_one_is_not() {
    let hall = Hall::open();
    let held = hall.office.hold("a1", "ann").await;
    let running = hall.start(SEATS).await;
    running.reached(held).await;
    running.stop().await;
    assert_eq!(hall.execute("update seats set guest = 'by hand'"), 1);
    for (model, expected) in [
        (SEATS, "a1 held by hand 1 0"),
        (WITH_INDEX, "a1 held ann 1 0"),
        (EmbeddedModel { folds: 2, ..WITH_INDEX }, "a1 held ann 1 0"),
    ] {
        let running = hall.start(model).await;
        running.reached(held).await;
        assert_eq!(running.seats().await, [expected]);
        running.stop().await;
        hall.execute("update seats set guest = 'by hand'");
    }
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_moved_past_and_the_next_one_applied() {
    let hall = Hall::open();
    hall.office.hold("a1", "ann").await;
    hall.office.append("a1", ("SeatPolished", 1), &serde_json::json!({})).await;
    let sold = hall.office.sell("a1", "ann").await;
    let running = hall.start(SEATS).await;
    running.reached(sold).await;
    assert_eq!(running.seats().await, ["a1 sold ann 1 2"]);
    let status = &running.models.standing().models[0];
    assert_eq!((status.folded, status.skipped), (2, 1));
    running.stop().await;
}

#[tokio::test]
async fn an_event_of_a_newer_program_parks_its_seat_until_that_program_runs() {
    let hall = Hall::open();
    hall.office.hold("a1", "ann").await;
    hall.office.hold_in("a1", "eve", 2).await;
    let other = hall.office.hold("a2", "bob").await;
    for attempts in 1..=2 {
        let running = hall.start(SEATS).await;
        running.reached(other).await;
        assert_eq!(running.seats().await, ["a1 held ann 1 0", "a2 held bob 1 0"], "everything else goes on");
        let parked = running.models.parked();
        let [(model, stream, letter)] = parked.as_slice() else { panic!("{parked:?}") };
        assert_eq!((*model, stream.as_str(), letter.version), ("seats", "seat-a1", 1));
        assert_eq!((letter.cause.as_str(), letter.attempts), ("unreadable", attempts), "{letter:?}");
        running.stop().await;
    }
    // The start of the next release tries by itself what is parked.
    let sold = hall.office.sell("a1", "eve").await;
    let running = hall.start(NEXT).await;
    running.reached(sold).await;
    assert_eq!(running.seats().await, ["a1 sold eve 2 2", "a2 held bob 1 0"]);
    assert!(running.models.parked().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_rebuild_replaces_rows_and_goes_on_with_what_comes() {
    let hall = Hall::open();
    hall.office.hold("a1", "ann").await;
    let held = hall.office.hold("a2", "bob").await;
    let running = hall.start(SEATS).await;
    running.reached(held).await;
    assert_eq!(hall.execute("update seats set guest = 'mallory'"), 2);
    assert_eq!(running.models.rebuild("seats").await.unwrap().folded, 2);
    assert_eq!(running.seats().await, ["a1 held ann 1 0", "a2 held bob 1 0"]);
    let sold = hall.office.sell("a2", "bob").await;
    running.reached(sold).await;
    assert_eq!(running.seats().await, ["a1 held ann 1 0", "a2 sold bob 1 1"]);
    let unknown = running.models.rebuild("rows").await.unwrap_err();
    assert!(matches!(unknown, RebuildError::Unknown(_)), "{unknown}");
    let handle = running.models.clone();
    running.stop().await;
    assert!(matches!(handle.rebuild("seats").await, Err(RebuildError::Stopped)));
    assert!(!handle.reached(Position(sold.0 + 1), Duration::MAX).await, "nobody follows any more");
}
