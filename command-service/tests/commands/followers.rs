//! The log over gRPC, as another process follows it.

use command_service::grpc::proto::{Event, FollowReply, FollowRequest};
use tonic::{Code, Streaming};

use crate::grpc::Server;
use crate::orders::product;
use crate::world::{World, id, machine, receive, reserve};

/// Events until all that there was is told; and how far that is.
async fn until_caught_up(stream: &mut Streaming<FollowReply>) -> (Vec<Event>, u64) {
    let mut found = Vec::new();
    loop {
        let FollowReply { events, up_to, caught_up } = stream.message().await.unwrap().unwrap();
        assert!(events.iter().all(|event| event.position <= up_to));
        found.extend(events);
        if caught_up {
            return (found, up_to);
        }
    }
}

async fn follow(server: &Server, after: u64, categories: &[&str]) -> Streaming<FollowReply> {
    let categories = categories.iter().map(|name| (*name).to_owned()).collect();
    server.events().follow(FollowRequest { after, categories }).await.unwrap().into_inner()
}

#[tokio::test]
async fn who_begins_again_at_the_last_position_misses_nothing_and_gets_nothing_twice() {
    let world = World::new();
    world.receive(5).await;
    let server = Server::over(&world).await;
    let (first, up_to) = until_caught_up(&mut follow(&server, 0, &[]).await).await;
    assert_eq!((first.len(), up_to), (1, world.head().0));
    for number in 1..=3 {
        world.send(reserve(number), machine(id(number))).await.unwrap();
    }
    let mut again = follow(&server, up_to, &[]).await;
    let (rest, _) = until_caught_up(&mut again).await;
    let types: Vec<&str> = rest.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(types, ["StockReserved"; 3]);
    world.send(receive(1), machine(id(9))).await.unwrap();
    let live = loop {
        let reply = again.message().await.unwrap().unwrap();
        if let Some(event) = reply.events.into_iter().next() {
            break event;
        }
    };
    assert_eq!((live.r#type.as_str(), live.position), ("StockReceived", world.head().0));
}

#[tokio::test]
async fn an_event_comes_with_all_that_the_log_has_of_it() {
    let world = World::new();
    world.receive(5).await;
    let server = Server::over(&world).await;
    let (events, _) = until_caught_up(&mut follow(&server, 0, &[]).await).await;
    let (sent, kept) = (&events[0], &world.events("stock-SKU@main").await[0]);
    assert_eq!((sent.id.as_str(), sent.stream.as_str()), (kept.id.to_string().as_str(), kept.stream.as_str()));
    assert_eq!(sent.data, kept.data.get());
    assert_eq!((sent.version, sent.schema_version), (kept.version, u32::from(kept.schema_version)));
    let metadata = &kept.metadata;
    assert_eq!(sent.command_id, metadata.command_id.to_string());
    assert_eq!(sent.partition_key, metadata.partition_key);
    assert_eq!(sent.occurred_at.as_ref().unwrap().seconds, metadata.occurred_at.timestamp());
}

#[tokio::test]
async fn only_the_requested_categories_are_sent_and_the_position_still_moves() {
    let world = World::new();
    product(&world, "A", 1_000).await;
    world.receive(5).await;
    let server = Server::over(&world).await;
    let (events, up_to) = until_caught_up(&mut follow(&server, 0, &["product"]).await).await;
    assert!(!events.is_empty() && events.iter().all(|event| event.stream == "product-A"));
    assert_eq!(up_to, world.head().0);
    for bad in [vec!["Order".to_owned()], vec![String::new()], vec!["order".to_owned(); 33]] {
        let refused = server.events().follow(FollowRequest { after: 0, categories: bad }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}

#[tokio::test]
async fn a_place_beyond_the_end_of_the_log_is_refused_and_its_very_end_is_not() {
    let world = World::new();
    product(&world, "A", 1_000).await;
    let server = Server::over(&world).await;
    let head = world.head().0;
    let refused = server.events().follow(FollowRequest { after: head + 1, categories: vec![] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains(&format!("ends at position {head}")), "{refused:?}");
    assert_eq!(until_caught_up(&mut follow(&server, head, &[]).await).await, (vec![], head));
}

#[tokio::test]
async fn followers_are_let_go_when_the_server_stops() {
    let world = World::new();
    let server = Server::over(&world).await;
    let mut stream = follow(&server, 0, &[]).await;
    until_caught_up(&mut stream).await;
    server.tasks.stop();
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an end without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(server.tasks.shut_down(std::time::Duration::from_secs(5)).await);
}
