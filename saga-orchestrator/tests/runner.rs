//! The runner over the real embedded log: sagas run, survive a stop, an epoch's end, and wait with a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::saga::SagaState;
use service_kit::Tasks;
use world::running::{Shop, order, start_of_time};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_run_to_their_ends_over_the_real_log() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path(), &start_of_time());
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=20 {
        shop.place(order(n), if n % 5 == 0 { "tok_decline" } else { "tok_approve" }).await;
    }
    for n in 1..=20 {
        let view = shop.until_settled(order(n)).await;
        if n % 5 == 0 {
            assert_eq!((view.state(), view.reason.as_deref()), (SagaState::Compensated, Some("payment_declined")));
        } else {
            assert_eq!((view.state(), view.step()), (SagaState::Waiting, Some("plan_shipment")));
        }
    }
    shop.ready(order(1)).await;
    shop.until(order(1), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    shop.deliver(order(1)).await;
    shop.until(order(1), "completed", |view| view.state() == SagaState::Completed).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_shop_goes_on_where_it_was_and_sends_nothing_for_what_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=5 {
        shop.place(order(n), "tok_approve").await;
        shop.until_settled(order(n)).await;
    }
    shop.close().await;
    let shop = Shop::open(dir.path(), &clock);
    shop.ready(order(3)).await;
    shop.until(order(3), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    // Capture, allow, dispatch, ship twice, record: nothing of the four others was sent again.
    assert_eq!(shop.bus.dispatched.load(Ordering::Relaxed), 6);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_checkpoint_a_shop_reads_the_log_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    shop.place(order(1), "tok_approve").await;
    shop.until_settled(order(1)).await;
    // As after a kill: no last checkpoint is saved.
    shop.store.close().await;
    drop(shop);
    let shop = Shop::open(dir.path(), &clock);
    shop.ready(order(1)).await;
    shop.until(order(1), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
    // Capture, allow, dispatch, ship twice, record: nothing of its beginning was sent again.
    assert_eq!(shop.bus.dispatched.load(Ordering::Relaxed), 6);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_follow_the_clock_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    shop.place(order(1), "tok_3ds_abandon").await;
    shop.until(order(1), "waiting for the customer", |view| !view.notes.is_empty()).await;
    clock.advance(Duration::from_secs(460));
    shop.until(order(1), "renewed", |view| {
        view.legs.iter().any(|leg| leg.direction == domain::saga::Direction::Renew && leg.ended_at.is_some())
    })
    .await;
    shop.close().await;
    clock.advance(Duration::from_secs(30 * 60));
    let shop = Shop::open(dir.path(), &clock);
    let view = shop.until(order(1), "over", |view| view.state().is_end()).await;
    assert_eq!((view.state(), view.reason.as_deref()), (SagaState::Compensated, Some("payment_timeout")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_commits_in_the_middle_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=30 {
        if n % 6 == 0 {
            shop.faults.fail_commits(1);
        }
        shop.place(order(n), "tok_approve").await;
        clock.advance(Duration::from_secs(1)); // So that what is to be retried is.
    }
    let turns = clock.clone();
    let ticking = Tasks::new();
    let stop = ticking.stopping();
    ticking.spawn("the clock goes on", async move {
        while !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            turns.advance(Duration::from_secs(1));
        }
    });
    for n in 1..=30 {
        let view = shop.until_settled(order(n)).await;
        assert_eq!((view.state(), view.step()), (SagaState::Waiting, Some("plan_shipment")), "{view:#?}");
    }
    ticking.shut_down(Duration::from_secs(5)).await;
    shop.close().await;
}
