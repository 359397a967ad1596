//! What a failed commit does. An adapter that cannot be made to fail passes these empty-handed.

use super::{Harness, append, follow_to, ids, read, read_log, stream, write};
use crate::{AppendError, Delivery, Expected, Filter, Position};

/// Rule: a failed commit ends the epoch: nothing that was queued is readable, all of its tickets say so, and the log goes
/// on from what was durable.
pub async fn a_failed_commit_ends_the_epoch_and_leaves_nothing_of_it(harness: &impl Harness) {
    let store = harness.open().await;
    let (of, other) = (stream("order-1"), stream("order-2"));
    let before = write(&*store, append(&of, Expected::NoStream, 0, 1)).await;
    let mut epoch = store.epoch();
    let first = *epoch.borrow_and_update();
    if !harness.fail_next_commit() {
        return;
    }
    // One call after the other without waiting: they share the commit that fails, or are queued behind it.
    let one = store.append(append(&of, Expected::Exact(0), 1, 2)).await.unwrap();
    assert_eq!(one.epoch, first);
    let failed = one.durable().await;
    assert!(matches!(&failed, Err(AppendError::EpochEnded { stream }) if *stream == of), "{failed:?}");
    epoch.changed().await.unwrap();
    assert!(*epoch.borrow() > first);
    assert_eq!(read(&*store, &of).await.len(), 1);
    assert_eq!(*store.head().borrow(), before.position);
    // The head is what is durable: the same append is no repetition, and another stream begins anew.
    assert_eq!(write(&*store, append(&of, Expected::Exact(0), 1, 2)).await.version, 2);
    let next = store.append(append(&other, Expected::NoStream, 0, 1)).await.unwrap();
    assert_eq!(next.epoch, *epoch.borrow());
    assert_eq!(next.durable().await.unwrap().version, 0);
    assert_eq!(read_log(&*store).await.len(), 4);
}

/// Rule: what stands on an append that failed fails with it; a ticket is never durable without an earlier one.
pub async fn what_was_queued_behind_a_failed_commit_fails_with_it(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    if !harness.fail_next_commit() {
        return;
    }
    let mut tickets = Vec::new();
    for version in 0..100_u64 {
        match store.append(append(&of, Expected::at(version.checked_sub(1)), version, 1)).await {
            Ok(ticket) => tickets.push(ticket),
            // The commit has failed meanwhile: the head is behind, or the log is just being opened anew.
            Err(AppendError::Conflict { .. } | AppendError::Unwritable { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let first = tickets[0].epoch;
    for ticket in tickets {
        assert_eq!(ticket.epoch, first);
        let answer = ticket.durable().await;
        assert!(matches!(answer, Err(AppendError::EpochEnded { .. })), "{answer:?}");
    }
    assert!(read_log(&*store).await.is_empty());
}

/// Rule: what was decided in an epoch is not queued in the next one, not even where the versions fit again.
pub async fn an_append_of_an_older_epoch_is_refused(harness: &impl Harness) {
    let store = harness.open().await;
    let of = stream("order-1");
    let first = *store.epoch().borrow();
    let ticket = store.append_within(first, append(&of, Expected::NoStream, 0, 1)).await.unwrap();
    assert_eq!(ticket.durable().await.unwrap().version, 0);
    if !harness.fail_next_commit() {
        return;
    }
    let lost = store.append_within(first, append(&of, Expected::Exact(0), 1, 1)).await.unwrap();
    assert!(lost.durable().await.is_err());
    write(&*store, append(&of, Expected::Exact(0), 50, 1)).await;
    let late = store.append_within(first, append(&of, Expected::Exact(1), 2, 1)).await;
    assert!(matches!(late, Err(AppendError::EpochEnded { .. })), "{late:?}");
    let second = *store.epoch().borrow();
    store.append_within(second, append(&of, Expected::Exact(1), 2, 1)).await.unwrap().durable().await.unwrap();
    assert_eq!(read(&*store, &of).await.len(), 3);
}

/// Rule: a subscriber sees durable events only, and all of them, across failed commits.
pub async fn no_subscriber_sees_an_event_that_is_not_durable(harness: &impl Harness) {
    let store = harness.open().await;
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Ok(Delivery::CaughtUp))));
    let mut last = Position::START;
    let mut written = 0;
    for round in 0..20_u64 {
        let of = stream(&format!("order-{round}"));
        let fails = round % 3 == 1 && harness.fail_next_commit();
        let answer = store.append(append(&of, Expected::NoStream, 0, 2)).await.unwrap().durable().await;
        match answer {
            Ok(appended) if !fails => {
                (last, written) = (appended.position, written + 2);
                let seen = follow_to(&mut subscription, last).await;
                let log = read_log(&*store).await;
                assert_eq!(ids(seen.iter().map(|event| &**event)), ids(&log[log.len() - seen.len()..]));
            }
            Err(AppendError::EpochEnded { .. }) if fails => {}
            other => panic!("round {round}: {other:?}"),
        }
    }
    let log = read_log(&*store).await;
    assert_eq!((log.len(), log.last().unwrap().position), (written, last));
}
