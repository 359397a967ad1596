//! `Read` for ever: subscriptions.

use read::all_options::AllOption;
use read::stream_options::RevisionOption;
use read_resp::Content;
use tonic::Code;

use super::reading::filter;
use super::*;

#[tokio::test]
async fn the_log_is_confirmed_then_caught_up_then_live_and_from_is_exclusive() {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    let mut client = served.client().await;
    let mut answers = start_read(&mut client, options(of_all(at(1)), FOLLOW, false)).await.unwrap();
    assert!(matches!(next(&mut answers).await, Content::Confirmation(_)));
    assert_eq!(place(&next(&mut answers).await), Some(("order-1".to_owned(), 1)));
    assert_eq!(place(&next(&mut answers).await), Some(("order-1".to_owned(), 2)));
    let Content::CaughtUp(caught_up) = next(&mut answers).await else { panic!("it has caught up") };
    assert!(caught_up.timestamp.is_some());
    assert_eq!(caught_up.position.map(|position| position.commit_position), Some(3));
    assert_eq!(caught_up.stream_revision, None);
    served.append("stock-1", 0, 1).await;
    assert_eq!(place(&next(&mut answers).await), Some(("stock-1".to_owned(), 0)));
    served.stop().await;
}

#[tokio::test]
async fn from_the_end_only_what_comes_is_told() {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    let mut client = served.client().await;
    let ends = [of_all(AllOption::End(())), of_stream("order-1", RevisionOption::End(()))];
    for (after, end) in (3..).zip(ends) {
        let mut answers = start_read(&mut client, options(end, FOLLOW, false)).await.unwrap();
        assert!(matches!(next(&mut answers).await, Content::Confirmation(_)));
        assert!(matches!(next(&mut answers).await, Content::CaughtUp(_)));
        served.append("order-1", after, 1).await;
        assert_eq!(place(&next(&mut answers).await), Some(("order-1".to_owned(), after)));
    }
    served.stop().await;
}

#[tokio::test]
async fn a_filtered_log_tells_every_so_many_events_how_far_it_was_looked_through_live_too() {
    let served = Served::start().await;
    served.append("order-1", 0, 5).await;
    served.append("stock-1", 0, 1).await;
    let mut client = served.client().await;
    let mut asked = options(of_all(AllOption::Start(())), FOLLOW, false);
    asked.filter_option = filter(false, "", &["stock-"], 4);
    let mut answers = start_read(&mut client, asked).await.unwrap();
    assert!(matches!(next(&mut answers).await, Content::Confirmation(_)));
    let checkpoint = |content: Content| {
        let Content::Checkpoint(checkpoint) = content else { panic!("{content:?}") };
        assert_eq!(checkpoint.commit_position, checkpoint.prepare_position);
        checkpoint.commit_position
    };
    assert_eq!(checkpoint(next(&mut answers).await), 4, "after four that were looked at");
    assert_eq!(place(&next(&mut answers).await), Some(("stock-1".to_owned(), 0)));
    assert_eq!(checkpoint(next(&mut answers).await), 6, "before it has caught up");
    assert!(matches!(next(&mut answers).await, Content::CaughtUp(_)));
    served.append("order-1", 5, 9).await;
    assert_eq!(checkpoint(next(&mut answers).await), 10);
    assert_eq!(checkpoint(next(&mut answers).await), 14);
    served.append("stock-1", 1, 1).await;
    assert_eq!(place(&next(&mut answers).await), Some(("stock-1".to_owned(), 1)));
    served.stop().await;
}

#[tokio::test]
async fn a_stream_is_followed_after_a_revision_and_a_missing_one_from_its_first_event() {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    let mut client = served.client().await;
    let of = of_stream("order-1", RevisionOption::Revision(1));
    let mut answers = start_read(&mut client, options(of, FOLLOW, false)).await.unwrap();
    assert!(matches!(next(&mut answers).await, Content::Confirmation(_)));
    assert_eq!(place(&next(&mut answers).await), Some(("order-1".to_owned(), 2)));
    let Content::CaughtUp(caught_up) = next(&mut answers).await else { panic!("it has caught up") };
    assert_eq!((caught_up.stream_revision, caught_up.position), (Some(2), None));
    let of = of_stream("order-2", RevisionOption::Start(()));
    let mut missing = start_read(&mut client, options(of, FOLLOW, false)).await.unwrap();
    assert!(matches!(next(&mut missing).await, Content::Confirmation(_)));
    let Content::CaughtUp(caught_up) = next(&mut missing).await else { panic!("it has caught up") };
    assert_eq!(caught_up.stream_revision, None);
    served.append("order-2", 0, 1).await;
    served.append("order-1", 3, 1).await;
    assert_eq!(place(&next(&mut missing).await), Some(("order-2".to_owned(), 0)));
    assert_eq!(place(&next(&mut answers).await), Some(("order-1".to_owned(), 3)));
    served.stop().await;
}

