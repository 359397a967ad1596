//! The client by itself against a served log: what the adapter does not use of it.

use bytes::Bytes;
use eventstore_client::{
    Client, Direction, Error, Expected, Filter, LogFrom, LogPosition, Message, NewEvent, RecordedEvent, StreamFrom,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::served::Served;

fn event(number: u64, event_type: &str) -> NewEvent {
    NewEvent {
        id: Uuid::from_u64_pair(7, number),
        event_type: event_type.into(),
        content_type: "application/json",
        data: Bytes::from(format!("{{\"number\":{number}}}")),
        metadata: Bytes::from_static(b"{}"),
    }
}

/// The next events, until there are so many.
async fn take(subscription: &mut eventstore_client::Subscription, count: usize) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        if let Message::Event(event) = subscription.next().await.unwrap() {
            events.push(event);
        }
    }
    events
}

fn revisions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.revision).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_followed_from_any_revision_over_restarts_also_before_it_exists() {
    let dir = TempDir::new().unwrap();
    let mut served = Served::start(dir.path(), None).await;
    let client = Client::new(served.url().parse().unwrap());
    let mut from_start = client.subscribe_to_stream("order-1", None);
    let mut from_five = client.subscribe_to_stream("order-1", Some(5));
    loop {
        // There is no such stream yet, and the subscription is live all the same.
        if matches!(from_start.next().await.unwrap(), Message::CaughtUp) {
            break;
        }
    }
    for number in 0..12 {
        let expected = if number == 0 { Expected::NoStream } else { Expected::Exact(number - 1) };
        client.append("order-1", expected, &[event(number, "Happened")]).await.unwrap();
        if number % 4 == 3 {
            let address = served.address;
            served.kill().await;
            served = Served::start(dir.path(), Some(address)).await;
        }
    }
    assert_eq!(revisions(&take(&mut from_start, 12).await), (0..12).collect::<Vec<_>>());
    assert_eq!(revisions(&take(&mut from_five, 6).await), (6..12).collect::<Vec<_>>());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_is_read_and_followed_by_prefixes_and_types() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let client = Client::new(served.url().parse().unwrap());
    for (number, (stream, event_type)) in
        (0..).zip([("order-1", "Placed"), ("payment-1", "Placed"), ("order-2", "Paid"), ("stock-1", "Reserved")])
    {
        client.append(stream, Expected::NoStream, &[event(number, event_type)]).await.unwrap();
    }
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let cases = [
        (Filter::StreamPrefixes(texts(&["order-", "stock-"])), &["order-1", "order-2", "stock-1"][..]),
        (Filter::StreamRegex("^(order|payment)-1$".to_owned()), &["order-1", "payment-1"]),
        (Filter::TypePrefixes(texts(&["P"])), &["order-1", "payment-1", "order-2"]),
        (Filter::TypeRegex("^(?!Pl)".to_owned()), &["order-2", "stock-1"]),
    ];
    for (filter, wanted) in cases {
        let read = client.read_log(LogFrom::Start, Direction::Forward, 10, Some(filter.clone())).await.unwrap();
        let names = |events: &[RecordedEvent]| events.iter().map(|event| event.stream.clone()).collect::<Vec<_>>();
        assert_eq!(names(&read), wanted, "{filter:?}");
        let mut backward = client.read_log(LogFrom::End, Direction::Backward, 10, Some(filter.clone())).await.unwrap();
        backward.reverse();
        assert_eq!(names(&backward), wanted, "{filter:?}");
        let mut subscription = client.subscribe_to_log(None, Some(filter.clone()));
        assert_eq!(names(&take(&mut subscription, wanted.len()).await), wanted, "{filter:?}");
        // After the last of them comes how far the log was looked through, then that this was all.
        let mut looked = LogPosition::default();
        while let Message::Checkpoint(position) = subscription.next().await.unwrap() {
            looked = position;
        }
        let end = client.read_log(LogFrom::End, Direction::Backward, 1, None).await.unwrap()[0].position;
        assert!(looked == end || wanted.last() == Some(&"stock-1"), "{filter:?}: {looked:?}");
    }
    let bad = client.read_log(LogFrom::Start, Direction::Forward, 1, Some(Filter::StreamRegex("(".to_owned()))).await;
    assert!(matches!(bad, Err(Error::Refused { .. })), "{bad:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_read_both_ways_and_one_that_is_missing_is_said_to_be() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let client = Client::new(served.url().parse().unwrap());
    let events: Vec<_> = (0..5).map(|number| event(number, "Happened")).collect();
    let written = client.append("order-1", Expected::NoStream, &events).await.unwrap();
    assert_eq!((written.revision, written.position), (4, Some(LogPosition::at(5))));
    let read = async |from, direction, count| {
        client.read_stream("order-1", from, direction, count).await.unwrap().map(|events| revisions(&events))
    };
    assert_eq!(read(StreamFrom::Start, Direction::Forward, 3).await, Some(vec![0, 1, 2]));
    assert_eq!(read(StreamFrom::Revision(3), Direction::Forward, 9).await, Some(vec![3, 4]));
    assert_eq!(read(StreamFrom::Revision(3), Direction::Backward, 2).await, Some(vec![3, 2]));
    assert_eq!(read(StreamFrom::End, Direction::Backward, 1).await, Some(vec![4]));
    let missing = client.read_stream("order-2", StreamFrom::Start, Direction::Forward, 1).await.unwrap();
    assert!(missing.is_none());
    let exists = client.append("order-2", Expected::StreamExists, &[event(9, "Happened")]).await;
    assert!(matches!(exists, Err(Error::WrongExpected { actual: None, .. })), "{exists:?}");
    let found = client.read_stream("order-1", StreamFrom::Revision(2), Direction::Forward, 1).await.unwrap().unwrap();
    assert_eq!((found[0].id, &found[0].data, &*found[0].event_type), (events[2].id, &events[2].data, "Happened"));
    assert!(found[0].created_ticks > 17_000_000_000_000_000);
    served.stop().await;
}
