//! `Append`.

use eventstore_client::proto::streams::append_resp::wrong_expected_version as wrong;
use tonic::Code;

use super::*;

#[tokio::test]
async fn an_append_is_answered_with_its_revision_and_position_and_is_in_the_log() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let first = append(&mut client, "order-1", Wish::NoStream(()), vec![proposed(1), proposed(2)]).await.unwrap();
    assert_eq!(done(first), (1, 2), "the revision and position of its last event");
    let second = append(&mut client, "order-1", Wish::Revision(1), vec![proposed(3)]).await.unwrap();
    assert_eq!(done(second), (2, 3));
    let any = append(&mut client, "order-2", Wish::Any(()), vec![proposed(4)]).await.unwrap();
    assert_eq!(done(any), (0, 4));
    let exists = append(&mut client, "order-2", Wish::StreamExists(()), vec![proposed(5)]).await.unwrap();
    assert_eq!(done(exists), (1, 5));
    let log = served.log().await;
    let places: Vec<(String, u64, u64)> =
        log.iter().map(|event| (event.stream.to_string(), event.version, event.position.0)).collect();
    let wanted = [("order-1", 0, 1), ("order-1", 1, 2), ("order-1", 2, 3), ("order-2", 0, 4), ("order-2", 1, 5)];
    assert_eq!(places, wanted.map(|(stream, version, position)| (stream.to_owned(), version, position)));
    assert_eq!(log[2].data.get(), r#"{"number":3}"#);
    served.stop().await;
}

#[tokio::test]
async fn a_conflict_is_an_answer_that_says_where_the_stream_is_in_old_and_new_words() {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    let mut client = served.client().await;
    for (wish, expected, old) in [
        (
            Wish::NoStream(()),
            wrong::ExpectedRevisionOption::ExpectedNoStream(()),
            wrong::ExpectedRevisionOption2060::Any2060(()),
        ),
        (
            Wish::Revision(7),
            wrong::ExpectedRevisionOption::ExpectedRevision(7),
            wrong::ExpectedRevisionOption2060::ExpectedRevision2060(7),
        ),
    ] {
        let answer = append(&mut client, "order-1", wish, vec![proposed(1)]).await.unwrap();
        let Answer::WrongExpectedVersion(conflict) = answer else { panic!("{answer:?}") };
        assert_eq!(conflict.current_revision_option, Some(wrong::CurrentRevisionOption::CurrentRevision(2)));
        assert_eq!(
            conflict.current_revision_option_20_6_0,
            Some(wrong::CurrentRevisionOption2060::CurrentRevision2060(2))
        );
        assert_eq!(conflict.expected_revision_option, Some(expected));
        assert_eq!(conflict.expected_revision_option_20_6_0, Some(old));
    }
    let answer = append(&mut client, "order-9", Wish::StreamExists(()), vec![proposed(1)]).await.unwrap();
    let Answer::WrongExpectedVersion(conflict) = answer else { panic!("{answer:?}") };
    assert_eq!(conflict.current_revision_option, Some(wrong::CurrentRevisionOption::CurrentNoStream(())));
    assert_eq!(served.log().await.len(), 3, "nothing was written");
    served.stop().await;
}

#[tokio::test]
async fn the_same_ids_again_get_the_first_answer() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for (stream, wish, number) in
        [("order-1", Wish::NoStream(()), 10), ("order-1", Wish::Revision(1), 20), ("order-2", Wish::Any(()), 30)]
    {
        let events = || vec![proposed(number), proposed(number + 1)];
        let first = done(append(&mut client, stream, wish, events()).await.unwrap());
        served.append("other-1", u64::try_from(number).unwrap() / 10 - 1, 1).await;
        let again = done(append(&mut client, stream, wish, events()).await.unwrap());
        assert_eq!(first, again, "{stream}");
    }
    assert_eq!(served.log().await.len(), 6 + 3);
    served.stop().await;
}

