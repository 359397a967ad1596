//! Two command services over one log: what one has answered holds for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use command_service::{CommandBus, Reply, SendError};
use domain::ids::Sku;
use domain::money::{Currency, Money};
use domain::product::{self, Product};
use event_store::EventStore;
use futures_util::future::join_all;
use serde_json::json;

use crate::gate::Gated;
use crate::orders::{order, product_body};
use crate::world::{ITEM, World, adjust, client, id, machine, name, receive, replica, reserve};

/// Two replicas over one log, and what is asked of it.
struct Pair {
    /// The first, as a world.
    one: World,
    /// The second.
    two: World,
    gate: Arc<Gated>,
}

impl Pair {
    fn new() -> Self {
        let mut gate = None;
        let one = World::over(|log| gate.insert(Gated::shared(log)).clone());
        let (bus, router) = replica(&one.store, &one.clock, &one.tasks);
        let two = World {
            bus,
            router,
            store: one.store.clone(),
            log: one.log.clone(),
            faults: one.faults.clone(),
            clock: one.clock.clone(),
            tasks: one.tasks.clone(),
            dir: tempfile::tempdir().unwrap(),
        };
        Self { one, two, gate: gate.unwrap() }
    }

    /// By turns.
    fn bus(&self, number: usize) -> &CommandBus {
        [&self.one.bus, &self.two.bus][number % 2]
    }
}

fn rejected(answer: &Result<Reply, SendError>, code: &str) -> bool {
    matches!(answer, Err(SendError::Rejected { code: given, .. }) if *given == code)
}

#[tokio::test]
async fn a_refusal_never_stands_on_what_another_replica_has_changed_since() {
    let pair = Pair::new();
    pair.one.receive(1).await;
    assert!(pair.two.send(reserve(1), machine(id(1))).await.unwrap().changed);
    let refused = pair.one.send(reserve(2), machine(id(2))).await;
    assert!(rejected(&refused, "out-of-stock"), "the first knew of one piece, which was gone: {refused:?}");
    pair.two.send(receive(5), machine(id(3))).await.unwrap();
    assert!(pair.one.send(reserve(2), machine(id(2))).await.unwrap().changed, "the first knew of no piece");
    let refused = pair.two.send(adjust(-5), client(4, "five")).await;
    assert!(rejected(&refused, "adjustment-too-low"), "the second knew of five free pieces: {refused:?}");
}

#[tokio::test]
async fn a_wish_that_was_so_is_granted_again_if_another_replica_has_undone_it() {
    let pair = Pair::new();
    let sku: Sku = "SKU".parse().unwrap();
    let send = |command| domain::Command::Product { id: sku.clone(), command };
    let create = product::CreateProduct {
        sku: sku.clone(),
        name: "Shirt".to_owned(),
        price: Money::new(1_000, Currency::EUR),
        active: true,
    };
    pair.one.send(send(product::Command::CreateProduct(create)), client(1, "create")).await.unwrap();
    let discontinue = send(product::Command::DiscontinueProduct(product::DiscontinueProduct {}));
    pair.two.send(discontinue, client(2, "discontinue")).await.unwrap();
    let activate = send(product::Command::ActivateProduct(product::ActivateProduct {}));
    let answer = pair.one.send(activate, client(3, "activate")).await.unwrap();
    assert!(answer.changed, "for the first it was on sale all the time");
    assert!(pair.two.bus.load::<Product>(&name("product-SKU")).await.unwrap().state.is_active());
}

#[tokio::test]
async fn a_condition_is_held_against_the_version_that_another_replica_has_made() {
    let pair = Pair::new();
    pair.one.receive(5).await;
    pair.two.send(receive(1), machine(id(2))).await.unwrap();
    let mut meta = client(3, "one");
    meta.if_match = Some(1);
    assert!(pair.one.send(receive(1), meta.clone()).await.unwrap().changed, "the first was at version 0");
    meta.command_id = id(4);
    let refused = pair.two.send(receive(1), meta).await;
    assert_eq!(refused, Err(SendError::PreconditionFailed { expected: 1, actual: Some(2) }));
}

