//! Moving past an event that nobody can apply: audited, once, for ever; and killed in the middle.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use domain::{order, saga};
use serde_json::{Value, json};
use support::stories::{captured, order_id, placed, requested, saga_waits};
use support::{Shop, execute};

async fn letters(shop: &Shop) -> Vec<Value> {
    shop.get("/v1/dead-letters").await.ok()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_discarded_event_is_moved_past_once_and_on_record() {
    let shop = Shop::start().await;
    let order = placed(1, &[(1, 2)], 0);
    let id = domain::ids::PaymentId::derive(order.order_id, 0);
    let mut broken = captured(order.order_id, order.totals.total, &order).encode();
    broken.event_type = "PaymentAuthorized"; // Without the moment until which it holds.
    let captured = captured(order.order_id, order.totals.total, &order).encode();
    let mut twice_broken = broken.clone();
    twice_broken.event_type = "PaymentOutcomeUnknown";
    let events = vec![requested(id, &order, 0).encode(), broken, captured, twice_broken];
    shop.log.append_for(&id.stream(), &order.order_id.to_string(), events, 1).await;
    shop.caught_up().await;
    let path = format!("/v1/dead-letters/payments/{}", id.stream());
    let discard = format!("{path}/discard");
    let why = json!({"reason": "the provider repeated itself", "actor": "alice"});
    for (body, field) in [(json!({"reason": ""}), "/reason"), (json!({"reason": "x", "actor": ""}), "/actor")] {
        assert_eq!(shop.post(&discard, "k", &body).await.refused_field(), field);
    }
    let done = shop.post(&discard, "first", &why).await.ok();
    assert_eq!((&done["discarded"], &done["applied"], &done["up_to_date"]), (&json!(1), &json!(2), &json!(false)));
    assert_eq!(done["stands"]["version"], 3, "the next that cannot be applied");
    // The same request again does not move past that one, too.
    let again = shop.post(&discard, "first", &why).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!((&again.body["discarded"], &again.body["stands"]["version"]), (&json!(1), &json!(3)));
    let done = shop.post(&discard, "second", &json!({"reason": "the same"})).await.ok();
    assert_eq!((&done["discarded"], &done["up_to_date"], letters(&shop).await.len()), (&json!(3), &json!(true), 0));
    assert_eq!(shop.post(&discard, "third", &why).await.status, 409, "nothing is parked");
    let payment = &shop.rows("payments").await[0];
    assert_eq!((&payment["state"], &payment["stream_version"]), (&json!("captured"), &json!(3)));
    let kinds = shop.rows("payments_ledger").await.iter().filter(|line| line["kind"] == "capture").count();
    assert_eq!((kinds, shop.rows("payments_ledger").await.len()), (1, 2));
}

#[tokio::test]
async fn what_was_discarded_stays_so_when_its_stream_is_read_again_from_the_beginning() {
    let shop = Shop::start().await;
    let stream = format!("saga_order_fulfilment-{}", order_id(1));
    let mut events = saga_waits(1);
    let mut broken = saga::Event::SagaCompleted(saga::SagaCompleted {}).encode();
    broken.event_type = "StepFailed";
    events.push(broken);
    shop.log.append(&stream, events, 1).await;
    shop.caught_up().await;
    let discard = format!("/v1/dead-letters/saga_view/{stream}/discard");
    let done = shop.post(&discard, "k", &json!({"reason": "of no consequence"})).await.ok();
    assert_eq!((&done["discarded"], &done["up_to_date"]), (&json!(2), &json!(true)));
    let shop = shop.restart().await;
    shop.log.append(&stream, vec![saga::Event::SagaCompleted(saga::SagaCompleted {}).encode()], 2).await;
    shop.caught_up().await;
    assert_eq!(letters(&shop).await, Vec::<Value>::new());
    assert_eq!(shop.rows("saga_view").await[0]["state"], "completed");
}

#[tokio::test]
async fn an_event_is_not_discarded_where_that_makes_no_sense() {
    let shop = Shop::start().await;
    let mut broken = order::Event::OrderPlaced(placed(1, &[(1, 1)], 0)).encode();
    broken.data = serde_json::value::to_raw_value(&json!({})).unwrap();
    let confirmed = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    shop.log.append(&order_id(1).stream(), vec![broken, confirmed], 1).await;
    shop.caught_up().await;
    let discard = |projection: &str| format!("/v1/dead-letters/{projection}/{}/discard", order_id(1).stream());
    let why = json!({"reason": "broken"});
    let refused = shop.post(&discard("orders"), "k", &why).await;
    assert_eq!((refused.status, &refused.body["type"]), (409, &json!("/problems/dead-letter-refused")));
    assert!(refused.body["detail"].as_str().unwrap().contains("begins the row"), "{}", refused.body);
    // A sum has no row of the stream's own.
    assert_eq!(shop.post(&discard("sales_by_day"), "k", &why).await.ok()["up_to_date"], true);
    // What would work now is not thrown away.
    execute(&shop.url, "alter table read_1.orders add constraint told check (item_count <> 2)").await;
    shop.log.append(&order_id(2).stream(), vec![order::Event::OrderPlaced(placed(2, &[(1, 2)], 0)).encode()], 1).await;
    shop.caught_up().await;
    execute(&shop.url, "alter table read_1.orders drop constraint told").await;
    let refused = shop.post(&discard("orders").replace(&order_id(1).stream(), &order_id(2).stream()), "k", &why).await;
    assert_eq!(refused.status, 409);
    assert!(refused.body["detail"].as_str().unwrap().contains("retry it instead"), "{}", refused.body);
    assert_eq!(letters(&shop).await.len(), 2, "nothing has changed");
}

#[tokio::test]
async fn a_repair_whose_connection_dies_has_done_nothing_and_can_be_repeated() {
    let shop = Shop::start().await;
    let stream = order_id(1).stream();
    let mut broken = order::Event::OrderConfirmed(order::OrderConfirmed {}).encode();
    broken.event_type = "OrderHeld";
    let shipped = order::Event::OrderDispatchAllowed(order::OrderDispatchAllowed {}).encode();
    let events = vec![order::Event::OrderPlaced(placed(1, &[(1, 1)], 0)).encode(), broken, shipped];
    shop.log.append(&stream, events, 1).await;
    shop.caught_up().await;
    let before = (shop.rows("orders").await, letters(&shop).await);
    // A writer of the order's row loses its connection before the end of the transaction, as long as `told` says so.
    execute(
        &shop.url,
        "create table public.told (); insert into public.told default values;
         create function public.die() returns trigger language plpgsql as $$ begin
             if exists (select from public.told) then perform pg_terminate_backend(pg_backend_pid()); end if;
             return new; end $$;
         create trigger die after insert or update on read_1.orders for each row execute function public.die()",
    )
    .await;
    let discard = format!("/v1/dead-letters/orders/{stream}/discard");
    let why = json!({"reason": "of no consequence"});
    assert_eq!(shop.post(&discard, "k", &why).await.status, 503);
    assert_eq!((shop.rows("orders").await, letters(&shop).await), before);
    execute(&shop.url, "delete from public.told").await;
    // The runner comes back by itself; until then there is no answer.
    let mut answer = shop.post(&discard, "k", &why).await;
    while answer.status == 503 {
        tokio::task::yield_now().await;
        answer = shop.post(&discard, "k", &why).await;
    }
    assert_eq!((&answer.ok()["discarded"], letters(&shop).await.len()), (&json!(1), 0));
    assert_eq!(shop.rows("orders").await[0]["status"], "dispatching");
    let again = shop.post(&discard, "k", &why).await;
    assert_eq!((again.headers["idempotent-replayed"].to_str().unwrap(), &again.body["discarded"]), ("true", &json!(1)));
}
