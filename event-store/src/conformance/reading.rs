//! What reading promises.

use super::{Harness, append, read, read_log, stream, write};
use crate::{Direction, Expected, Filter, Position, ReadError, StreamSnapshot};

/// Rule: what was durable is read back as it was appended, also after the log was closed and opened again.
pub async fn what_is_durable_is_read_back_to_the_byte(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let new = append(&of, Expected::NoStream, 0, 3);
    let ticket = store.append(new.clone()).await.unwrap();
    assert_eq!((ticket.first_version, ticket.last_version), (0, 2));
    let appended = ticket.durable().await.unwrap();
    assert_eq!(appended.version, 2);
    let before = read(&*store, &of).await;
    drop(store);
    harness.close().await;
    let store = harness.open().await;
    let after = read(&*store, &of).await;
    for events in [&before, &after] {
        assert_eq!(events.len(), 3);
        assert_eq!(events[2].position, appended.position);
        for (version, (read, written)) in (0..).zip(events.iter().zip(&new.events)) {
            assert_eq!((read.id, read.version, &read.stream), (written.id, version, &of));
            assert_eq!(read.data.get(), written.data.get());
            assert_eq!(read.metadata, written.metadata);
            assert_eq!((&read.event_type, read.schema_version), (&written.event_type, written.schema_version));
        }
    }
    assert_eq!(*store.head().borrow(), appended.position);
}

/// Rule: a stream is read from a version on, forward or backward, and no further than asked.
pub async fn a_stream_is_read_both_ways_from_any_version(harness: &impl Harness) {
    let store = harness.open().await;
    let (of, other) = (stream("order-1"), stream("order-2"));
    write(&*store, append(&of, Expected::NoStream, 0, 4)).await;
    write(&*store, append(&other, Expected::NoStream, 0, 2)).await;
    write(&*store, append(&of, Expected::Exact(3), 4, 3)).await;
    let versions = async |from, direction, limit| -> Vec<u64> {
        let events = store.read_stream(&of, from, direction, limit).await.unwrap();
        assert!(events.iter().all(|event| event.stream == of));
        events.iter().map(|event| event.version).collect()
    };
    assert_eq!(versions(0, Direction::Forward, 100).await, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(versions(3, Direction::Forward, 2).await, [3, 4]);
    assert_eq!(versions(7, Direction::Forward, 2).await, [0; 0]);
    assert_eq!(versions(u64::MAX, Direction::Backward, 3).await, [6, 5, 4]);
    assert_eq!(versions(1, Direction::Backward, 3).await, [1, 0]);
    assert!(read(&*store, &stream("order-3")).await.is_empty(), "a stream that does not exist has no events");
}

/// Rule: the log is read from a position on, forward or backward, through a filter by category, and no further than asked.
pub async fn the_log_is_read_both_ways_from_any_position(harness: &impl Harness) {
    let store = harness.open().await;
    for number in 0..6 {
        write(&*store, append(&stream(&format!("order-{number}")), Expected::NoStream, 0, 1)).await;
        write(&*store, append(&stream(&format!("payment-{number}")), Expected::NoStream, 0, 2)).await;
    }
    let log = read_log(&*store).await;
    assert_eq!(log.len(), 18);
    assert!(log.is_sorted_by(|a, b| a.position < b.position), "positions rise strictly");
    let names = async |from, direction, limit, filter: &Filter| -> Vec<(String, u64)> {
        let events = store.read_all(from, direction, limit, filter).await.unwrap();
        events.iter().map(|event| (event.stream.to_string(), event.version)).collect()
    };
    let (all, orders) = (Filter::default(), Filter::categories(["order"]));
    let end = Position(u64::MAX);
    let named = |name: &str, version| (name.to_owned(), version);
    assert_eq!(names(log[1].position, Direction::Forward, 2, &all).await, [named("payment-0", 1), named("order-1", 0)]);
    assert_eq!(names(end, Direction::Backward, 2, &all).await, [named("payment-5", 1), named("payment-5", 0)]);
    assert_eq!(names(log[1].position, Direction::Backward, 9, &all).await, [named("order-0", 0)]);
    assert_eq!(
        names(log[0].position, Direction::Forward, 2, &orders).await,
        [named("order-1", 0), named("order-2", 0)]
    );
    assert_eq!(names(end, Direction::Backward, 2, &orders).await, [named("order-5", 0), named("order-4", 0)]);
    assert_eq!(names(log[17].position, Direction::Forward, 5, &all).await, []);
    assert_eq!(names(Position::START, Direction::Forward, 100, &Filter::categories(["stock"])).await, []);
}

/// Rule: streams are listed by name, page by page, of one category or of all, each with its last version.
pub async fn streams_are_listed_by_name_and_category(harness: &impl Harness) {
    let store = harness.open().await;
    for name in ["order-b", "order", "orders-x", "order.y", "payment-1", "order-a", "order,z", "saga_order-q"] {
        write(&*store, append(&stream(name), Expected::NoStream, 0, 2)).await;
    }
    write(&*store, append(&stream("order-a"), Expected::Exact(1), 2, 3)).await;
    let list = async |category, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(stream);
        let listed = store.list_streams(category, after.as_ref(), limit).await.unwrap();
        listed.iter().map(|info| format!("{}@{}", info.stream, info.version)).collect()
    };
    assert_eq!(list(Some("order"), None, 10).await, ["order@1", "order-a@4", "order-b@1"]);
    assert_eq!(list(Some("order"), None, 2).await, ["order@1", "order-a@4"]);
    assert_eq!(list(Some("order"), Some("order-a"), 10).await, ["order-b@1"]);
    assert_eq!(list(Some("orders"), None, 10).await, ["orders-x@1"]);
    assert_eq!(list(Some("stock"), None, 10).await, [""; 0]);
    assert_eq!(list(None, Some("order-b"), 3).await, ["order.y@1", "orders-x@1", "payment-1@1"]);
    assert_eq!(list(None, None, 100).await.len(), 8);
}

