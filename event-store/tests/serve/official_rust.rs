//! The official Rust client, `kurrentdb`.

use kurrentdb::{
    AppendToStreamOptions, Client, ClientSettings, DeleteStreamOptions, Error, EventData, ReadAllOptions,
    ReadStreamOptions, RetryOptions, StreamPosition, StreamState, SubscribeToAllOptions, SubscribeToStreamOptions,
    Subscription, SubscriptionEvent, SubscriptionFilter,
};

use super::*;

fn client(url: &str) -> Client {
    let settings: ClientSettings = url.parse().unwrap();
    Client::new(settings).unwrap()
}

fn happened(number: u128) -> EventData {
    EventData::json("Happened", &serde_json::json!({ "number": u64::try_from(number).unwrap() }))
        .unwrap()
        .id(Uuid::from_u128(number))
}

fn options(state: StreamState) -> AppendToStreamOptions {
    AppendToStreamOptions::default().stream_state(state)
}

#[tokio::test]
async fn the_rust_client_appends_and_is_told_of_conflicts() {
    let served = Served::start().await;
    let client = client(&served.url());
    let first = client.append_to_stream("order-1", &options(StreamState::NoStream), happened(1)).await.unwrap();
    assert_eq!((first.next_expected_version, first.position.commit), (0, 1));
    let two = vec![happened(2), happened(3)];
    let second = client.append_to_stream("order-1", &options(StreamState::StreamRevision(0)), two).await.unwrap();
    assert_eq!((second.next_expected_version, second.position.commit), (2, 3));
    let again = client.append_to_stream("order-1", &options(StreamState::NoStream), happened(1)).await.unwrap();
    assert_eq!((again.next_expected_version, again.position), (0, first.position));
    let conflict = client.append_to_stream("order-1", &options(StreamState::NoStream), happened(9)).await;
    assert!(matches!(conflict, Err(Error::WrongExpectedVersion { .. })), "{conflict:?}");
    let denied = client.delete_stream("order-1", &DeleteStreamOptions::default()).await;
    assert!(matches!(denied, Err(Error::AccessDenied)), "{denied:?}");
    let batch = client.batch_append(&Default::default()).await.unwrap();
    let result =
        batch.append_to_stream("order-2", StreamState::NoStream, vec![happened(4), happened(5)]).await.unwrap();
    assert_eq!(result.current_revision(), Some(1));
    assert_eq!(served.log().await.iter().map(|event| event.id.as_u128()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    served.stop().await;
}

#[tokio::test]
async fn the_rust_client_reads_streams_and_the_log_both_ways() {
    let served = Served::start().await;
    served.append("order-1", 0, 700).await;
    served.append("stock-1", 0, 3).await;
    let client = client(&served.url());
    let backwards = ReadStreamOptions::default().backwards().position(StreamPosition::End).max_count(2);
    let mut read = client.read_stream("order-1", &backwards).await.unwrap();
    assert_eq!(read.next().await.unwrap().unwrap().get_original_event().revision, 699);
    assert_eq!(read.next().await.unwrap().unwrap().get_original_event().revision, 698);
    assert!(read.next().await.unwrap().is_none());
    let forwards = ReadStreamOptions::default().position(StreamPosition::Start);
    let mut read = client.read_stream("order-1", &forwards).await.unwrap();
    let mut count = 0;
    while let Some(event) = read.next().await.unwrap() {
        let event = event.get_original_event();
        assert_eq!((event.revision, event.stream_id()), (count, "order-1"));
        assert!(event.is_json);
        count += 1;
    }
    assert_eq!(count, 700);
    let mut missing = client.read_stream("order-9", &forwards).await.unwrap();
    assert!(matches!(missing.next().await, Err(Error::ResourceNotFound)));
    let stock = ReadAllOptions::default()
        .position(StreamPosition::Start)
        .filter(SubscriptionFilter::on_stream_name().add_prefix("stock-"));
    let mut read = client.read_all(&stock).await.unwrap();
    let mut positions = Vec::new();
    while let Some(event) = read.next().await.unwrap() {
        positions.push(event.get_original_event().position.commit);
    }
    assert_eq!(positions, [701, 702, 703]);
    served.stop().await;
}

async fn next_event(subscription: &mut Subscription) -> (String, u64) {
    let event = within(subscription.next()).await.unwrap();
    let event = event.get_original_event();
    (event.stream_id().to_owned(), event.revision)
}

#[tokio::test]
async fn the_rust_client_follows_a_stream_and_the_filtered_log() {
    let served = Served::start().await;
    served.append("order-1", 0, 3).await;
    served.append("stock-1", 0, 1).await;
    let client = client(&served.url());
    let no_retry = || RetryOptions::default().retry_limit(0);
    let from = SubscribeToStreamOptions::default().start_from(StreamPosition::Position(1)).retry_options(no_retry());
    let mut stream = client.subscribe_to_stream("order-1", &from).await;
    assert_eq!(next_event(&mut stream).await, ("order-1".to_owned(), 2));
    let filter = SubscriptionFilter::on_stream_name().regex("^stock-").max(2);
    let from =
        SubscribeToAllOptions::default().position(StreamPosition::Start).filter(filter).retry_options(no_retry());
    let mut all = client.subscribe_to_all(&from).await;
    let (mut confirmed, mut checkpoints, mut events) = (false, 0, 0);
    loop {
        match within(all.next_subscription_event()).await.unwrap() {
            SubscriptionEvent::Confirmed(_) => confirmed = true,
            SubscriptionEvent::Checkpoint(_) => checkpoints += 1,
            SubscriptionEvent::EventAppeared(event) => {
                assert_eq!(event.get_original_event().stream_id(), "stock-1");
                events += 1;
            }
            SubscriptionEvent::CaughtUp(at) => {
                assert_eq!(at.unwrap().position.unwrap().commit, 4);
                break;
            }
            SubscriptionEvent::FirstStreamPosition(_)
            | SubscriptionEvent::LastStreamPosition(_)
            | SubscriptionEvent::LastAllPosition(_)
            | SubscriptionEvent::FellBehind(_) => panic!("nothing of that was asked for"),
        }
    }
    assert!(confirmed);
    assert_eq!((events, checkpoints), (1, 3), "after two, after four, and before it has caught up");
    served.append("order-1", 3, 1).await;
    served.append("stock-1", 1, 1).await;
    assert_eq!(next_event(&mut stream).await, ("order-1".to_owned(), 3));
    assert_eq!(next_event(&mut all).await, ("stock-1".to_owned(), 1));
    served.stop().await;
}

#[tokio::test]
async fn the_rust_client_connects_with_a_password_and_by_gossip() {
    let (user, password) = (Some("shop".to_owned()), Some(password()));
    let served = Served::start_with(EventStoreConfig { user, password, ..EventStoreConfig::default() }).await;
    let discovered = format!("kurrentdb+discover://shop:{PASSWORD}@{}?tls=false", served.address);
    let appended = client(&discovered).append_to_stream("order-1", &options(StreamState::Any), happened(1)).await;
    assert_eq!(appended.unwrap().next_expected_version, 0);
    let wrong = format!("kurrentdb://shop:falsch@{}?tls=false", served.address);
    assert!(client(&wrong).append_to_stream("order-1", &options(StreamState::Any), happened(2)).await.is_err());
    let log = served.log().await;
    assert_eq!((log.len(), &*log[0].metadata.actor), (1, "shop"));
    served.stop().await;
}
