//! The box office at work: bookings over the log, the sagas and both read models.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod conformance;

use std::path::Path;
use std::time::Duration;

use command_engine::SendError;
use engine_runtime::Clock;
use event_store::{Delivery, Direction, Filter, Position, StreamName};
use eventsourcing::testing::at;
use tempfile::TempDir;
use tickets::BoxOffice;
use tickets::saga::TO_PAY;
use uuid::Uuid;

/// What any wait may take at most; it ends a test that would hang.
const BOUND: Duration = Duration::from_secs(60);

async fn open(folder: &Path, clock: &Clock) -> BoxOffice {
    BoxOffice::open(folder, clock, None).await.unwrap()
}

/// Waits until a stream has an event of this type.
async fn until(office: &BoxOffice, stream: &str, event_type: &str) {
    let mut log = office.log().subscribe(Position::START, Filter::default()).await.unwrap();
    let found = async {
        while let Some(Ok(delivery)) = log.next().await {
            let Delivery::Events { events, .. } = delivery else { continue };
            if events.iter().any(|event| event.stream.as_str() == stream && &*event.event_type == event_type) {
                return;
            }
        }
        panic!("the log has ended");
    };
    let waited = tokio::time::timeout(BOUND, found).await;
    assert!(waited.is_ok(), "`{stream}` has no {event_type}: {:?}", types(office, stream).await);
}

/// The types of a stream's events.
async fn types(office: &BoxOffice, stream: &str) -> Vec<String> {
    let stream: StreamName = stream.parse().unwrap();
    let events = office.log().read_stream(&stream, 0, Direction::Forward, 1_000).await.unwrap();
    events.iter().map(|event| event.event_type.to_string()).collect()
}

/// The state of each seat, as the read model in the file shows it.
async fn seats(office: &BoxOffice) -> Vec<(String, String)> {
    assert!(office.seat_map.reached(office.position(), BOUND).await, "{:?}", office.seat_map.standing());
    let seats = office.seat_map.read(|sql| {
        let mut statement = sql.prepare("select seat, state from seat_map order by seat")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()
    });
    seats.await.unwrap()
}

fn saga(booking: Uuid) -> String {
    format!("saga_booking-{booking}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_who_pays_gets_the_seat_and_the_next_guest_does_not() {
    let (folder, clock) = (TempDir::new().unwrap(), Clock::manual(at(0)));
    let office = open(folder.path(), &clock).await;
    let ann = office.book("ann", "a1", "Ann", 4_500).await.unwrap();
    until(&office, "seat-a1", "SeatHeld").await;
    let bob = office.book("bob", "a1", "Bob", 4_500).await.unwrap();
    until(&office, &format!("booking-{bob}"), "BookingRejected").await;
    let wrong = office.pay("ann-pays", ann, 4_499).await;
    assert!(matches!(wrong, Err(SendError::Rejected { code: "wrong-amount", .. })), "{wrong:?}");
    office.pay("ann-pays-again", ann, 4_500).await.unwrap();
    until(&office, &saga(ann), "SagaCompleted").await;
    assert_eq!(types(&office, &format!("booking-{ann}")).await, ["SeatBooked", "BookingPaid", "BookingConfirmed"]);
    assert_eq!(types(&office, "seat-a1").await, ["SeatHeld", "SeatSold"]);
    assert_eq!(seats(&office).await, [("a1".to_owned(), "sold".to_owned())]);
    let late = office.pay("bob-pays", bob, 4_500).await;
    assert!(matches!(late, Err(SendError::Rejected { code: "booking-ended", .. })), "{late:?}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_nobody_pays_for_is_free_again_after_its_time() {
    let (folder, clock) = (TempDir::new().unwrap(), Clock::manual(at(0)));
    let office = open(folder.path(), &clock).await;
    let ann = office.book("ann", "a1", "Ann", 4_500).await.unwrap();
    until(&office, &saga(ann), "StepSucceeded").await; // The time to pay counts from here.
    clock.advance(Duration::from_secs(TO_PAY.0 - 1));
    let bob = office.book("bob", "a1", "Bob", 4_500).await.unwrap();
    until(&office, &saga(bob), "SagaCompensated").await;
    assert_eq!(types(&office, "seat-a1").await, ["SeatHeld"], "a second is left");
    clock.advance(Duration::from_secs(1));
    until(&office, &saga(ann), "SagaCompensated").await;
    assert_eq!(types(&office, "seat-a1").await, ["SeatHeld", "SeatReleased"]);
    assert_eq!(types(&office, &format!("booking-{ann}")).await, ["SeatBooked", "BookingRejected"]);
    let cem = office.book("cem", "a1", "Cem", 4_500).await.unwrap();
    office.pay("cem-pays", cem, 4_500).await.unwrap();
    until(&office, &saga(cem), "SagaCompleted").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_office_that_was_closed_goes_on_with_what_it_had_begun() {
    let (folder, clock) = (TempDir::new().unwrap(), Clock::manual(at(0)));
    let office = open(folder.path(), &clock).await;
    let ann = office.book("ann", "a1", "Ann", 4_500).await.unwrap();
    let bob = office.book("bob", "a2", "Bob", 4_500).await.unwrap();
    office.close().await;

    let office = open(folder.path(), &clock).await;
    assert_eq!(office.book("ann", "a1", "Ann", 4_500).await.unwrap(), ann, "the same request is the same booking");
    office.pay("ann-pays", ann, 4_500).await.unwrap();
    until(&office, &saga(ann), "SagaCompleted").await;
    until(&office, &saga(bob), "StepSucceeded").await;
    office.close().await;

    // Nobody is there when the time of the other one is over.
    clock.advance(Duration::from_secs(TO_PAY.0));
    let office = open(folder.path(), &clock).await;
    until(&office, &saga(bob), "SagaCompensated").await;
    let expected = [("a1", "sold"), ("a2", "free")].map(|(seat, state)| (seat.to_owned(), state.to_owned()));
    assert_eq!(seats(&office).await, expected);
    office.close().await;
}
