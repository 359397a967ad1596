//! Streams `snapshot-<stream>`.

use event_store::StreamSnapshot;
use event_store::wire::SnapshotBody;
use eventstore_client::proto::streams::append_resp::success::CurrentRevisionOption;
use read::CountOption::Count;
use read::all_options::AllOption;
use read::stream_options::RevisionOption;
use read_resp::Content;

use super::*;

fn body(version: u64, state: &str) -> ProposedMessage {
    let body = SnapshotBody { version, schema: 2, state: state.to_owned() };
    let mut event = proposed(u128::from(version) + 1);
    event.metadata.insert("type".to_owned(), "Snapshot".to_owned());
    ProposedMessage { data: serde_json::to_vec(&body).unwrap().into(), ..event }
}

fn kept(answer: Answer) -> u64 {
    let Answer::Success(success) = answer else { panic!("{answer:?}") };
    let Some(CurrentRevisionOption::CurrentRevision(version)) = success.current_revision_option else {
        panic!("{success:?}")
    };
    version
}

#[tokio::test]
async fn only_the_last_event_is_kept_and_it_is_the_log_s_snapshot() {
    let served = Served::start().await;
    served.append("order-1", 0, 8).await;
    let mut client = served.client().await;
    for (wish, version) in [(Wish::NoStream(()), 3), (Wish::Any(()), 5), (Wish::Revision(5), 7)] {
        let answer = append(&mut client, "snapshot-order-1", wish, vec![body(version, "{\"a\":1}")]).await.unwrap();
        assert_eq!(kept(answer), version);
    }
    let conflict = append(&mut client, "snapshot-order-1", Wish::Revision(5), vec![body(9, "{}")]).await.unwrap();
    assert!(matches!(conflict, Answer::WrongExpectedVersion(_)), "{conflict:?}");
    let stream: StreamName = "order-1".parse().unwrap();
    let snapshot = served.store.load_snapshot(&stream).await.unwrap();
    assert_eq!(snapshot, Some(StreamSnapshot { version: 7, schema: 2, state: "{\"a\":1}".to_owned() }));
    for (from, backwards) in [(RevisionOption::Start(()), false), (RevisionOption::End(()), true)] {
        let answers = read_all(&mut client, options(of_stream("snapshot-order-1", from), Count(1), backwards)).await;
        assert_eq!(places(&answers), [("snapshot-order-1".to_owned(), 7)]);
        let Content::Event(event) = &answers[0] else { panic!("{answers:?}") };
        let event = event.event.as_ref().unwrap();
        assert_eq!(event.metadata["type"], "Snapshot");
        let read: SnapshotBody = serde_json::from_slice(&event.data).unwrap();
        assert_eq!(read, SnapshotBody { version: 7, schema: 2, state: "{\"a\":1}".to_owned() });
    }
    served.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_never_in_the_log_nor_told_to_a_subscriber() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let mut all = start_read(&mut client, options(of_all(AllOption::Start(())), FOLLOW, false)).await.unwrap();
    let of = of_stream("snapshot-order-1", RevisionOption::Start(()));
    let mut own = start_read(&mut client, options(of, FOLLOW, false)).await.unwrap();
    for answers in [&mut all, &mut own] {
        assert!(matches!(next(answers).await, Content::Confirmation(_)));
        assert!(matches!(next(answers).await, Content::CaughtUp(_)));
    }
    append(&mut client, "snapshot-order-1", Wish::Any(()), vec![body(0, "{}")]).await.unwrap();
    served.append("order-1", 0, 1).await;
    assert_eq!(place(&next(&mut all).await), Some(("order-1".to_owned(), 0)), "the first that it is told");
    assert_eq!(read_all(&mut client, options(of_all(AllOption::Start(())), Count(9), false)).await.len(), 1);
    assert_eq!(served.log().await.len(), 1);
    served.stop().await;
}

#[tokio::test]
async fn a_snapshot_stream_takes_snapshots_only_and_its_metadata_only_unchanged() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let other_type = ProposedMessage { data: body(1, "{}").data, ..proposed(1) };
    let other_data = ProposedMessage { data: b"{\"version\":1}".to_vec().into(), ..body(1, "{}") };
    for event in [other_type, other_data] {
        let status = append(&mut client, "snapshot-order-1", Wish::Any(()), vec![event]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains("`Snapshot`"), "{status:?}");
    }
    // Clients say it again and again, some with what they expect of the stream.
    for (number, wish) in [(2, Wish::Any(())), (2, Wish::Any(())), (3, Wish::NoStream(())), (4, Wish::Revision(0))] {
        let answer = append(&mut client, "$$snapshot-order-1", wish, vec![proposed(number)]).await.unwrap();
        assert_eq!(kept(answer), 0, "{number}");
    }
    assert!(served.log().await.is_empty());
    assert_eq!(served.store.load_snapshot(&"order-1".parse().unwrap()).await.unwrap(), None);
    served.stop().await;
}
