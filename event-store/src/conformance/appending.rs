//! What appending promises.

use super::{Harness, append, event, read, read_log, stream, write};
use crate::{Append, AppendError, Expected};

/// Rule: who has waited for a ticket finds everything durable that was queued before it.
pub async fn durable_implies_every_earlier_ticket_durable(harness: &impl Harness) {
    let store = harness.open().await;
    let mut tickets = Vec::new();
    for number in 0..300_u64 {
        let of = stream(&format!("order-{}", number % 20));
        let expected = Expected::at((number / 20).checked_sub(1));
        tickets.push(store.append(append(&of, expected, number / 20, 1)).await.unwrap());
    }
    let last = tickets.pop().unwrap().durable().await.unwrap();
    let log = read_log(&*store).await;
    assert_eq!(log.len(), 300, "all that was queued before is durable, too");
    assert_eq!(log[299].position, last.position);
    assert!(*store.head().borrow() >= last.position, "the head has moved before the ticket is answered");
    for (number, event) in (0..).zip(&log) {
        assert_eq!(event.stream, stream(&format!("order-{}", number % 20)), "the log has the order of the queue");
    }
    drop(tickets);
}

/// Rule: an append whose ticket nobody waits for is written all the same.
pub async fn an_append_is_written_though_nobody_waits_for_it(harness: &impl Harness) {
    let store = harness.open().await;
    drop(store.append(append(&stream("order-1"), Expected::NoStream, 0, 1)).await.unwrap());
    write(&*store, append(&stream("order-2"), Expected::NoStream, 0, 1)).await;
    assert_eq!(read(&*store, &stream("order-1")).await.len(), 1);
}

/// Rule: the expected version is compared with the stream's head, what is queued counted in.
pub async fn an_append_conflicts_with_what_is_queued(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let queued = store.append(append(&of, Expected::NoStream, 0, 2)).await.unwrap();
    for (expected, first) in [(Expected::NoStream, 50), (Expected::Exact(0), 50), (Expected::Exact(2), 50)] {
        match store.append(append(&of, expected, first, 1)).await {
            Err(AppendError::Conflict { stream, actual, .. }) => assert_eq!((stream, actual), (of.clone(), Some(1))),
            other => panic!("expected {expected}: {other:?}"),
        }
    }
    match store.append(append(&stream("order-2"), Expected::Exact(0), 0, 1)).await {
        Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, None),
        other => panic!("{other:?}"),
    }
    let next = store.append(append(&of, Expected::Exact(1), 2, 1)).await.unwrap();
    assert_eq!((next.first_version, next.last_version), (2, 2));
    let any = store.append(append(&of, Expected::Any, 3, 2)).await.unwrap();
    assert_eq!((any.first_version, any.last_version), (3, 4));
    any.durable().await.unwrap();
    assert_eq!(queued.durable().await.unwrap().version, 1);
    assert_eq!(next.durable().await.unwrap().version, 2);
    assert_eq!(read(&*store, &of).await.len(), 5, "what conflicted wrote nothing");
}

/// Rule: the same ids again at the version where they stand get the first answer, and nothing is written.
pub async fn a_repeated_append_gets_the_first_answer(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let first = write(&*store, append(&of, Expected::NoStream, 0, 3)).await;
    let second = write(&*store, append(&of, Expected::Exact(2), 3, 2)).await;
    assert_eq!(write(&*store, append(&of, Expected::NoStream, 0, 3)).await, first);
    assert_eq!(write(&*store, append(&of, Expected::Exact(2), 3, 2)).await, second);
    assert_eq!(write(&*store, append(&of, Expected::Any, 3, 2)).await, second);
    drop(store);
    harness.close().await;
    let store = harness.open().await;
    let ticket = store.append(append(&of, Expected::NoStream, 0, 3)).await.unwrap();
    assert_eq!((ticket.first_version, ticket.last_version), (0, 2));
    assert_eq!(ticket.durable().await.unwrap(), first);
    assert_eq!(write(&*store, append(&of, Expected::Any, 3, 2)).await, second);
    assert_eq!(read_log(&*store).await.len(), 5);
}

/// Rule: the same holds while the first append still waits to be written.
pub async fn a_repeated_append_gets_the_first_answer_while_that_is_queued(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let one = store.append(append(&of, Expected::NoStream, 0, 3)).await.unwrap();
    let two = store.append(append(&of, Expected::NoStream, 0, 3)).await.unwrap();
    let three = store.append(append(&of, Expected::Any, 0, 3)).await.unwrap();
    let next = store.append(append(&of, Expected::Exact(2), 3, 1)).await.unwrap();
    let one = one.durable().await.unwrap();
    assert_eq!(two.durable().await.unwrap(), one);
    assert_eq!(three.durable().await.unwrap(), one);
    assert_eq!(next.durable().await.unwrap().version, 3);
    assert_eq!(read(&*store, &of).await.len(), 4);
}

/// Rule: an append that only begins like what stands there is a conflict, not a repetition.
pub async fn other_ids_at_the_same_version_conflict(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    write(&*store, append(&of, Expected::NoStream, 0, 2)).await;
    let mut half = append(&of, Expected::NoStream, 0, 2);
    half.events[1] = event(&of, 77, 20);
    let longer = append(&of, Expected::NoStream, 0, 3);
    let shifted = append(&of, Expected::Exact(0), 0, 2);
    for append in [half, longer, shifted] {
        assert!(matches!(store.append(append).await, Err(AppendError::Conflict { actual: Some(1), .. })));
    }
    assert_eq!(read(&*store, &of).await.len(), 2);
}

/// Rule: an append of no events, or of more than a thousand, is refused and writes nothing.
pub async fn an_append_without_events_or_with_too_many_is_refused(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let none = Append { stream: of.clone(), expected: Expected::NoStream, events: Vec::new() };
    for append in [none, append(&of, Expected::NoStream, 0, 1_001)] {
        assert!(matches!(store.append(append).await, Err(AppendError::Refused { .. })));
    }
    assert_eq!(write(&*store, append(&of, Expected::NoStream, 0, 1_000)).await.version, 999);
    assert_eq!(read_log(&*store).await.len(), 1_000);
}

/// Rule: once closed, the log takes nothing more, and what was queued before is durable.
pub async fn closing_writes_what_is_queued_and_takes_nothing_more(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let mut tickets = Vec::new();
    for version in 0..50_u64 {
        tickets.push(store.append(append(&of, Expected::at(version.checked_sub(1)), version, 1)).await.unwrap());
    }
    harness.close().await;
    for (version, ticket) in (0..).zip(tickets) {
        assert_eq!(ticket.durable().await.unwrap().version, version);
    }
    let refused = store.append(append(&of, Expected::Exact(49), 50, 1)).await;
    assert!(matches!(refused, Err(AppendError::Unwritable { .. })), "{refused:?}");
    drop(store);
    assert_eq!(read(&*harness.open().await, &of).await.len(), 50);
}
