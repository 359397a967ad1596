//! A former owner that does not know it: what it does when it wakes changes nothing, what it saved is good to begin from,
//! and people are sent on to who has the partition.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::http::StatusCode;
use domain::ids::OrderId;
use domain::saga::{Event, SagaState, StepStarted, UndoStarted};
use event_store::{Direction, EventStore, Filter, Position};
use futures_util::future::join_all;
use service_kit::Clock;
use service_kit::health::Status;
use uuid::Uuid;
use world::cluster::Fate;
use world::node::Town;
use world::running::{order, start_of_time};

/// Longer than participants remember what has ended.
const A_DAY_AND_MORE: Duration = Duration::from_secs(25 * 3600);

/// The commands that the saga of an order has ever issued, and how many events the order's streams have.
async fn issued(town: &Town, order_id: OrderId) -> (HashSet<Uuid>, usize) {
    let log = town.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await.unwrap();
    let of_order: Vec<_> = log.iter().filter(|event| event.metadata.partition_key == order_id.to_string()).collect();
    let mut commands = HashSet::new();
    for event in of_order.iter().filter(|event| event.stream.category().starts_with("saga_")) {
        let event = Event::decode(&event.event_type, event.schema_version, event.data.get()).unwrap();
        if let Event::StepStarted(StepStarted { commands: of_step, .. })
        | Event::UndoStarted(UndoStarted { commands: of_step, .. }) = event
        {
            commands.extend(of_step.iter().map(|command| command.id));
        }
    }
    (commands, of_order.len())
}

