//! What subscriptions promise.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Harness, append, follow_to, ids, read_log, stream, write};
use crate::{Delivery, EventStore, Expected, Filter, Position};

/// Rule: from catching up to live, a subscriber gets each event once and in order, whenever it begins and however many
/// write meanwhile.
pub async fn a_subscriber_gets_each_event_once_across_the_seam(harness: &impl Harness) {
    let store = harness.open().await;
    let mut writers = JoinSet::new();
    for writer in 0..4_u64 {
        let store = store.clone();
        writers.spawn(async move {
            for version in 0..150_u64 {
                let of = stream(&format!("order-{writer}"));
                write(&*store, append(&of, Expected::at(version.checked_sub(1)), version, 1)).await;
            }
        });
    }
    let mut followers = JoinSet::new();
    for _ in 0..6 {
        // Each begins in the middle of what there is, in the middle of the writing. (At the position of an event: a
        // KurrentDB knows no others.)
        let so_far = read_log(&*store).await;
        let begin = so_far.get(so_far.len() / 2).map_or(Position::START, |event| event.position);
        let its_store: Arc<dyn EventStore> = store.clone();
        followers.spawn(async move {
            let mut subscription = its_store.subscribe(begin, Filter::default()).await.unwrap();
            let mut seen = Vec::new();
            // At least 240 events follow the position it begins at, wherever that is.
            while seen.len() < 60 {
                if let Delivery::Events { events, .. } = subscription.next().await.unwrap().unwrap() {
                    seen.extend(events);
                }
            }
            (begin, subscription, seen)
        });
        write(&*store, append(&stream(&format!("stock-{}", begin.0)), Expected::Any, begin.0, 20)).await;
    }
    writers.join_all().await;
    let end = write(&*store, append(&stream("order-last"), Expected::NoStream, 0, 1)).await.position;
    let log = read_log(&*store).await;
    for (begin, mut subscription, mut seen) in followers.join_all().await {
        if seen.last().is_some_and(|last| last.position < end) {
            seen.extend(follow_to(&mut subscription, end).await);
        }
        let expected: Vec<_> = log.iter().filter(|event| event.position > begin).collect();
        assert_eq!(ids(seen.iter().map(|event| &**event)), ids(expected));
    }
}

/// Rule: a subscriber that was slow gets everything all the same, however far the log has run ahead of it.
pub async fn a_slow_subscriber_misses_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    let mut end = Position::START;
    // More than an adapter keeps in memory for its readers.
    for batch in 0..12_u64 {
        let expected = Expected::at((batch * 1_000).checked_sub(1));
        end = write(&*store, append(&of, expected, batch * 1_000, 1_000)).await.position;
    }
    let seen = follow_to(&mut subscription, end).await;
    assert_eq!(seen.len(), 12_000);
    assert!((0..).zip(&seen).all(|(version, event)| event.version == version));
}

/// Rule: a filter lets the named categories through; the checkpoint moves for what it holds back.
pub async fn a_filtered_subscriber_gets_its_categories_and_every_checkpoint(harness: &impl Harness) {
    let store = harness.open().await;
    write(&*store, append(&stream("order-1"), Expected::NoStream, 0, 2)).await;
    write(&*store, append(&stream("payment-1"), Expected::NoStream, 0, 1)).await;
    let mut subscription = store.subscribe(Position::START, Filter::categories(["payment", "stock"])).await.unwrap();
    write(&*store, append(&stream("stock-1"), Expected::NoStream, 0, 1)).await;
    let end = write(&*store, append(&stream("order-2"), Expected::NoStream, 0, 1)).await.position;
    let seen = follow_to(&mut subscription, end).await;
    assert_eq!(seen.iter().map(|event| event.stream.as_str()).collect::<Vec<_>>(), ["payment-1", "stock-1"]);
    assert!(matches!(subscription.next().await, Some(Ok(Delivery::CaughtUp))));
    let end = write(&*store, append(&stream("order-3"), Expected::NoStream, 0, 1)).await.position;
    match subscription.next().await {
        Some(Ok(Delivery::Events { events, up_to })) => assert_eq!((events.len(), up_to), (0, end)),
        other => panic!("{other:?}"),
    }
}

/// Rule: a subscriber is told once when it has caught up, and not before it has.
pub async fn a_subscriber_is_told_when_it_has_caught_up(harness: &impl Harness) {
    let store = harness.open().await;
    let end = write(&*store, append(&stream("order-1"), Expected::NoStream, 0, 5)).await.position;
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    let mut seen = 0;
    while let Delivery::Events { events, .. } = subscription.next().await.unwrap().unwrap() {
        seen += events.len();
    }
    assert_eq!(seen, 5);
    let mut late = store.subscribe(end, Filter::default()).await.unwrap();
    assert!(matches!(late.next().await, Some(Ok(Delivery::CaughtUp))));
    write(&*store, append(&stream("order-2"), Expected::NoStream, 0, 1)).await;
    for subscription in [&mut subscription, &mut late] {
        assert!(matches!(subscription.next().await, Some(Ok(Delivery::Events { .. }))), "told once");
    }
}

/// Rule: a wait that is given up loses nothing.
pub async fn a_dropped_wait_loses_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    let mut seen = Vec::new();
    let mut end = Position::START;
    for version in 0..200_u64 {
        let of = stream("order-1");
        end = write(&*store, append(&of, Expected::at(version.checked_sub(1)), version, 1)).await.position;
        // Polled once and dropped, wherever it was.
        if let Ok(Some(Ok(Delivery::Events { events, .. }))) =
            tokio::time::timeout(Duration::ZERO, subscription.next()).await
        {
            seen.extend(events);
        }
    }
    if seen.last().is_none_or(|event| event.position < end) {
        seen.extend(follow_to(&mut subscription, end).await);
    }
    assert_eq!(ids(seen.iter().map(|event| &**event)), ids(&read_log(&*store).await));
}

/// Rule: a subscription ends when the store closes.
pub async fn a_subscription_ends_when_the_store_closes(harness: &impl Harness) {
    let store = harness.open().await;
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Ok(Delivery::CaughtUp))));
    let (ended, ()) = tokio::join!(subscription.next(), harness.close());
    assert!(ended.is_none());
}
