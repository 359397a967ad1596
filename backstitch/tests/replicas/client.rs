//! The sagas' client before replicas that die, hang and come back.

use std::time::{Duration, Instant};

use domain::ids::{OrderId, PaymentId, RequestId, ReservationId, StockId};
use domain::money::{Currency, Money};
use domain::payment::{self, RequestPaymentAuthorization};
use domain::quantity::Quantity;
use domain::stock::{self, ReceiveStock, ReserveStock};
use futures_util::future::join_all;
use saga_orchestrator::Outcome;
use saga_orchestrator::commands_client::breaker::State;
use uuid::Uuid;

use crate::world::{PATIENCE, World, client, free_port, send};

/// Longer than a command takes on a machine that does many other things.
const PATIENT: Duration = Duration::from_secs(5);

const ITEM: &str = "stock-MUG@main";

fn item() -> StockId {
    "MUG@main".parse().unwrap()
}

fn receive(pieces: i64) -> domain::Command {
    let command = ReceiveStock { item: item(), quantity: Quantity::new(pieces).unwrap() };
    domain::Command::Stock { id: item(), command: stock::Command::ReceiveStock(command) }
}

fn reserve(number: u128) -> domain::Command {
    let command = ReserveStock {
        reservation_id: ReservationId(Uuid::from_u128(number)),
        order_id: OrderId(Uuid::from_u128(number)),
        quantity: Quantity::new(1).unwrap(),
    };
    domain::Command::Stock { id: item(), command: stock::Command::ReserveStock(command) }
}

