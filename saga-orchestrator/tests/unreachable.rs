//! All command services are away for a while: no order is rolled back for that, and nobody has to act afterwards.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::saga::{SagaState, View};
use futures_util::future::join_all;
use service_kit::{Clock, Tasks};
use world::running::{Shop, order, start_of_time};

/// A clock that goes on by a second every few milliseconds.
fn goes_on(clock: &Clock) -> Tasks {
    let ticking = Tasks::new();
    let (stop, clock) = (ticking.stopping(), clock.clone());
    ticking.spawn("the clock goes on", async move {
        while !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            clock.advance(Duration::from_secs(1));
        }
    });
    ticking
}

async fn nobody_is_there_for(minutes: u64, called: bool) {
    let dir = tempfile::tempdir().unwrap();
    let clock = start_of_time();
    let shop = Shop::open(dir.path(), &clock);
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    for n in 1..=10 {
        shop.place(order(n), "tok_approve").await;
        shop.until_settled(order(n)).await;
    }
    shop.bus.away.store(true, Ordering::Relaxed);
    let ticking = goes_on(&clock);
    let back = clock.now() + Duration::from_secs(minutes * 60);
    for n in 1..=10 {
        shop.ready(order(n)).await;
    }
    for n in 11..=30 {
        shop.place(order(n), if n % 5 == 0 { "tok_decline" } else { "tok_approve" }).await;
    }
    clock.sleep_until(back).await;
    if called {
        let waits = |n| shop.until(order(n), "flagged", |view| view.state() == SagaState::NeedsAttention);
        for view in join_all((1..=30).map(waits)).await {
            assert!(!view.settled(), "it goes on by itself: {view:#?}");
        }
    }
    shop.bus.away.store(false, Ordering::Relaxed);
    for n in 1..=10 {
        shop.until(order(n), "dispatched", |view| {
            view.step() == Some("record_shipped") && view.state() == SagaState::Waiting
        })
        .await;
    }
    for n in 11..=30 {
        let view = shop.until(order(n), "at rest", View::settled).await;
        if n % 5 == 0 {
            assert_eq!((view.state(), view.reason.as_deref()), (SagaState::Compensated, Some("payment_declined")));
        } else {
            assert_eq!((view.state(), view.step()), (SagaState::Waiting, Some("plan_shipment")), "{view:#?}");
        }
        assert!(view.actions.is_empty(), "nobody had to act");
    }
    ticking.shut_down(Duration::from_secs(5)).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_command_services_rolls_nothing_back() {
    nobody_is_there_for(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_minutes_without_services_need_attention_until_the_first_answers() {
    nobody_is_there_for(20, true).await;
}
