//! Files that are not opened.

use projection_engine::embedded::OpenError;

use super::Hall;
use super::table::SEATS;
use crate::box_office::BoxOffice;

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_has_stopped() {
    let hall = Hall::open();
    let held = hall.office.hold("a1", "ann").await;
    let running = hall.start(SEATS).await;
    let error = hall.try_start(SEATS).await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&hall.path.display().to_string()), "{error}");
    running.reached(held).await;
    running.stop().await;
    hall.start(SEATS).await.stop().await;
}

#[tokio::test]
async fn a_file_of_one_log_is_refused_to_another() {
    let (hall, other) = (Hall::open(), BoxOffice::without_database());
    let held = hall.office.hold("a1", "ann").await;
    let running = hall.start(SEATS).await;
    running.reached(held).await;
    running.stop().await;
    other.hold("b1", "bob").await;
    let error = hall.try_start_over(&other, SEATS).await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::OtherLog { .. }), "{error}");
    // It still belongs to its own.
    let running = hall.start(SEATS).await;
    assert_eq!(running.seats().await, ["a1 held ann 1 0"]);
    running.stop().await;
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_is_refused() {
    let (hall, shorter) = (Hall::open(), BoxOffice::without_database());
    // Both begin with the same event: the ids of these events are derived.
    let (seen, head) = (hall.office.hold("a1", "ann").await, shorter.hold("a1", "ann").await);
    let seen = seen.max(hall.office.sell("a1", "ann").await);
    let running = hall.start(SEATS).await;
    running.reached(seen).await;
    running.stop().await;
    let error = hall.try_start_over(&shorter, SEATS).await.map(drop).unwrap_err();
    let OpenError::Ahead { seen: told, head: end, .. } = error else { panic!("{error}") };
    assert_eq!((told, end), (seen, head));
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_as_it_is() {
    let hall = Hall::open();
    hall.office.hold("a1", "ann").await;
    hall.execute("create table theirs (one integer)");
    let before = std::fs::read(&hall.path).unwrap();
    let error = hall.try_start(SEATS).await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&hall.path).unwrap(), before);
    std::fs::write(&hall.path, "a letter to nobody, which is longer than the header of a file".repeat(10)).unwrap();
    let error = hall.try_start(SEATS).await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}