/// Rule: the newest snapshot of a stream is given back as it was saved; it changes nothing of the stream.
pub async fn the_newest_snapshot_of_a_stream_is_given_back(harness: &impl Harness) -> Result<(), ReadError> {
    let store = harness.open().await;
    let of = stream("stock-a@main");
    write(&*store, append(&of, Expected::NoStream, 0, 2)).await;
    assert_eq!(store.load_snapshot(&of).await?, None);
    for version in 0..2 {
        let snapshot = StreamSnapshot { version, schema: 3, state: format!("{{\"on_hand\":{version}}}") };
        store.save_snapshot(&of, snapshot.clone()).await?;
        assert_eq!(store.load_snapshot(&of).await?, Some(snapshot));
    }
    assert_eq!(store.load_snapshot(&stream("stock-b@main")).await?, None);
    assert_eq!(read(&*store, &of).await.len(), 2);
    assert_eq!(read_log(&*store).await.len(), 2);
    Ok(())
}

/// Rule: the numbers about the log are those of its events.
pub async fn the_numbers_about_the_log_are_those_of_its_events(harness: &impl Harness) {
    let store = harness.open().await;
    assert_eq!(store.stats().await.unwrap().last_recorded_at, None);
    write(&*store, append(&stream("order-1"), Expected::NoStream, 0, 3)).await;
    write(&*store, append(&stream("order-1"), Expected::Exact(2), 3, 1)).await;
    write(&*store, append(&stream("payment-1"), Expected::NoStream, 0, 1)).await;
    let stats = store.stats().await.unwrap();
    let last = read_log(&*store).await.pop().unwrap();
    assert_eq!((stats.events, stats.streams, stats.position), (5, 2, last.position));
    assert_eq!(stats.last_recorded_at, Some(last.recorded_at));
    assert_eq!(stats.categories, [("order".to_owned(), 4), ("payment".to_owned(), 1)]);
    assert!(stats.bytes > 0);
}
