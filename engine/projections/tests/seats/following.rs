//! The rows follow the log.

use crate::box_office::BoxOffice;
use crate::table::{SEATS, release};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_checkpoint_and_applies_nothing_twice() {
    let (office, models) = (BoxOffice::open().await, release(SEATS));
    office.hold("a1", "ann").await;
    office.hold("a2", "bob").await;
    let sold = office.sell("a1", "ann").await;
    let running = office.start(&models);
    running.reached(sold).await;
    assert_eq!(office.seats().await, ["a1 sold ann 1", "a2 held bob 0"]);
    running.stop().await;

    // While nothing follows, the log goes on.
    let sold = office.sell("a2", "bob").await;
    let running = office.start(&models);
    running.reached(sold).await;
    assert_eq!(office.seats().await, ["a1 sold ann 1", "a2 sold bob 1"]);
    assert_eq!(running.engine.progress().statuses()[0].folded, 1, "only what came since is folded");
    assert_eq!(office.ask("select concat_ws(' ', state, seats) from live.seats_by_state").await, ["sold 2"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_type_is_moved_past_and_the_next_one_applied() {
    let (office, models) = (BoxOffice::open().await, release(SEATS));
    office.hold("a1", "ann").await;
    office.append("a1", ("SeatPolished", 1), &serde_json::json!({})).await;
    let sold = office.sell("a1", "ann").await;
    let running = office.start(&models);
    running.reached(sold).await;
    assert_eq!(office.seats().await, ["a1 sold ann 2"]);
    let status = running.engine.progress().statuses().remove(0);
    assert_eq!((status.folded, status.skipped), (2, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_one_log_is_refused_to_another() {
    let (office, models) = (BoxOffice::open().await, release(SEATS));
    let held = office.hold("a1", "ann").await;
    let running = office.start(&models);
    running.reached(held).await;
    running.stop().await;

    let other = BoxOffice::over(office.url.clone());
    other.hold("b1", "bob").await;
    let running = other.start(&models);
    let refused = async {
        loop {
            let status = running.engine.progress().statuses().remove(0);
            match status.last_error {
                Some(error) => return error,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let error = tokio::time::timeout(crate::box_office::BOUND, refused).await.unwrap();
    assert!(error.contains("another log"), "{error}");
    assert_eq!(office.seats().await, ["a1 held ann 0"]);
    running.stop().await;
}