/// A shop whose orchestrator is paused at a moment, and wakes; `false` if it never came to that moment.
async fn paused_at(moment: usize, wakes_after: Duration) -> bool {
    let clock = start_of_time();
    let town = Town::open(1, clock.clone()).await;
    let (paused, next) = (town.node(Fate::stopping_at(moment)), town.healthy());
    paused.assign(0);
    town.place(order(1), "tok_approve").await;
    let was_paused = tokio::select! {
        () = town.to_its_end(order(1)) => false,
        () = paused.fate.stands_still() => true,
    };
    if !was_paused {
        paused.close().await;
        return false;
    }
    next.assign(0);
    town.to_its_end(order(1)).await;
    next.close().await;
    let (commands, events) = issued(&town, order(1)).await;
    let (ends, _) = town.ends(&[order(1)]).await;
    assert_eq!(ends[0].saga, SagaState::Completed, "paused at moment {moment}");
    clock.advance(wakes_after);
    let sent_before = paused.sender.sent().len();
    paused.fate.go_on();
    // It goes on, with a day's old memory; when another order has gone its whole way with it, it has done all it could.
    town.place(order(2), "tok_approve").await;
    town.to_its_end(order(2)).await;
    if wakes_after == A_DAY_AND_MORE {
        let sent = paused.sender.sent();
        let late: Vec<&Uuid> = sent.iter().skip(sent_before).filter(|id| commands.contains(id)).collect();
        assert_eq!(late, Vec::<&Uuid>::new(), "paused at moment {moment}, it sent what had long been overtaken");
    }
    assert_eq!(issued(&town, order(1)).await.1, events, "paused at moment {moment}");
    let (_, stock) = town.ends(&[order(1)]).await;
    assert_eq!(stock, [(998, 0, 0); 2], "paused at moment {moment}");
    town.assert_everything_happened_once().await;
    paused.close().await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_owner_that_wakes_after_a_day_does_nothing_wherever_it_was_paused() {
    paused_at_every_moment(A_DAY_AND_MORE, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_owner_that_wakes_after_seconds_does_no_harm_wherever_it_was_paused() {
    paused_at_every_moment(Duration::from_secs(10), 2).await;
}

async fn paused_at_every_moment(wakes_after: Duration, step: usize) {
    let mut moment = 0;
    // Eight at a time: each waits for the disk most of its time.
    let some = |from: usize| join_all((from..from + 8 * step).step_by(step).map(|at| paused_at(at, wakes_after)));
    while some(moment).await.contains(&true) {
        moment += 8 * step;
    }
    assert!(moment > 40, "it was paused at many moments: {moment}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owner_s_checkpoint_is_a_good_start_even_if_an_operator_acted_since() {
    let town = Town::open(1, start_of_time()).await;
    let former = town.healthy();
    former.assign(0);
    town.place(order(1), "tok_approve").await;
    town.until_settled(order(1)).await;
    // It has taken in all that there is of the order: no fact that comes again will make anybody look at the saga.
    let (_, events) = issued(&town, order(1)).await;
    let caught_up = async {
        while former.handed_over.load(Relaxed) < events {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), caught_up).await.unwrap();
    former.fate.stop_at_save.store(true, Relaxed);
    let meanwhile = async {
        former.fate.stands_still().await;
        // A person turns the saga back; the owner dies at the first command that follows.
        let owner = town.healthy();
        owner.assign(0);
        // Its workers are there when they say no to what makes no sense.
        while owner.asked(order(1), "retry").await.0 != StatusCode::CONFLICT {
            tokio::task::yield_now().await;
        }
        owner.fate.stop_at_send.store(true, Relaxed);
        tokio::select! {
            _ = owner.asked(order(1), "compensate") => owner.fate.stands_still().await, // Answered just before.
            () = owner.fate.stands_still() => {}
        }
        owner.die();
        assert_eq!(owner.sender.sent(), Vec::<Uuid>::new());
        assert_eq!(town.view(order(1)).await.state(), SagaState::Compensating);
        former.fate.go_on(); // What it now saves says that the saga waits for the warehouse, and nothing is to be sent.
    };
    tokio::join!(former.revoke(0), meanwhile);
    let saved =
        town.store.load_snapshot(&saga_orchestrator::CHECKPOINT_STREAM.parse().unwrap()).await.unwrap().unwrap();
    assert!(saved.state.contains("\"open\":false"), "{}", saved.state);
    let third = town.healthy();
    third.assign(0);
    let view = town.until(order(1), "turned back", |view| view.state().is_end()).await;
    assert_eq!(view.state(), SagaState::Compensated);
    let (_, stock) = town.ends(&[order(1)]).await;
    assert_eq!(stock, [(1000, 0, 0); 2]);
    third.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_sent_on_by_who_does_not_have_the_saga_and_can_look_anywhere() {
    let town = Town::open(6, Clock::system()).await;
    let (owner, other) = (town.healthy(), town.healthy());
    let partition = event_store::partition::of(order(1).to_string().as_bytes(), 6);
    owner.assign(partition);
    (0..6).filter(|it| *it != partition).for_each(|partition| other.assign(partition));
    town.place(order(1), "tok_approve").await;
    town.until_settled(order(1)).await;
    for node in [&owner, &other] {
        let (status, saga) = node.asked(order(1), "").await;
        assert_eq!((status, saga["state"].as_str()), (StatusCode::OK, Some("waiting")), "{saga}");
    }
    let (status, problem) = other.asked(order(1), "compensate").await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::MISDIRECTED_REQUEST, Some("/problems/misdirected")));
    let (status, done) = owner.asked(order(1), "compensate").await;
    assert_eq!(status, StatusCode::OK, "{done}");
    town.until(order(1), "turned back", |view| view.state() == SagaState::Compensated).await;
    owner.revoke(partition).await;
    let (status, _) = owner.asked(order(1), "retry").await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "it has the partition no more");
    owner.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_sagas_wait_and_say_so_and_then_go_on() {
    let town = Town::open(2, Clock::system()).await;
    let node = town.healthy();
    node.assign_all();
    for n in 1..=4 {
        town.place(order(n), "tok_approve").await;
        town.until_settled(order(n)).await;
    }
    node.fate.away.store(true, Relaxed);
    for n in 1..=4 {
        town.ready(order(n)).await;
    }
    let said = async {
        loop {
            let sagas = node.health.report().dependencies["sagas"].clone();
            if sagas.status == Status::Down {
                return sagas.detail.unwrap_or_default();
            }
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(5), said).await.unwrap();
    assert!(said.contains("127.0.0.1:2113") && said.contains("the store is away"), "{said}");
    node.fate.away.store(false, Relaxed);
    for n in 1..=4 {
        town.until(order(n), "dispatched", |view| view.step() == Some("record_shipped") && view.settled()).await;
        town.deliver(order(n)).await;
        town.until(order(n), "over", |view| view.state().is_end()).await;
    }
    assert_eq!(node.health.report().dependencies["sagas"].status, Status::Up);
    town.assert_everything_happened_once().await;
    node.close().await;
}