#[tokio::test]
async fn one_key_at_both_replicas_has_one_effect_and_one_answer() {
    let pair = Pair::new();
    pair.one.receive(1).await;
    let sent = (0..40).map(|number| pair.bus(number).send(receive(7), client(1, "seven")));
    let answers = join_all(sent).await;
    let done: Vec<&Reply> = answers.iter().flatten().collect();
    assert!(!done.is_empty() && done.iter().all(|reply| reply.version == Some(1)), "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(SendError::InFlight))), "{answers:?}");
    for number in 0..2 {
        let again = pair.bus(number).send(receive(7), client(1, "seven")).await.unwrap();
        assert_eq!((again.version, again.position, again.replayed), (Some(1), done[0].position, true));
        let other = pair.bus(number).send(receive(8), client(1, "eight")).await;
        assert_eq!(other, Err(SendError::KeyReused), "with another body it is refused by either");
    }
    assert_eq!(pair.one.events(ITEM).await.len(), 2);
}

#[tokio::test]
async fn a_key_refused_by_one_replica_and_carried_out_by_another_has_one_answer() {
    let pair = Pair::new();
    let asked = || (adjust(-5), client(1, "five"));
    let (command, meta) = asked();
    let refused = pair.one.send(command, meta).await;
    assert!(matches!(refused, Err(SendError::Rejected { .. })), "{refused:?}");
    pair.one.receive(10).await;
    let (command, meta) = asked();
    let done = pair.two.send(command, meta).await.unwrap();
    assert!(done.changed && !done.replayed, "{done:?}");
    let (command, meta) = asked();
    let again = pair.one.send(command, meta).await.unwrap();
    assert_eq!((again.version, again.position, again.replayed), (done.version, done.position, true));
    let other = pair.one.send(adjust(-4), client(1, "four")).await;
    assert_eq!(other, Err(SendError::KeyReused));
    assert_eq!(pair.one.events(ITEM).await.len(), 2);
}

#[tokio::test]
async fn a_request_repeated_at_another_replica_gets_the_first_answer_again() {
    let pair = Pair::new();
    pair.one.post("/v1/products", "p", &product_body("MUG", 1_000)).await;
    let body = order(&[("MUG", 2)]);
    let first = pair.one.post("/v1/orders", "o", &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let path = "/v1/products/MUG/price";
    let changed = pair.one.post(path, "q", &json!({"price": {"amount": 1_500, "currency": "EUR"}})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let again = pair.two.post("/v1/orders", "o", &body).await;
    assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (201, Some("true")), "{again:?}");
    assert_eq!(again.body, first.body, "with the price of then");
}

#[tokio::test]
async fn two_hundred_orders_over_two_replicas_sell_no_more_than_fifty_pieces() {
    let pair = Pair::new();
    pair.one.receive(50).await;
    let answers = join_all((1..=200).map(|n| pair.bus(n as usize).send(reserve(n), machine(id(n))))).await;
    let sold = answers.iter().filter(|answer| matches!(answer, Ok(Reply { changed: true, .. }))).count();
    let refused = answers.iter().filter(|answer| rejected(answer, "out-of-stock")).count();
    assert_eq!((sold, refused), (50, 150), "nobody is told anything else: {answers:?}");
    assert_eq!(pair.one.events(ITEM).await.len(), 51);
}

#[tokio::test]
async fn a_price_that_one_replica_has_changed_is_the_price_at_the_other() {
    let pair = Pair::new();
    pair.one.post("/v1/products", "p", &product_body("MUG", 1_000)).await;
    let before = pair.two.post("/v1/orders", "before", &order(&[("MUG", 1)])).await;
    assert_eq!(before.body["subtotal"]["amount"], 1_000);
    pair.one.post("/v1/products/MUG/price", "q", &json!({"price": {"amount": 1_500, "currency": "EUR"}})).await;
    let after = pair.two.post("/v1/orders", "after", &order(&[("MUG", 1)])).await;
    assert_eq!(after.body["subtotal"]["amount"], 1_500, "{after:?}");
    pair.one.post("/v1/products/MUG/discontinue", "d", &json!({})).await;
    pair.two.post("/v1/orders", "gone", &order(&[("MUG", 1)])).await.problem(409, "product-not-for-sale");
}

#[tokio::test]
async fn many_who_ask_at_once_share_a_look_at_the_streams_end() {
    let pair = Pair::new();
    pair.one.receive(1).await;
    let item = name(ITEM);
    let before = pair.gate.reads();
    pair.gate.readable(false);
    let asked = AtomicUsize::new(0);
    let loads = (0..100).map(|_| async {
        asked.fetch_add(1, Ordering::SeqCst);
        pair.one.bus.load::<domain::stock::StockItem>(&item).await
    });
    let all_have_asked = async {
        while asked.load(Ordering::SeqCst) < 100 {
            tokio::task::yield_now().await;
        }
        pair.gate.readable(true);
    };
    let (loaded, ()) = tokio::join!(join_all(loads), all_have_asked);
    assert!(loaded.iter().all(Result::is_ok));
    let reads = pair.gate.reads() - before;
    assert!((1..=3).contains(&reads), "{reads} reads for 100 who asked at once");
}

#[tokio::test]
async fn what_was_written_during_a_read_is_seen_by_those_who_ask_after_it() {
    let pair = Pair::new();
    pair.one.receive(1).await;
    pair.two.send(receive(1), machine(id(2))).await.unwrap();
    let (read, release) = pair.gate.hold_next_read();
    let before = pair.one.send(adjust(-50), machine(id(3)));
    let after = async {
        read.await.unwrap();
        // The log has been read, and the answer is on its way: it does not have these.
        pair.two.send(receive(100), machine(id(4))).await.unwrap();
        let asks = pair.one.send(adjust(-50), machine(id(5)));
        let answers = async {
            tokio::task::yield_now().await;
            release.send(()).unwrap();
        };
        tokio::join!(asks, answers).0
    };
    let (before, after) = tokio::join!(before, after);
    assert!(rejected(&before, "adjustment-too-low"), "it was asked before they came: {before:?}");
    assert!(after.unwrap().changed, "they had come before it was asked");
}

#[tokio::test]
async fn a_log_that_nobody_else_writes_is_not_asked_again() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    world.receive(1).await;
    let reads = gate.reads();
    let refused = world.send(adjust(-5), machine(id(1))).await;
    assert!(rejected(&refused, "adjustment-too-low"), "{refused:?}");
    world.send(reserve(1), machine(id(2))).await.unwrap();
    assert!(!world.send(reserve(1), machine(id(2))).await.unwrap().changed);
    world.bus.load::<domain::stock::StockItem>(&name(ITEM)).await.unwrap();
    assert_eq!(gate.reads(), reads, "the state is in memory");
}

/// Another process that writes the log itself, past the gate.
fn past_the_gate(pair: &Pair) -> CommandBus {
    let log: Arc<dyn EventStore> = pair.one.log.clone();
    replica(&log, &pair.one.clock, &pair.one.tasks).0
}

/// Pieces of the item, as this bus believes.
async fn on_hand(bus: &CommandBus) -> i64 {
    bus.load::<domain::stock::StockItem>(&name(ITEM)).await.unwrap().state.on_hand
}

#[tokio::test]
async fn what_another_process_has_written_is_not_read_on_top_of_events_that_were_lost() {
    let pair = Pair::new();
    pair.one.receive(5).await;
    let other = past_the_gate(&pair);
    let mut appends = pair.gate.watch_appends();
    pair.gate.close();
    pair.gate.lose_next_append();
    let queued = *appends.borrow_and_update() + 1;
    let lost = pair.one.send(receive(100), client(1, "hundred"));
    let refused = async {
        appends.wait_for(|appends| *appends == queued).await.unwrap();
        // The commit has failed, which nobody here has heard of yet, and another process has written in its place.
        for number in 10..12 {
            assert!(other.send(receive(1), machine(id(number))).await.unwrap().changed);
        }
        let heard = async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            pair.gate.end_epoch();
            pair.gate.open();
        };
        tokio::join!(pair.one.send(adjust(-500), machine(id(2))), heard).0
    };
    let (again, refused) = tokio::join!(lost, refused);
    assert!(again.unwrap().changed, "it was decided again");
    assert!(rejected(&refused, "adjustment-too-low"), "{refused:?}");
    assert_eq!(on_hand(&pair.one.bus).await, 5 + 1 + 1 + 100, "as it is in the log");
}

#[tokio::test]
async fn decisions_on_lost_events_are_not_appended_behind_those_of_another_process() {
    let pair = Pair::new();
    pair.one.receive(5).await;
    let other = past_the_gate(&pair);
    let mut appends = pair.gate.watch_appends();
    pair.gate.close();
    pair.gate.lose_next_append();
    let queued = *appends.borrow_and_update() + 1;
    let lost = pair.one.send(receive(100), machine(id(1)));
    let behind = async {
        appends.wait_for(|appends| *appends == queued).await.unwrap();
        let (gate, other) = (pair.gate.clone(), other.clone());
        pair.gate.before_next_append(async move {
            assert!(other.send(receive(1), machine(id(10))).await.unwrap().changed);
            gate.end_epoch();
            gate.open();
        });
        pair.one.send(receive(10), machine(id(2))).await
    };
    let (lost, behind) = tokio::join!(lost, behind);
    for refused in [lost, behind] {
        assert!(matches!(refused, Err(SendError::Unavailable { .. })), "a machine sends it again: {refused:?}");
    }
    assert_eq!((on_hand(&pair.one.bus).await, on_hand(&other).await), (6, 6));
}
