//! `Read`, as far as it ends.

use event_store::wire;
use read::CountOption::Count;
use read::all_options::AllOption;
use read::stream_options::RevisionOption;
use read_resp::Content;

use super::*;

/// `order-1` 0–2 at 1–3, `stock-1` 0–1 at 4–5, `order-1` 3 at 6.
async fn six_events() -> Served {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    served.append("stock-1", 0, 2).await;
    served.append("order-1", 3, 1).await;
    served
}

#[tokio::test]
async fn a_stream_s_revisions_count_inclusively_in_both_directions() {
    let served = six_events().await;
    let mut client = served.client().await;
    for (from, count, backwards, wanted) in [
        (RevisionOption::Start(()), u64::MAX, false, &[0, 1, 2, 3][..]),
        (RevisionOption::Revision(1), 2, false, &[1, 2]),
        (RevisionOption::End(()), u64::MAX, true, &[3, 2, 1, 0]),
        (RevisionOption::Revision(1), 10, true, &[1, 0]),
        (RevisionOption::Revision(u64::MAX), 1, true, &[3]),
        (RevisionOption::Start(()), 5, true, &[0]),
        (RevisionOption::Revision(9), 5, false, &[]),
        (RevisionOption::End(()), 5, false, &[]),
        (RevisionOption::Start(()), 0, false, &[]),
    ] {
        let answers = read_all(&mut client, options(of_stream("order-1", from), Count(count), backwards)).await;
        let wanted: Vec<(String, u64)> = wanted.iter().map(|revision| ("order-1".to_owned(), *revision)).collect();
        assert_eq!(places(&answers), wanted, "{from:?} {count} {backwards}");
        assert_eq!(answers.len(), wanted.len(), "nothing else is said: {answers:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_said_to_be_missing() {
    let served = six_events().await;
    let mut client = served.client().await;
    for stream in
        ["order-2", "$$order-1", "$ce-order", "$all", "bestellung-ü", "snapshot-order-1", "$$snapshot-order-1"]
    {
        let answers =
            read_all(&mut client, options(of_stream(stream, RevisionOption::Start(())), Count(5), false)).await;
        let [Content::StreamNotFound(missing)] = &answers[..] else { panic!("{stream}: {answers:?}") };
        assert_eq!(missing.stream_identifier, identifier(stream));
    }
    served.stop().await;
}

#[tokio::test]
async fn the_last_revision_is_told_only_to_those_who_understand_it() {
    let served = six_events().await;
    let mut client = served.client().await;
    let mut asked = options(of_stream("order-1", RevisionOption::Start(())), Count(2), false);
    asked.control_option = Some(read::ControlOption { compatibility: 1 });
    let answers = read_all(&mut client, asked).await;
    assert!(
        matches!(answers[..], [Content::Event(_), Content::Event(_), Content::LastStreamPosition(3)]),
        "{answers:?}"
    );
    served.stop().await;
}

#[tokio::test]
async fn the_whole_log_is_read_inclusively_forwards_and_exclusively_backwards() {
    let served = six_events().await;
    let mut client = served.client().await;
    for (from, count, backwards, wanted) in [
        (AllOption::Start(()), u64::MAX, false, &[1, 2, 3, 4, 5, 6][..]),
        (at(0), 2, false, &[1, 2]),
        (at(3), 2, false, &[3, 4]),
        (at(7), 2, false, &[]),
        (at(u64::MAX), 2, false, &[]),
        (AllOption::End(()), 5, false, &[]),
        (AllOption::End(()), u64::MAX, true, &[6, 5, 4, 3, 2, 1]),
        (at(u64::MAX), 1, true, &[6]),
        (at(3), 9, true, &[2, 1]),
        (at(1), 9, true, &[]),
        (AllOption::Start(()), 9, true, &[]),
    ] {
        let answers = read_all(&mut client, options(of_all(from), Count(count), backwards)).await;
        let positions: Vec<u64> = answers.iter().map(position).collect();
        assert_eq!(positions, wanted, "{from:?} {count} {backwards}");
    }
    served.stop().await;
}

fn position(content: &Content) -> u64 {
    let Content::Event(event) = content else { panic!("{content:?}") };
    let Some(read_resp::read_event::Position::CommitPosition(position)) = event.position else { panic!("{event:?}") };
    let recorded = event.event.as_ref().unwrap();
    assert_eq!((recorded.commit_position, recorded.prepare_position), (position, position));
    position
}

#[tokio::test]
async fn an_event_is_told_with_all_that_the_log_knows_of_it() {
    let served = six_events().await;
    let mut client = served.client().await;
    let mut asked = options(of_stream("order-1", RevisionOption::Start(())), Count(1), false);
    let event = &served.log().await[0];
    let recorded = |answers: Vec<Content>| match &answers[..] {
        [Content::Event(event)] => event.event.clone().unwrap(),
        _ => panic!("{answers:?}"),
    };
    let told = recorded(read_all(&mut client, asked.clone()).await);
    assert_eq!(told.id.unwrap().value, Some(Value::String(event.id.to_string())));
    assert_eq!(told.metadata["type"], "Happened");
    assert_eq!(told.metadata["content-type"], "application/json");
    assert_eq!(wire::of_ticks(&told.metadata["created"]), Some(event.recorded_at));
    assert_eq!(told.data, event.data.get().as_bytes());
    assert_eq!(told.custom_metadata, wire::metadata_json(&event.metadata, event.schema_version));
    asked.uuid_option = Some(read::UuidOption { content: Some(read::uuid_option::Content::Structured(())) });
    let halves = recorded(read_all(&mut client, asked).await).id.unwrap().value;
    let Some(Value::Structured(halves)) = halves else { panic!("{halves:?}") };
    let id = Uuid::from_u64_pair(
        halves.most_significant_bits.cast_unsigned(),
        halves.least_significant_bits.cast_unsigned(),
    );
    assert_eq!(id, event.id);
    served.stop().await;
}

/// A filter by stream names (or by types), by an expression or by prefixes.
pub fn filter(by_type: bool, regex: &str, prefix: &[&str], window: u32) -> Option<read::FilterOption> {
    use read::filter_options::{Expression, Filter, Window};
    let expression =
        Expression { regex: regex.to_owned(), prefix: prefix.iter().map(|prefix| (*prefix).to_owned()).collect() };
    let filter = if by_type { Filter::EventType(expression) } else { Filter::StreamIdentifier(expression) };
    Some(read::FilterOption::Filter(read::FilterOptions {
        filter: Some(filter),
        window: Some(Window::Max(window)),
        checkpoint_interval_multiplier: 1,
    }))
}

#[tokio::test]
async fn the_whole_log_is_filtered_by_names_and_types_by_expressions_and_prefixes() {
    let served = six_events().await;
    let mut client = served.client().await;
    for (filter, count, wanted) in [
        (filter(false, "", &["stock-"], 32), 9, &[4, 5][..]),
        (filter(false, "", &["stock-", "order-"], 32), 9, &[1, 2, 3, 4, 5, 6]),
        (filter(false, "^order", &["stock-"], 32), 9, &[1, 2, 3, 6]),
        (filter(false, "^order", &[], 32), 2, &[1, 2]),
        // Python's default: nothing of the system.
        (filter(true, r"^(?!(?:\$.+|PersistentConfig\d+)$).*$", &[], 32), 9, &[1, 2, 3, 4, 5, 6]),
        (filter(true, "^Happ", &[], 32), 1, &[1]),
        (filter(true, "Never", &[], 32), 9, &[]),
        (filter(true, "", &[], 32), 2, &[1, 2]),
    ] {
        let mut asked = options(of_all(AllOption::Start(())), Count(count), false);
        asked.filter_option = filter.clone();
        let positions: Vec<u64> = read_all(&mut client, asked).await.iter().map(position).collect();
        assert_eq!(positions, wanted, "{filter:?}");
    }
    let mut asked = options(of_all(AllOption::Start(())), Count(1), false);
    asked.filter_option = filter(true, "(", &[], 32);
    let status = start_read(&mut client, asked).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    served.stop().await;
}

#[tokio::test]
async fn a_read_of_many_pages_is_whole_in_both_directions() {
    let served = Served::start().await;
    for page in 0..3 {
        served.append("order-1", page * 1_000, 1_000).await;
    }
    let mut client = served.client().await;
    for backwards in [false, true] {
        let from = if backwards { RevisionOption::End(()) } else { RevisionOption::Start(()) };
        let answers = read_all(&mut client, options(of_stream("order-1", from), Count(2_500), backwards)).await;
        let mut revisions: Vec<u64> = places(&answers).into_iter().map(|(_, revision)| revision).collect();
        if backwards {
            revisions.reverse();
        }
        let first = if backwards { 500 } else { 0 };
        assert_eq!(revisions, (first..first + 2_500).collect::<Vec<_>>());
        let from = if backwards { AllOption::End(()) } else { AllOption::Start(()) };
        let answers = read_all(&mut client, options(of_all(from), Count(u64::MAX), backwards)).await;
        let mut positions: Vec<u64> = answers.iter().map(position).collect();
        if backwards {
            positions.reverse();
        }
        assert_eq!(positions, (1..=3_000).collect::<Vec<_>>());
    }
    served.stop().await;
}
