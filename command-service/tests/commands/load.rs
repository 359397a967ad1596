//! What the bus bounds, and what a running stream allows.

use command_service::SendError;
use futures_util::future::join_all;

use crate::gate::Gated;
use crate::world::{World, client, id, machine, receive, reserve};

#[tokio::test]
async fn clients_beyond_the_bound_are_told_to_come_back_while_machines_pass() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    world.receive(5).await;
    gate.close();
    // Every one of these is under way: queued, and waiting to be durable.
    let mut clients: Vec<_> = (0..1_024).map(|n| Box::pin(world.bus.send(receive(1), client(n, "one")))).collect();
    for sent in &mut clients {
        assert!(futures_util::poll!(sent).is_pending());
    }
    let refused = world.bus.send(receive(1), client(5_000, "one")).await;
    assert!(matches!(refused, Err(SendError::Busy { .. })), "{refused:?}");
    let mut reserved = Box::pin(world.bus.send(reserve(1), machine(id(1))));
    assert!(futures_util::poll!(&mut reserved).is_pending(), "a saga's command is not turned away");
    gate.open();
    assert!(join_all(clients).await.iter().all(Result::is_ok));
    assert!(reserved.await.unwrap().changed);
    assert!(world.bus.send(receive(1), client(5_000, "one")).await.is_ok(), "the room is given back");
}

#[tokio::test]
async fn if_match_holds_for_the_version_the_command_is_decided_on() {
    let world = World::new();
    world.receive(5).await;
    let mut meta = client(1, "one");
    meta.if_match = Some(0);
    let both = [client(1, "one"), client(2, "one")].map(|mut meta| {
        meta.if_match = Some(0);
        world.bus.send(receive(1), meta)
    });
    let answers = join_all(both).await;
    assert!(answers[0].is_ok());
    assert_eq!(answers[1], Err(SendError::PreconditionFailed { expected: 0, actual: Some(1) }));
    assert!(
        world.bus.send(receive(1), meta).await.unwrap().replayed,
        "a repeated request is known before its condition"
    );
}