#[tokio::test]
async fn what_cannot_be_in_the_log_is_refused_with_the_reason_and_leaves_nothing() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let with = |key: &str, value: Option<&str>| {
        let mut event = proposed(1);
        match value {
            Some(value) => _ = event.metadata.insert(key.to_owned(), value.to_owned()),
            None => _ = event.metadata.remove(key),
        }
        vec![event]
    };
    let data = |data: &[u8]| vec![ProposedMessage { data: data.to_vec().into(), ..proposed(1) }];
    let of_bytes = |bytes| data(format!("\"{}\"", "x".repeat(bytes)).as_bytes());
    let custom = |metadata: &[u8]| vec![ProposedMessage { custom_metadata: metadata.to_vec().into(), ..proposed(1) }];
    let cases = [
        ("order-1", with("content-type", Some("application/octet-stream")), "application/octet-stream", None),
        ("order-1", with("content-type", None), "content-type", Some("missing-required-metadata-property")),
        ("order-1", with("type", None), "`type`", Some("missing-required-metadata-property")),
        ("order-1", data(b"not json"), "not JSON", None),
        ("order-1", data(b"\"\xff\""), "not JSON", None),
        ("order-1", data(b""), "not JSON", None),
        ("order-1", vec![ProposedMessage { id: None, ..proposed(1) }], "not a UUID", None),
        ("order-1", (0..1_001).map(proposed).collect(), "1000 events", None),
        ("order-1", of_bytes(5 << 20), "at most 4194304 bytes", Some("maximum-append-size-exceeded")),
        ("order-1", of_bytes(9 << 20), "at most 4194304 bytes", Some("maximum-append-size-exceeded")),
        ("order-1", of_bytes(1_100_000), "more than 1000000", None),
        ("order-1", custom(br#"{"colour":"red"}"#), "`colour`, which this log has no place for", None),
        ("order-1", custom(br#"{"$correlationId":"job-7"}"#), "not a UUID", None),
        ("order 1", vec![proposed(1)], "no spaces", None),
        ("ordér-1", vec![proposed(1)], "printable ASCII", None),
        ("", vec![proposed(1)], "names no stream", None),
    ];
    for (stream, events, part, exception) in cases {
        let status = append(&mut client, stream, Wish::Any(()), events).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(part), "{part}: {status:?}");
        let told = status.metadata().get("exception").map(|value| value.to_str().unwrap());
        assert_eq!(told, exception, "{status:?}");
    }
    assert!(served.log().await.is_empty());
    served.stop().await;
}

#[tokio::test]
async fn history_stays_and_system_streams_cannot_be_written() {
    use eventstore_client::proto::streams::{DeleteReq, TombstoneReq, delete_req, tombstone_req};
    let served = Served::start().await;
    served.append("order-1", 0, 2).await;
    let mut client = served.client().await;
    let expected_stream_revision = Some(delete_req::options::ExpectedStreamRevision::Any(()));
    let options = delete_req::Options { stream_identifier: identifier("order-1"), expected_stream_revision };
    let mut refused = vec![client.delete(DeleteReq { options: Some(options) }).await.unwrap_err()];
    let expected_stream_revision = Some(tombstone_req::options::ExpectedStreamRevision::Any(()));
    let options = tombstone_req::Options { stream_identifier: identifier("order-1"), expected_stream_revision };
    refused.push(client.tombstone(TombstoneReq { options: Some(options) }).await.unwrap_err());
    for stream in ["$$order-1", "$ce-order", "$all"] {
        refused.push(append(&mut client, stream, Wish::Any(()), vec![proposed(1)]).await.unwrap_err());
    }
    for status in refused {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert_eq!(status.metadata().get("exception").unwrap(), "access-denied");
    }
    assert_eq!(served.log().await.len(), 2);
    served.stop().await;
}

#[tokio::test]
async fn our_envelope_is_kept_and_one_that_is_missing_follows_from_the_event() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let stream: StreamName = "order-1".parse().unwrap();
    let ours = conformance::event(&stream, 0, 10);
    let custom_metadata = event_store::wire::metadata_json(&ours.metadata, 4).into();
    let foreign = format!(r#"{{"$correlationId":"{}"}}"#, Uuid::from_u128(77)).into_bytes().into();
    let events = vec![
        ProposedMessage { custom_metadata, ..proposed(1) },
        ProposedMessage { custom_metadata: foreign, ..proposed(2) },
    ];
    append(&mut client, "order-1", Wish::NoStream(()), events).await.unwrap();
    let log = served.log().await;
    assert_eq!((&*log[0].metadata, log[0].schema_version), (&*ours.metadata, 4));
    let metadata = &log[1].metadata;
    assert_eq!(metadata.partition_key, "order-1");
    assert_eq!(metadata.correlation_id, Uuid::from_u128(77));
    assert_eq!((metadata.causation_id, metadata.command_id), (Uuid::from_u128(2), Uuid::from_u128(2)));
    assert_eq!(metadata.actor, "kurrentdb-client");
    assert!((log[1].recorded_at - metadata.occurred_at).num_seconds().abs() < 60);
    served.stop().await;
}

#[tokio::test]
async fn an_append_whose_commit_failed_is_unsettled_until_the_same_ids_settle_it() {
    let served = Served::start().await;
    served.append("order-1", 0, 1).await;
    let mut client = served.client().await;
    served.faults.fail_commits(1);
    let failed = append(&mut client, "order-1", Wish::Revision(0), vec![proposed(1)]).await.unwrap_err();
    assert_eq!(failed.code(), Code::Aborted, "{failed:?}");
    let again = append(&mut client, "order-1", Wish::Revision(0), vec![proposed(1)]).await.unwrap();
    assert_eq!(done(again), (1, 2));
    assert_eq!(served.log().await.len(), 2);
    served.stop().await;
}

#[tokio::test]
async fn an_append_without_events_only_compares() {
    let served = Served::start().await;
    served.append("order-1", 0, 2).await;
    let mut client = served.client().await;
    let answer = append(&mut client, "order-1", Wish::Revision(1), Vec::new()).await.unwrap();
    assert_eq!(done(answer), (1, 2));
    // A revision that no stream can have.
    for beyond in [u64::MAX, i64::MAX as u64, i64::MAX as u64 - 5] {
        let answer = append(&mut client, "order-1", Wish::Revision(beyond), vec![proposed(1)]).await.unwrap();
        assert!(matches!(answer, Answer::WrongExpectedVersion(_)), "{beyond}");
    }
    let answer = append(&mut client, "order-1", Wish::Revision(0), Vec::new()).await.unwrap();
    assert!(matches!(answer, Answer::WrongExpectedVersion(_)));
    assert_eq!(served.log().await.len(), 2);
    served.stop().await;
}

#[tokio::test]
async fn sixty_four_writers_of_one_stream_meet_by_revision_and_each_event_is_there_once() {
    let served = Served::start().await;
    let mut writers = JoinSet::new();
    let client = served.client().await;
    for writer in 0..64_u128 {
        let mut client = client.clone();
        writers.spawn(async move {
            let mut wish = Wish::NoStream(());
            loop {
                match append(&mut client, "order-1", wish, vec![proposed(writer)]).await.unwrap() {
                    Answer::Success(_) => return,
                    Answer::WrongExpectedVersion(conflict) => {
                        let Some(wrong::CurrentRevisionOption::CurrentRevision(now)) = conflict.current_revision_option
                        else {
                            panic!("{conflict:?}")
                        };
                        wish = Wish::Revision(now);
                    }
                }
            }
        });
    }
    within(writers.join_all()).await;
    let mut ids: Vec<Uuid> = served.log().await.iter().map(|event| event.id).collect();
    ids.sort();
    assert_eq!(ids, (0..64).map(Uuid::from_u128).collect::<Vec<_>>());
    served.stop().await;
}
