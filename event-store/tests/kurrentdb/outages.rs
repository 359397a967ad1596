//! A server that goes, comes, freezes, or whose answers are lost.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::conformance::{append, event, stream};
use event_store::kurrentdb::Health;
use event_store::{
    Append, AppendError, Delivery, Direction, EventStore, Expected, Filter, KurrentStore, Position, ReadError,
    RecordedEvent,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::served::{Served, url};
use crate::wire::{Mode, Wire};

/// A store that waits no longer than this for a call.
async fn store(address: SocketAddr, deadline_ms: u64) -> Arc<KurrentStore> {
    KurrentStore::connect(&format!("{}&defaultDeadline={deadline_ms}", url(address))).await.unwrap()
}

async fn read_log(store: &dyn EventStore) -> Vec<RecordedEvent> {
    store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await.unwrap()
}

/// A port on which nobody listens.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_killed_repeatedly_under_appends_loses_and_doubles_no_event() {
    const WRITERS: u64 = 8;
    let dir = TempDir::new().unwrap();
    let mut served = Served::start(dir.path(), None).await;
    let store = store(served.address, 20_000).await;
    let mut writers = JoinSet::new();
    let stop = tokio::sync::watch::Sender::new(false);
    for writer in 0..WRITERS {
        let (store, stop) = (store.clone(), stop.subscribe());
        writers.spawn(async move {
            let of = stream(&format!("order-{writer}"));
            let mut versions = 0..;
            for version in versions.by_ref() {
                if *stop.borrow() {
                    break;
                }
                let new = append(&of, Expected::at(u64::checked_sub(version, 1)), version, 1);
                let appended = store.append(new).await.unwrap().durable().await.unwrap();
                assert_eq!(appended.version, version);
            }
            versions.start - 1
        });
    }
    let mut head = store.head();
    for _ in 0..4 {
        // Killed in the middle of it: some hundred events further.
        let target = Position(head.borrow().0 + 200);
        head.wait_for(|head| *head >= target).await.unwrap();
        let address = served.address;
        served.kill().await;
        served = Served::start(dir.path(), Some(address)).await;
    }
    stop.send_replace(true);
    let acknowledged: u64 = writers.join_all().await.into_iter().sum();
    let log = read_log(&*store).await;
    assert_eq!(log.len() as u64, acknowledged);
    let ids: HashSet<_> = log.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), log.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscription_goes_on_over_restarts_without_a_hole_or_a_duplicate() {
    let dir = TempDir::new().unwrap();
    let mut served = Served::start(dir.path(), None).await;
    let store = store(served.address, 20_000).await;
    let all = store.subscribe(Position::START, Filter::default()).await.unwrap();
    let payments = store.subscribe(Position::START, Filter::categories(["payment"])).await.unwrap();
    let mut followers = JoinSet::new();
    let end = 600;
    for (mut subscription, wanted) in [(all, end), (payments, end / 3)] {
        followers.spawn(async move {
            let (mut seen, mut told) = (Vec::new(), 0);
            while seen.len() < wanted {
                match subscription.next().await.unwrap().unwrap() {
                    Delivery::Events { events, .. } => {
                        seen.extend(events.iter().map(|event| (event.position, event.id)))
                    }
                    Delivery::CaughtUp => told += 1,
                }
            }
            assert!(told <= 1, "told once, whatever happened to connections");
            (wanted, seen)
        });
    }
    for number in 0..u64::try_from(end).unwrap() {
        let of = stream(&format!("{}-{number}", if number % 3 == 0 { "payment" } else { "order" }));
        store.append(append(&of, Expected::NoStream, 0, 1)).await.unwrap();
        if number % 150 == 149 {
            let address = served.address;
            if number % 300 == 149 {
                served.kill().await
            } else {
                served.stop().await
            }
            served = Served::start(dir.path(), Some(address)).await;
        }
    }
    let log = read_log(&*store).await;
    for (wanted, seen) in followers.join_all().await {
        let passing = log.iter().filter(|event| wanted == end || event.stream.category() == "payment");
        assert_eq!(seen, passing.map(|event| (event.position, event.id)).collect::<Vec<_>>());
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_asked_before_the_server_is_there_is_done_when_it_comes() {
    let dir = TempDir::new().unwrap();
    let address = free_address().await;
    let store = store(address, 20_000).await;
    assert!(matches!(&*store.health().borrow(), Health::Away { attempts, .. } if *attempts > 0));
    let mut appends = JoinSet::new();
    for number in 0..10_u64 {
        let store = store.clone();
        appends.spawn(async move {
            let new = append(&stream(&format!("order-{number}")), Expected::NoStream, 0, 1);
            store.append(new).await
        });
    }
    // So many failures in a row that calls are not made to wait any more, until the server is there.
    let mut health = store.health();
    let served = Served::start(dir.path(), Some(address)).await;
    health.wait_for(|health| matches!(health, Health::Connected { .. })).await.unwrap();
    for appended in appends.join_all().await {
        assert!(matches!(appended, Ok(_) | Err(AppendError::Unavailable { .. })), "{appended:?}");
    }
    store.append(append(&stream("order-last"), Expected::NoStream, 0, 1)).await.unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_away_is_said_to_be_within_the_deadline_and_found_when_it_is_back() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let address = served.address;
    let store = store(address, 600).await;
    let of = stream("order-1");
    store.append(append(&of, Expected::NoStream, 0, 1)).await.unwrap();
    served.kill().await;
    let mut health = store.health();
    health.wait_for(|health| matches!(health, Health::Away { .. })).await.unwrap();
    let begun = Instant::now();
    let written = store.append(append(&of, Expected::Exact(0), 1, 1)).await;
    assert!(matches!(written, Err(AppendError::Unavailable { .. })), "{written:?}");
    let read = store.read_stream(&of, 0, Direction::Forward, 10).await;
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let served = Served::start(dir.path(), Some(address)).await;
    health.wait_for(|health| matches!(health, Health::Connected { .. })).await.unwrap();
    assert_eq!(store.append(append(&of, Expected::Exact(0), 1, 1)).await.unwrap().last_version, 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_server_gives_an_error_in_time_and_leaves_the_append_unknown() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let wire = Wire::to(served.address).await;
    let store = store(wire.address, 800).await;
    let of = stream("order-1");
    store.append(append(&of, Expected::NoStream, 0, 1)).await.unwrap();
    wire.set(Mode::Frozen);
    let begun = Instant::now();
    let (written, read) = tokio::join!(
        store.append(append(&of, Expected::Exact(0), 1, 1)),
        store.read_stream(&of, 0, Direction::Forward, 10)
    );
    assert!(matches!(written, Err(AppendError::Unknown { .. })), "{written:?}");
    assert!(matches!(read, Err(ReadError::Unavailable { .. })), "{read:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    store.health().wait_for(|health| matches!(health, Health::Away { .. })).await.unwrap();
    wire.set(Mode::Whole);
    wire.cut();
    store.health().wait_for(|health| matches!(health, Health::Connected { .. })).await.unwrap();
    // Whatever became of it, the same ids settle it.
    assert_eq!(store.append(append(&of, Expected::Exact(0), 1, 1)).await.unwrap().last_version, 1);
    assert_eq!(read_log(&*store).await.len(), 2);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_can_be_connected_to_and_answers_no_read_is_away_until_it_does() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let store = store(served.address, 800).await;
    store.append(append(&stream("order-1"), Expected::NoStream, 0, 1)).await.unwrap();
    let mut health = store.health();
    served.faults.stall_reads();
    health.wait_for(|health| matches!(health, Health::Away { .. })).await.unwrap();
    // Over some connections that are made and of no use it stays away.
    for _ in 0..4 {
        health.changed().await.unwrap();
        let now = health.borrow_and_update().clone();
        assert!(matches!(now, Health::Away { .. }), "it answers nothing, and is said to be {now:?}");
    }
    served.faults.resume_reads();
    health.wait_for(|health| matches!(health, Health::Connected { .. })).await.unwrap();
    assert_eq!(read_log(&*store).await.len(), 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscription_leaves_a_connection_that_is_stuck_when_another_is_made() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let wire = Wire::to(served.address).await;
    let store = store(wire.address, 2_000).await;
    let mut subscription = store.subscribe(Position::START, Filter::default()).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Ok(Delivery::CaughtUp))));
    wire.stick();
    let begun = Instant::now();
    let new = append(&stream("order-1"), Expected::NoStream, 0, 1);
    let written = store.append(new).await.unwrap().durable().await.unwrap();
    match subscription.next().await {
        Some(Ok(Delivery::Events { events, up_to })) => assert_eq!((events.len(), up_to), (1, written.position)),
        other => panic!("{other:?}"),
    }
    // Long before a keep-alive would have told (20 s).
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_whose_answer_was_lost_is_written_once_and_answered() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let wire = Wire::to(served.address).await;
    let store = store(wire.address, 20_000).await;
    let of = stream("order-1");
    store.append(append(&of, Expected::NoStream, 0, 1)).await.unwrap();
    for (version, expected) in
        [(1, Expected::Exact(0)), (2, Expected::Any), (3, Expected::Any), (4, Expected::Exact(3))]
    {
        wire.set(Mode::Deaf);
        let appending = store.append(append(&of, expected, version, 1));
        let losing = async {
            // The server has it, and its answer is gone.
            served.log.head().wait_for(|head| *head > Position(version)).await.unwrap();
            wire.has_swallowed().await;
            wire.set(Mode::Whole);
            wire.cut();
        };
        let (appended, ()) = tokio::join!(appending, losing);
        assert_eq!(appended.unwrap().last_version, version);
    }
    assert_eq!(read_log(&*store).await.len(), 5);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_fails_at_the_server_is_made_good_by_the_same_ids() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let store = store(served.address, 20_000).await;
    let of = stream("order-1");
    for version in 0..5_u64 {
        served.faults.fail_commits(1);
        let new = append(&of, Expected::at(version.checked_sub(1)), version, 1);
        assert_eq!(store.append(new).await.unwrap().durable().await.unwrap().version, version);
    }
    assert_eq!(read_log(&*store).await.len(), 5);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_see_each_other_s_events_and_meet_on_a_stream_by_its_version() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let (one, other) = (store(served.address, 20_000).await, store(served.address, 20_000).await);
    assert!(one.is_shared());
    let of = stream("order-1");
    let appended = one.append(append(&of, Expected::NoStream, 0, 1)).await.unwrap().durable().await.unwrap();
    // The other one's head comes to know of it by itself.
    other.head().wait_for(|head| *head >= appended.position).await.unwrap();
    let late = Append { stream: of.clone(), expected: Expected::NoStream, events: vec![event(&of, 50, 20)] };
    match other.append(late).await {
        Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, Some(0)),
        other => panic!("{other:?}"),
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_share_a_call_and_each_hears_its_own_answer() {
    let dir = TempDir::new().unwrap();
    let served = Served::start(dir.path(), None).await;
    let store = store(served.address, 20_000).await;
    let mut writers = JoinSet::new();
    for writer in 0..64_u64 {
        let store = store.clone();
        writers.spawn(async move {
            let of = stream(&format!("order-{}", writer / 2));
            // Of each two one wins.
            let new = Append { stream: of.clone(), expected: Expected::NoStream, events: vec![event(&of, writer, 20)] };
            let id = new.events[0].id;
            match store.append(new).await {
                Ok(ticket) => Some((ticket.durable().await.unwrap(), id)),
                Err(AppendError::Conflict { actual, .. }) => {
                    assert_eq!(actual, Some(0));
                    None
                }
                Err(other) => panic!("{other}"),
            }
        });
    }
    let won: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let log = read_log(&*store).await;
    assert_eq!((won.len(), log.len()), (32, 32));
    for (appended, id) in won {
        assert!(log.iter().any(|event| event.position == appended.position && event.id == id));
    }
    served.stop().await;
}

#[tokio::test]
async fn an_address_of_nodes_that_do_not_lead_is_refused() {
    let error = KurrentStore::connect("kurrentdb://h?nodePreference=follower").await.unwrap_err().to_string();
    assert!(error.contains("`nodePreference`") && error.contains("`leader`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_lets_us_do_nothing_is_said_to_be_away_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let served = Served::start_for(dir.path(), None, Some(("shop", "geheim-geheim-geheim-geheim"))).await;
    let of = stream("order-1");
    let right =
        KurrentStore::connect(&served.url().replace("://", "://shop:geheim-geheim-geheim-geheim@")).await.unwrap();
    right.append(append(&of, Expected::NoStream, 0, 1)).await.unwrap();
    assert!(matches!(&*right.health().borrow(), Health::Connected { .. }));
    let wrong = KurrentStore::connect(&served.url().replace("://", "://shop:falsch@")).await.unwrap();
    let written = wrong.append(append(&of, Expected::Exact(0), 1, 1)).await;
    let Err(AppendError::Unavailable { reason, .. }) = written else { panic!("{written:?}") };
    assert!(reason.contains("password") && !reason.contains("falsch"), "{reason}");
    let mut health = wrong.health();
    let away = |health: &Health| matches!(health, Health::Away { reason, .. } if reason.contains("password"));
    health.wait_for(away).await.unwrap();
    wrong.close();
    health.wait_for(|health| *health == Health::Closed).await.unwrap();
    served.stop().await;
}