fn authorize(number: u128, token: &str) -> domain::Command {
    let (id, request_id) = (PaymentId(Uuid::from_u128(number)), RequestId(Uuid::from_u128(1)));
    let command = RequestPaymentAuthorization {
        payment_id: id,
        order_id: OrderId(Uuid::from_u128(number)),
        request_id,
        amount: Money::new(1_000, Currency::EUR),
        payment_method: token.to_owned(),
        attempt_group: 0,
        tags: vec![],
        placed_on: domain::Timestamp::UNIX_EPOCH.date_naive(),
    };
    domain::Command::Payment { id, command: payment::Command::RequestPaymentAuthorization(command) }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_to_either_replica_have_one_effect_and_never_oversell() {
    let world = World::start().await;
    let (one, two) = (world.replica(&[]).await, world.replica(&[]).await);
    let client = client(&[one.ports[1], two.ports[1]], PATIENT);
    assert_eq!(send(&client, 1, &receive(20)).await, Outcome::Done);
    // Each command goes to both, the first time to one, the second time to the other.
    let outcomes = join_all((100..150).flat_map(|n| [n, n]).map(|n| {
        let client = &client;
        async move { (n, send(client, n, &reserve(n)).await) }
    }))
    .await;
    let done = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Done).count();
    let refused = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Rejected { code, .. } if code == "out-of-stock"));
    assert_eq!((done, refused.count()), (40, 60), "20 pieces, each asked for twice: {outcomes:?}");
    assert_eq!(world.events(ITEM).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_killed_is_stood_in_for_and_found_again_when_it_is_back() {
    let world = World::start().await;
    let (one, two) = (world.replica(&[]).await, world.replica(&[]).await);
    let client = client(&[one.ports[1], two.ports[1]], PATIENT);
    assert_eq!(send(&client, 1, &receive(100)).await, Outcome::Done);
    let ports = one.kill().await;
    for number in 100..120 {
        assert_eq!(send(&client, number, &reserve(number)).await, Outcome::Done, "the other one answers");
    }
    assert!(client.states().iter().any(|(_, state)| *state != State::Closed), "{:?}", client.states());
    let _back = world.replica_at(ports, &[]).await;
    two.kill().await;
    // Until its pause is over, nobody is asked: sagas try again as they do here.
    let begun = Instant::now();
    loop {
        let after = match send(&client, 200, &reserve(200)).await {
            Outcome::Done => break,
            Outcome::Unavailable { retry_after, .. } => retry_after.unwrap_or(Duration::from_millis(10)),
            outcome @ (Outcome::Rejected { .. } | Outcome::TooLate(_)) => panic!("{outcome:?}"),
        };
        assert!(begun.elapsed() < PATIENCE, "it is never asked again");
        tokio::time::sleep(after).await;
    }
    assert_eq!(world.events(ITEM).await.len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_frozen_costs_a_few_commands_a_moment_and_then_nobody() {
    let world = World::start().await;
    let (one, two) = (world.replica(&[]).await, world.replica(&[]).await);
    let attempt = Duration::from_secs(1);
    let client = client(&[one.ports[1], two.ports[1]], attempt);
    assert_eq!(send(&client, 1, &receive(100)).await, Outcome::Done);
    assert_eq!(send(&client, 1, &receive(100)).await, Outcome::Done, "both are connected");
    one.signal(libc::SIGSTOP);
    let outcomes = join_all((100..120).map(|n| {
        let client = &client;
        async move { send(client, n, &reserve(n)).await }
    }))
    .await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done), "each found the other: {outcomes:?}");
    let frozen = format!("http://127.0.0.1:{}", one.ports[1]);
    let state = client.states().into_iter().find(|(url, _)| *url == frozen).map(|(_, state)| state);
    assert_eq!(state, Some(State::Open));
    let begun = Instant::now();
    assert_eq!(send(&client, 300, &reserve(300)).await, Outcome::Done);
    assert!(begun.elapsed() < attempt, "it is not asked any more: {:?}", begun.elapsed());
    one.signal(libc::SIGCONT);
    drop(one);
    // What it had taken before it was frozen may have been carried out when it woke: once, all the same.
    assert_eq!(world.events(ITEM).await.iter().filter(|event| &*event.event_type == "StockReserved").count(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_answers_sagas_are_told_so_at_once_and_when_to_try_again() {
    let client = client(&[1], PATIENT); // Nobody listens there.
    for number in 0..5 {
        assert!(matches!(send(&client, number, &receive(1)).await, Outcome::Unavailable { .. }));
    }
    let outcome = send(&client, 9, &receive(1)).await;
    assert!(matches!(&outcome, Outcome::Unavailable { retry_after: Some(_), .. }), "{outcome:?}");
    assert_eq!(client.states()[0].1, State::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_a_dead_replica_goes_on_at_the_one_that_gets_the_retry() {
    let world = World::start().await;
    let (one, two) = (world.replica(&[]).await, world.replica(&[]).await);
    let only_one = client(&[one.ports[1]], PATIENT);
    let (payments, stream) = (1_000..1_010, |n: u128| format!("payment-{}", Uuid::from_u128(n)));
    for payment in payments.clone() {
        assert_eq!(send(&only_one, payment, &authorize(payment, "tok_approve")).await, Outcome::Done);
    }
    one.kill().await; // Some are appended, some called, some answered.
    let client = client(&[two.ports[1]], PATIENT);
    for payment in payments.clone() {
        assert_eq!(send(&client, payment, &authorize(payment, "tok_approve")).await, Outcome::Done);
    }
    for payment in payments.clone() {
        world.until(&stream(payment), "PaymentAuthorized").await;
        let types: Vec<String> =
            world.events(&stream(payment)).await.iter().map(|event| event.event_type.to_string()).collect();
        assert_eq!(types, ["PaymentAuthorizationRequested", "PaymentAuthorized"]);
    }
    assert_eq!(world.effects().await, payments.count() as u64, "each sum is held once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bank_tells_one_replica_ends_the_payment_that_another_began() {
    let told = [free_port(), free_port()];
    let world = World::told_at(Some(told[0])).await;
    let (began, _told) = (world.replica(&[]).await, world.replica_at(told, &[]).await);
    let client = client(&[began.ports[1]], PATIENT);
    assert_eq!(send(&client, 7, &authorize(7, "tok_3ds_approve")).await, Outcome::Done);
    let stream = format!("payment-{}", Uuid::from_u128(7));
    world.until(&stream, "PaymentAuthorized").await;
    let events = world.events(&stream).await;
    let types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
    assert_eq!(types, ["PaymentAuthorizationRequested", "PaymentActionRequired", "PaymentAuthorized"]);
    assert_eq!(world.effects().await, 1);
}