#[tokio::test]
async fn subscribers_that_begin_in_the_midst_of_appends_get_each_event_once_and_in_order() {
    let served = Served::start().await;
    served.append("order-1", 0, 600).await;
    let mut writing = JoinSet::new();
    let store = served.store.clone();
    writing.spawn(async move {
        let (one, other): (StreamName, StreamName) = ("order-1".parse().unwrap(), "order-2".parse().unwrap());
        for number in 0..400 {
            let append = conformance::append(&one, Expected::Exact(599 + number), 600 + number, 1);
            store.append(append).await.unwrap().durable().await.unwrap();
            let append = conformance::append(&other, Expected::at(number.checked_sub(1)), number, 1);
            store.append(append).await.unwrap();
        }
    });
    let client = served.client().await;
    let mut following = JoinSet::new();
    for number in 0..6 {
        let mut client = client.clone();
        following.spawn(async move {
            let of = if number % 2 == 0 {
                of_stream("order-1", RevisionOption::Start(()))
            } else {
                of_all(AllOption::Start(()))
            };
            let mut answers = start_read(&mut client, options(of, FOLLOW, false)).await.unwrap();
            let mut wanted = 0;
            while wanted < 1_000 {
                let Some((stream, revision)) = place(&next(&mut answers).await) else { continue };
                if stream == "order-1" {
                    assert_eq!(revision, wanted);
                    wanted += 1;
                }
            }
        });
    }
    within(following.join_all()).await;
    within(writing.join_all()).await;
    served.stop().await;
}

#[tokio::test]
async fn a_reader_that_stands_still_is_not_waited_for_and_misses_nothing() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let mut answers = start_read(&mut client, options(of_all(AllOption::Start(())), FOLLOW, false)).await.unwrap();
    assert!(matches!(next(&mut answers).await, Content::Confirmation(_)));
    // More than the windows of the connection and the log's memory of newest events take together.
    for page in 0..12 {
        served.append("order-1", page * 1_000, 1_000).await;
    }
    let mut wanted = 0;
    while wanted < 12_000 {
        let Some((_, revision)) = place(&next(&mut answers).await) else { continue };
        assert_eq!(revision, wanted);
        wanted += 1;
    }
    served.stop().await;
}

#[tokio::test]
async fn a_subscription_never_ends_well() {
    let mut served = Served::start().await;
    served.append("order-1", 0, 1).await;
    let mut client = served.client().await;
    let mut open = Vec::new();
    for of in [
        of_all(AllOption::Start(())),
        of_stream("order-1", RevisionOption::Start(())),
        of_stream("$ce-order", RevisionOption::Start(())),
    ] {
        let mut answers = start_read(&mut client, options(of, FOLLOW, false)).await.unwrap();
        while !matches!(next(&mut answers).await, Content::CaughtUp(_)) {}
        open.push(answers);
    }
    served.stop.take().unwrap().send(()).unwrap();
    for mut answers in open {
        assert_eq!(within(answers.message()).await.unwrap_err().code(), Code::Unavailable);
    }
    within(served.serving.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_subscription_ends_as_unavailable_when_the_log_is_closed() {
    let served = Served::start().await;
    served.append("order-1", 0, 1).await;
    let mut client = served.client().await;
    let mut answers = start_read(&mut client, options(of_all(AllOption::Start(())), FOLLOW, false)).await.unwrap();
    while !matches!(next(&mut answers).await, Content::CaughtUp(_)) {}
    served.store.close().await;
    assert_eq!(within(answers.message()).await.unwrap_err().code(), Code::Unavailable);
    let status = append(&mut client, "order-1", Wish::Any(()), vec![proposed(1)]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    served.stop().await;
}
