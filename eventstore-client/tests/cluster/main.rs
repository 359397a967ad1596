//! A client among several nodes, and what it does with what they say.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod node;

use std::time::{Duration, Instant};

use bytes::Bytes;
use eventstore_client::{Client, Direction, Error, Expected, Health, NewEvent, StreamFrom};
use node::{Log, Node};
use tonic::transport::Identity;
use uuid::Uuid;

/// A client whose pauses are short, as tests are.
fn client(hosts: &str, more: &str) -> Client {
    let text =
        format!("kurrentdb://{hosts}?tls=false&discoveryInterval=10&gossipTimeout=1000&defaultDeadline=8000{more}");
    Client::new(text.parse().unwrap())
}

fn event(number: u128) -> NewEvent {
    NewEvent {
        id: Uuid::from_u128(number),
        event_type: "Happened".into(),
        content_type: "application/json",
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::new(),
    }
}

async fn connected(client: &Client) -> String {
    let mut health = client.health();
    let health = health.wait_for(|health| matches!(health, Health::Connected { .. })).await.unwrap();
    let Health::Connected { node, .. } = &*health else { panic!("{health:?}") };
    node.to_string()
}

#[tokio::test]
async fn among_several_nodes_the_one_that_leads_is_used_and_when_it_dies_the_next_one() {
    let log = Log::default();
    let (one, two) = (Node::start(&log, true, None).await, Node::start(&log, true, None).await);
    let members = vec![(one.address, false), (two.address, true)];
    one.is(|one| (one.members, one.leader) = (members.clone(), Some(two.address)));
    two.is(|two| two.members = members);
    let client = client(&format!("{},{}", one.address, two.address), "");
    assert_eq!(connected(&client).await, two.address.to_string());
    assert_eq!(client.append("order-1", Expected::NoStream, &[event(1)]).await.unwrap().revision, 0);
    // The leader dies; for a while the other one believes that it still leads.
    drop(two);
    let taking_over = async {
        let mut health = client.health();
        health.wait_for(|health| matches!(health, Health::Away { attempts, .. } if *attempts > 1)).await.unwrap();
        one.is(|behaviour| (behaviour.members, behaviour.leader) = (vec![(one.address, true)], None));
    };
    let next = [event(2)];
    let (appended, ()) = tokio::join!(client.append("order-1", Expected::Exact(0), &next), taking_over);
    assert_eq!(appended.unwrap().revision, 1);
    assert_eq!(connected(&client).await, one.address.to_string());
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_node_that_no_longer_leads_says_who_does_and_the_append_is_made_there() {
    for batches in [true, false] {
        let log = Log::default();
        let (one, two) = (Node::start(&log, batches, None).await, Node::start(&log, batches, None).await);
        let client = client(&one.address.to_string(), "");
        client.append("order-1", Expected::NoStream, &[event(1)]).await.unwrap();
        one.is(|one| one.leader = Some(two.address));
        let appended = client.append("order-1", Expected::Exact(0), &[event(2)]).await;
        assert_eq!(appended.unwrap().revision, 1, "batches: {batches}");
        assert_eq!(connected(&client).await, two.address.to_string());
    }
}

#[tokio::test]
async fn a_server_without_the_shared_call_is_appended_to_by_calls_of_their_own() {
    let log = Log::default();
    let node = Node::start(&log, false, None).await;
    let client = client(&node.address.to_string(), "");
    assert_eq!(client.append("order-1", Expected::NoStream, &[event(1), event(2)]).await.unwrap().revision, 1);
    let repeated = client.append("order-1", Expected::NoStream, &[event(1), event(2)]).await;
    assert_eq!(repeated.unwrap().revision, 1);
    let conflict = client.append("order-1", Expected::NoStream, &[event(3)]).await.unwrap_err();
    let (stream, expected) = ("order-1".to_owned(), Expected::NoStream);
    assert_eq!(conflict, Error::WrongExpected { stream, expected, actual: Some(1) });
    let missing = client.append("order-2", Expected::Exact(4), &[event(3)]).await;
    assert!(matches!(missing, Err(Error::WrongExpected { actual: None, .. })), "{missing:?}");
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_is_asked_again_and_one_that_says_no_is_not() {
    for batches in [true, false] {
        let log = Log::default();
        let node = Node::start(&log, batches, None).await;
        let client = client(&node.address.to_string(), "");
        node.is(|node| node.busy = 3);
        client.append("order-1", Expected::NoStream, &[event(1)]).await.unwrap();
        node.is(|node| node.busy = u32::MAX);
        let hasty = client.with_deadline(Duration::from_millis(200));
        let busy = hasty.append("order-1", Expected::Any, &[event(2)]).await;
        assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
        node.is(|node| (node.busy, node.denies) = (0, true));
        let begun = Instant::now();
        let denied = client.append("order-1", Expected::Any, &[event(2)]).await;
        assert!(matches!(denied, Err(Error::AccessDenied { .. })), "{denied:?}");
        let denied = client.read_stream("order-1", StreamFrom::Start, Direction::Forward, 1).await;
        assert!(matches!(denied, Err(Error::AccessDenied { .. })), "{denied:?}");
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(log.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_event_that_no_server_takes_is_not_sent_and_disturbs_nobody() {
    let log = Log::default();
    let node = Node::start(&log, true, None).await;
    let client = client(&node.address.to_string(), "");
    let huge = NewEvent { data: Bytes::from(vec![b' '; (16 << 20) + 1]), ..event(1) };
    let refused = client.append("order-1", Expected::NoStream, &[huge]).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { reason } if reason.contains("16777217 bytes")), "{refused:?}");
    client.append("order-1", Expected::NoStream, &[event(2)]).await.unwrap();
}

#[tokio::test]
async fn the_server_hears_who_calls_and_that_only_a_leader_will_do() {
    let log = Log::default();
    let node = Node::start(&log, true, None).await;
    let client = client(&format!("admin:changeit@{}", node.address), "&connectionName=shop");
    client.append("order-1", Expected::NoStream, &[event(1)]).await.unwrap();
    let headers = node.behaviour.lock().unwrap().headers.clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("authorization").as_deref(), Some("Basic YWRtaW46Y2hhbmdlaXQ="));
    assert_eq!(header("requires-leader").as_deref(), Some("true"));
    assert_eq!(header("connection-name").as_deref(), Some("shop"));
}

#[tokio::test]
async fn after_too_many_failed_connects_calls_fail_at_once_and_a_closed_client_says_so() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&nobody.to_string(), "&maxDiscoverAttempts=3");
    let mut health = client.health();
    health.wait_for(|health| matches!(health, Health::Away { attempts, .. } if *attempts >= 3)).await.unwrap();
    let begun = Instant::now();
    match client.append("order-1", Expected::Any, &[event(1)]).await {
        Err(Error::Unavailable { store, reason }) => {
            assert_eq!(store, format!("kurrentdb://{nobody}"));
            assert!(reason.contains("cannot connect"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    let mut subscription = client.subscribe_to_log(None, None);
    let (ended, ()) = tokio::join!(subscription.next(), async { client.close() });
    assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
    assert!(matches!(client.append("order-1", Expected::Any, &[event(1)]).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_connection_is_encrypted_and_only_a_node_that_proves_who_it_is_is_taken() {
    // A certificate for `localhost` and 127.0.0.1, and the authority that signed it, whose key was thrown away.
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
    let read = |name: &str| std::fs::read(format!("{files}/{name}")).unwrap();
    let log = Log::default();
    let node = Node::start(&log, true, Some(Identity::from_pem(read("node.pem"), read("node.key")))).await;
    let client = |more: &str| {
        let text = format!("kurrentdb://localhost:{}?defaultDeadline=1500{more}", node.address.port());
        Client::new(text.parse().unwrap())
    };
    let known = client(&format!("&tlsCaFile={files}/ca.pem"));
    assert_eq!(known.append("order-1", Expected::NoStream, &[event(1)]).await.unwrap().revision, 0);
    let any = client("&tlsVerifyCert=false");
    assert_eq!(any.append("order-1", Expected::Exact(0), &[event(2)]).await.unwrap().revision, 1);
    // The system's authorities do not know it.
    for (more, says) in [("", "certificate"), ("&tlsCaFile=/nowhere.pem", "`/nowhere.pem` cannot be read")] {
        match client(more).append("order-1", Expected::Any, &[event(3)]).await {
            Err(Error::Unavailable { reason, .. }) => assert!(reason.to_lowercase().contains(says), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(log.lock().unwrap().len(), 2);
}
