//! A commit fails: nothing that was lost is ever answered as done, nothing that was written is done twice.

use command_service::SendError;
use futures_util::future::join_all;

use crate::world::{ITEM, World, client, id, machine, receive, reserve};

/// How many commits in a row fail when the disk is to stay broken: more than any command is tried again.
const FOR_LONG: u32 = 1_000;

#[tokio::test]
async fn a_clients_command_whose_commit_failed_is_decided_again_on_what_is_durable() {
    let world = World::new();
    world.receive(3).await;
    let epoch = *world.store.epoch().borrow();
    world.faults.fail_commits(1);
    let reply = world.send(receive(7), client(1, "seven")).await.unwrap();
    assert!(*world.store.epoch().borrow() > epoch, "the commit failed");
    assert_eq!((reply.version, reply.replayed), (Some(1), false));
    assert_eq!(world.events(ITEM).await.len(), 2);
}

#[tokio::test]
async fn a_machines_command_whose_commit_failed_is_refused_and_may_be_sent_again() {
    let world = World::new();
    world.receive(3).await;
    world.faults.fail_commits(1);
    let refused = world.send(reserve(1), machine(id(1))).await;
    assert!(matches!(refused, Err(SendError::Unavailable { .. })), "{refused:?}");
    assert_eq!(world.events(ITEM).await.len(), 1);
    assert!(world.send(reserve(1), machine(id(1))).await.unwrap().changed);
}

#[tokio::test]
async fn a_command_that_was_written_though_the_commit_seemed_to_fail_is_done_once() {
    let world = World::new();
    world.receive(3).await;
    world.faults.lose_answers(1);
    let reply = world.send(receive(7), client(1, "seven")).await.unwrap();
    assert_eq!(reply.version, Some(1));
    let again = world.send(receive(7), client(1, "seven")).await.unwrap();
    assert_eq!((again.version, again.replayed), (Some(1), true));
    assert_eq!(world.events(ITEM).await.len(), 2);
}

#[tokio::test]
async fn while_the_disk_is_broken_nothing_is_answered_as_done_and_afterwards_all_goes_on() {
    let world = World::new();
    world.receive(100).await;
    let head = world.head();
    world.faults.fail_commits(FOR_LONG);
    let answers = join_all((0..50).map(|n| {
        let meta = if n % 2 == 0 { machine(id(n)) } else { client(n, "reserve") };
        world.bus.send(reserve(n), meta)
    }));
    for answer in answers.await {
        assert!(matches!(answer, Err(SendError::Unavailable { .. } | SendError::Busy { .. })), "{answer:?}");
    }
    assert_eq!(world.head(), head);
    world.faults.fail_commits(0);
    let answers = join_all((0..50).map(|n| world.bus.send(reserve(n), machine(id(n))))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|reply| reply.changed)));
}

#[tokio::test]
async fn commands_acknowledged_amid_failures_are_in_the_log_after_a_restart() {
    let world = World::new();
    world.receive(1_000).await;
    let mut done = Vec::new();
    for round in 0..10_u128 {
        world.faults.fail_commits(1);
        let numbers: Vec<u128> = (round * 20..round * 20 + 20).collect();
        let sent = numbers.iter().map(|&n| world.bus.send(reserve(n), client(n, "reserve")));
        let answers = join_all(sent).await;
        done.extend(numbers.iter().zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(n, _)| id(*n)));
    }
    assert!(!done.is_empty());
    let world = world.restarted().await;
    let logged: Vec<_> = world.events(ITEM).await.iter().map(|event| event.metadata.command_id).collect();
    for command in &done {
        assert_eq!(logged.iter().filter(|logged| *logged == command).count(), 1);
    }
}
