//! No answer overtakes durability, whatever it says; and a stream goes on being decided meanwhile.

use futures_util::{FutureExt as _, future::join_all, poll};

use crate::gate::Gated;
use crate::world::{World, adjust, client, id, item, machine, name, receive, reserve};

#[tokio::test]
async fn no_answer_leaves_before_what_it_stands_on_is_durable_but_the_stream_goes_on() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    world.receive(5).await;
    gate.close();
    let before = gate.appends();

    // Each of these is decided at its first poll: the state is in memory, and the log queues at once.
    let bus = &world.bus;
    let mut yes = Box::pin(bus.send(reserve(1), machine(id(1))));
    let mut next = Box::pin(bus.send(reserve(2), machine(id(2))));
    let mut already_so = Box::pin(bus.send(reserve(1), machine(id(3))));
    let mut no = Box::pin(bus.send(adjust(-4), client(4, "four")));
    let stream = name("stock-SKU@main");
    let mut look = Box::pin(bus.load::<domain::stock::StockItem>(&stream));
    assert!(poll!(&mut yes).is_pending());
    assert!(poll!(&mut next).is_pending());
    assert!(poll!(&mut already_so).is_pending());
    assert!(poll!(&mut no).is_pending());
    assert!(poll!(&mut look).is_pending());
    assert_eq!(gate.appends() - before, 2, "the second was decided on what the first will leave");

    gate.open();
    let (yes, next, already_so) = (yes.await.unwrap(), next.await.unwrap(), already_so.await.unwrap());
    assert_eq!((yes.version, next.version), (Some(1), Some(2)));
    assert_eq!((already_so.changed, already_so.version), (false, Some(2)));
    assert!(already_so.position >= next.position);
    assert!(no.await.is_err());
    assert_eq!(look.await.unwrap().version, Some(2));
}

#[tokio::test]
async fn a_price_that_is_not_durable_makes_no_order() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    crate::orders::product(&world, "SKU", 1_000).await;
    gate.close();
    let price = serde_json::json!({"price": {"amount": 1_500, "currency": "EUR"}});
    let mut change = Box::pin(world.post("/v1/products/SKU/price", "p", &price));
    assert!(poll!(&mut change).is_pending());
    let order = crate::orders::order(&[("SKU", 1)]);
    let mut place = Box::pin(world.post("/v1/orders", "o", &order));
    assert!(poll!(&mut place).is_pending());
    gate.open();
    assert_eq!(change.await.status, 200);
    assert_eq!(place.await.body["subtotal"]["amount"], 1_500);
}

#[tokio::test]
async fn a_request_that_is_dropped_half_way_is_done_once_and_its_key_finds_the_answer() {
    let mut gate = None;
    let world = World::over(|log| gate.insert(Gated::new(log)).clone());
    let gate = gate.unwrap();
    world.receive(5).await;
    gate.close();
    assert!(world.bus.send(receive(7), client(1, "seven")).now_or_never().is_none(), "it is queued, then dropped");
    assert_eq!(
        world.bus.send(receive(7), client(1, "seven")).await,
        Err(command_service::SendError::InFlight),
        "nobody knows yet whether it is durable"
    );
    gate.open();
    // The gate is open, but the disk takes its time: the state is only read when it is durable.
    world.bus.load::<domain::stock::StockItem>(&name(&item().stream())).await.unwrap();
    let again = world.bus.send(receive(7), client(1, "seven")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(world.events("stock-SKU@main").await.len(), 2);
}

#[tokio::test]
async fn a_thousand_orders_at_once_never_take_more_than_there_is() {
    let world = World::new();
    world.receive(500).await;
    let answers = join_all((0..1_000).map(|n| world.bus.send(reserve(n), machine(id(n))))).await;
    let (yes, no): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((yes.len(), no.len()), (500, 500));
    for refused in no {
        match refused {
            Err(command_service::SendError::Rejected { code, .. }) => assert_eq!(code, "out-of-stock"),
            other => panic!("not a refusal: {other:?}"),
        }
    }
    let reserved = world.events("stock-SKU@main").await.iter().filter(|e| &*e.event_type == "StockReserved").count();
    assert_eq!(reserved, 500);
}
