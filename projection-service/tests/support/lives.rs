//! Orders that really differ: each stream walks at random through the commands that its rules allow, so that every
//! history is one that could have happened. What a saga writes is drawn as well: no rule of the domain's bounds it.

use domain::ids::{OrderId, PaymentId, RequestId, ReservationId, ShipmentId, StockId, derive};
use domain::order::{self, OrderPlaced};
use domain::payment::{self, Payment};
use domain::saga::{self, CommandBody, IssuedCommand};
use domain::{Aggregate, EncodedEvent, product, shipment, stock};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::at;
use super::stories::{Dice, Story, from_the_future, item, order_id, placed, product_story, story};

/// Stock items: few, so that their streams are long and many orders share one.
const ITEMS: u64 = 8;

/// So many orders, with their payments, shipments, sagas and the stock that they share.
pub fn of_orders(dice: &mut Dice, orders: u64) -> Vec<Story> {
    let mut stories = Vec::new();
    for number in 0..ITEMS {
        let of_item = (0..orders).filter(|order| order % ITEMS == number).map(order_id).collect::<Vec<_>>();
        let item = item(number);
        stories.push(product_story(dice, &item.sku));
        let events = stock_life(dice, &item, &of_item);
        stories.push(story(item.stream(), item.stream(), events));
    }
    for number in 0..orders {
        one(dice, number, &mut stories);
    }
    stories
}

fn one(dice: &mut Dice, number: u64, stories: &mut Vec<Story>) {
    let id = order_id(number);
    let lines: Vec<(u64, i64)> = (0..=dice.roll(3)).map(|line| ((number + line) % ITEMS, dice.amount(9) + 1)).collect();
    let placed = in_currency(dice, &placed(number, &lines, dice_seconds(number)));
    let mut events = order_life(dice, &placed);
    if dice.roll(20) == 0 {
        events.push(from_the_future());
    }
    stories.push(story(id.stream(), id, events));
    for group in 0..=u32::try_from(dice.roll(3)).expect("small") {
        let payment = PaymentId::derive(id, group);
        stories.push(story(payment.stream(), id, payment_life(dice, payment, &placed, group)));
    }
    for group in 0..u32::try_from(dice.roll(3)).expect("small") {
        let shipment = ShipmentId::derive(id, group);
        stories.push(story(shipment.stream(), id, shipment_life(dice, id)));
    }
    stories.push(story(format!("saga_order_fulfilment-{id}"), id, saga_life(dice, "order_fulfilment", id)));
    match dice.roll(6) {
        0 => stories.push(story(format!("saga_order_refund-{id}"), id, saga_life(dice, "order_refund", id))),
        // A saga whose stream is not named after its order.
        1 => {
            let stream = format!("saga_payment_reconciliation-{}", PaymentId::derive(id, 0));
            stories.push(story(stream, id, saga_life(dice, "payment_reconciliation", id)));
        }
        _ => {}
    }
    stories.retain(|story| !story.events.is_empty());
}

/// Orders are placed over five days.
fn dice_seconds(number: u64) -> i64 {
    i64::try_from(number % 5).expect("small") * 86_400
}

fn in_currency(dice: &mut Dice, placed: &OrderPlaced) -> OrderPlaced {
    let currency = ["EUR", "USD", "JPY"][usize::try_from(dice.roll(3)).expect("small")];
    let text = serde_json::to_string(placed).expect("JSON").replace("\"EUR\"", &format!("\"{currency}\""));
    serde_json::from_str(&text).expect("an order")
}

/// Asks so often; what the rules allow has happened, what they refuse has not.
fn walk<A: Aggregate>(mut state: A, steps: u64, mut ask: impl FnMut(u64) -> Value) -> Vec<EncodedEvent> {
    let mut events = Vec::new();
    for step in 0..steps {
        let command: A::Command = from(ask(step));
        let now = at(i64::try_from(step).expect("small") * 60);
        for event in state.decide(&command, now).unwrap_or_default() {
            state.evolve(&event);
            events.push(A::encode(&event));
        }
    }
    events
}

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn one_of<'c, T>(dice: &mut Dice, choices: &'c [T]) -> &'c T {
    &choices[usize::try_from(dice.roll(choices.len() as u64)).expect("small")]
}

fn order_life(dice: &mut Dice, placed: &OrderPlaced) -> Vec<EncodedEvent> {
    let begun = order::Event::OrderPlaced(placed.clone());
    let mut state = order::Order::default();
    state.evolve(&begun);
    let steps = 1 + dice.roll(14);
    let lived = walk(state, steps, |_| match dice.roll(14) {
        0 => {
            let assessment = one_of(dice, &["approve", "review", "refuse"]);
            json!({ "type": "AssessOrderRisk", "assessment": assessment, "assessed_by": "rules" })
        }
        1 => {
            let reasons = ["out_of_stock", "contention", "payment_declined", "payment_timeout", "fraud"];
            json!({ "type": "RejectOrder", "reason": one_of(dice, &reasons) })
        }
        2 => {
            let reason = one_of(dice, &["HIGH_RISK_OF_FRAUD", "INCORRECT_ADDRESS", "OTHER"]);
            json!({ "type": "HoldOrder", "reason": reason })
        }
        3 => json!({ "type": "ReleaseOrderHold" }),
        4 => json!({ "type": "RequestOrderCancellation", "reason": "changed my mind" }),
        5 => json!({ "type": "CancelOrder", "reason": "customer_request" }),
        6 | 7 => json!({ "type": "AllowOrderDispatch" }),
        8 | 9 => json!({ "type": "RecordOrderShipped", "shipment_id": ShipmentId::derive(placed.order_id, 0) }),
        10 | 11 => json!({ "type": "CompleteOrder" }),
        _ => json!({ "type": "ConfirmOrder" }),
    });
    [vec![begun.encode()], lived].concat()
}

fn payment_life(dice: &mut Dice, payment_id: PaymentId, placed: &OrderPlaced, group: u32) -> Vec<EncodedEvent> {
    let (order_id, total) = (placed.order_id, placed.totals.total);
    let part = json!({ "amount": (total.amount / 2).max(1), "currency": total.currency });
    let request = |number: u64| RequestId::derive(payment_id, Uuid::from_u128(number.into()));
    let steps = 1 + dice.roll(14);
    let mut asked: Vec<(&str, RequestId)> = Vec::new();
    walk(Payment::default(), steps, |step| {
        let amount = if dice.roll(4) == 0 { part.clone() } else { json!(total) };
        let kind = match dice.roll(12) {
            _ if step == 0 => *one_of(dice, &["authorize", "authorize", "authorize", "authorize", "void"]),
            0 => "void",
            1 | 2 => "capture",
            3 | 4 => "refund",
            5 => "",
            _ => "told",
        };
        let nothing = [("authorize", RequestId(Uuid::nil()))];
        let (of, known) = *one_of(dice, if asked.is_empty() { &nothing } else { &asked });
        if !["", "told"].contains(&kind) {
            asked.push((kind, request(step)));
        }
        match kind {
            "authorize" => json!({
                "type": "RequestPaymentAuthorization", "payment_id": payment_id, "order_id": order_id,
                "request_id": request(step), "amount": total, "payment_method": placed.payment_method,
                "attempt_group": group, "placed_on": placed.placed_at.date_naive(),
            }),
            "void" => json!({
                "type": "RequestPaymentVoid", "payment_id": payment_id, "order_id": order_id, "request_id": request(step),
            }),
            "capture" => json!({ "type": "RequestPaymentCapture", "request_id": request(step), "amount": amount }),
            "refund" => json!({
                "type": "RequestPaymentRefund", "request_id": request(step), "amount": amount, "reason": "customer_request",
            }),
            "told" => json!({
                "type": "RecordProviderResult", "request_id": known, "source": "webhook",
                "provider_ref": one_of(dice, &[json!("sim_1"), json!("sim_2"), Value::Null]),
                "result": result(dice, of, &amount),
            }),
            _ if dice.roll(2) == 0 => json!({ "type": "ExpirePayment" }),
            _ => json!({ "type": "MarkPaymentOutcomeUnknown", "request_id": known }),
        }
    })
}

/// What the provider says of a request: now and then what nobody would say of it, which the rules refuse.
fn result(dice: &mut Dice, of: &str, amount: &Value) -> Value {
    let fitting: &[&str] = match of {
        _ if dice.roll(6) == 0 => &["captured", "voided", "refunded", "declined"],
        "capture" => &["captured", "captured", "capture_failed"],
        "void" => &["voided", "voided", "void_failed"],
        "refund" => &["refunded", "refund_failed"],
        _ => &["authorized", "authorized", "authorized", "authorized", "action_required", "declined", "expired"],
    };
    let (code, action_url) = ("told_by_the_bank", "https://bank.example/3ds");
    match *one_of(dice, fitting) {
        "authorized" => json!({ "outcome": "authorized", "amount": amount, "capture_before": at(600_000) }),
        "action_required" => json!({ "outcome": "action_required", "action_url": action_url }),
        done @ ("captured" | "refunded") => json!({ "outcome": done, "amount": amount }),
        done @ ("voided" | "expired") => json!({ "outcome": done }),
        failed => json!({ "outcome": failed, "code": code }),
    }
}

fn shipment_life(dice: &mut Dice, order_id: OrderId) -> Vec<EncodedEvent> {
    let steps = 1 + dice.roll(8);
    walk(shipment::Shipment::default(), steps, |step| match dice.roll(8) {
        _ if step == 0 && dice.roll(8) > 0 => {
            let line = json!({ "item": item(dice.roll(ITEMS)), "quantity": dice.roll(9) + 1 });
            json!({ "type": "PlanShipment", "order_id": order_id, "lines": [line] })
        }
        0 => json!({ "type": "CancelShipment", "order_id": order_id, "reason": "customer_request" }),
        1 => json!({ "type": "ReportShipmentLost", "reason": "fell off the lorry" }),
        2 | 3 => json!({ "type": "DispatchShipment" }),
        4 | 5 => json!({ "type": "DeliverShipment" }),
        _ => json!({ "type": "MarkShipmentReady" }),
    })
}

fn stock_life(dice: &mut Dice, item: &StockId, orders: &[OrderId]) -> Vec<EncodedEvent> {
    walk(stock::StockItem::default(), orders.len() as u64 * 7 + 2, |step| {
        let order_id = *one_of(dice, orders);
        let reservation_id = ReservationId::derive(order_id, item, 0);
        let one = |name: &str| json!({ "type": name, "reservation_id": reservation_id });
        match dice.roll(14) {
            _ if step == 0 => json!({ "type": "ReceiveStock", "item": item, "quantity": 5_000 }),
            0 => json!({ "type": "AdjustStock", "delta": -1, "reason": "count\0ed" }),
            1 => json!({ "type": "ReceiveStock", "item": item, "quantity": dice.roll(50) + 1 }),
            2 => json!({ "type": "RestockItems", "order_id": order_id, "quantity": 1 }),
            3 => one("RenewReservation"),
            4 => one("ExpireReservation"),
            5 => json!({
                "type": "ReleaseReservation", "reservation_id": reservation_id, "order_id": order_id, "reason": "declined"
            }),
            6 | 7 => one("CommitReservation"),
            8 | 9 => one("ShipStock"),
            _ => json!({
                "type": "ReserveStock", "reservation_id": reservation_id, "order_id": order_id,
                "quantity": dice.roll(9) + 1,
            }),
        }
    })
}

/// What a saga may write: begins, some steps, and one of its ends or none.
fn saga_life(dice: &mut Dice, name: &str, order_id: OrderId) -> Vec<EncodedEvent> {
    let source = json!({ "stream": order_id.stream(), "version": 0, "event": "OrderPlaced" });
    let refund = json!({
        "about": "refund", "order_id": order_id, "payment_id": PaymentId::derive(order_id, 0),
        "amount": { "amount": 1_999, "currency": "EUR" }, "shipment_id": ShipmentId::derive(order_id, 0), "held": [],
        "reason": "customer_request",
    });
    let mut drawn = vec![(
        "SagaStarted",
        json!({
            "saga": name, "definition_version": dice.roll(3) + 1, "order_id": order_id, "source": source, "facts": refund,
        }),
    )];
    for step in 0..dice.roll(7) {
        drawn.extend(step_of(dice, order_id, step, &source));
    }
    match dice.roll(6) {
        0 | 1 => drawn.push(("SagaCompleted", json!({}))),
        2 => drawn.push(("SagaCompensated", json!({ "reason": "payment_declined" }))),
        3 => drawn
            .push(("SagaHandedOver", json!({ "to": "order_refund", "reason": "customer_request", "facts": refund }))),
        _ => {}
    }
    drawn.into_iter().map(|(name, data)| encoded(name, &data)).collect()
}

fn encoded(name: &str, data: &Value) -> EncodedEvent {
    let event = saga::Event::decode(name, 1, &data.to_string());
    event.unwrap_or_else(|error| panic!("{name} {data}: {error:?}")).encode()
}

fn step_of(dice: &mut Dice, order_id: OrderId, step: u64, source: &Value) -> Vec<(&'static str, Value)> {
    let name = *one_of(dice, &["reserve", "authorise", "capture", "plan_shipment"]);
    let command =
        domain::Command::Order { id: order_id, command: order::Command::ConfirmOrder(order::ConfirmOrder {}) };
    let issued = IssuedCommand {
        id: derive(&["test-command", &order_id.to_string(), &step.to_string()]),
        target: order_id.stream(),
        name: "ConfirmOrder".to_owned(),
        body: CommandBody::of(&command),
    };
    let leg = |direction: &str| json!({ "step": name, "group": 0, "direction": direction });
    let with = |mut leg: Value, more: Value| {
        leg.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        leg
    };
    let failure = json!({ "kind": "failed", "code": "declined", "detail": *one_of(dice, &["", "no funds"]) });
    let facts = [
        Value::Null,
        json!({ "fact": "PaymentAuthorized", "from": "provider" }),
        json!({ "fact": "ShipmentReady", "from": "warehouse" }),
    ];
    let awaits = one_of(dice, &facts);
    let begun = with(
        leg("do"),
        json!({
            "kind": "compensatable", "commands": [issued], "awaits": awaits, "deadline": at(dice.amount(9_000)),
        }),
    );
    let answered = with(leg("do"), json!({ "answers": [{ "command_id": issued.id }] }));
    let again = with(leg("do"), json!({ "attempt": 1, "next_at": at(dice.amount(9_000)), "failure": failure }));
    let undone = with(leg("undo"), json!({ "round": 0, "commands": [issued], "next_at": at(dice.amount(9_000)) }));
    let mut drawn = vec![("StepStarted", begun)];
    match dice.roll(10) {
        0 => drawn.push(("CommandAnswered", answered)),
        1 => drawn.push(("StepRetryScheduled", again)),
        2 => drawn.extend([("CommandAnswered", answered), ("StepSucceeded", leg("do"))]),
        3 => drawn.push(("StepFailed", with(leg("do"), json!({ "failure": failure, "leaves_nothing": false })))),
        4 => drawn
            .push(("SagaNeedsAttention", with(leg("do"), json!({ "failure": failure, "stuck": dice.roll(2) == 0 })))),
        5 => drawn.push(("SagaInputRecorded", json!({ "source": source, "note": "outcome_unknown" }))),
        6 => drawn.push((
            "StepRenewed",
            with(
                leg("renew"),
                json!({
                    "round": 1, "commands": [issued], "next_at": at(dice.amount(9_000)),
                }),
            ),
        )),
        7 => drawn.extend([
            ("CompensationStarted", json!({ "reason": "payment_declined", "steps": [{ "step": name, "group": 0 }] })),
            ("UndoStarted", undone),
        ]),
        8 => {
            let asked =
                json!({ "action": "retry", "actor": "alice", "reason": "the bank is back", "request_id": issued.id });
            drawn.push(("OperatorActed", with(leg("do"), asked)));
        }
        _ => drawn.extend([
            ("CompensationStarted", json!({ "reason": "fraud", "steps": [{ "step": name, "group": 0 }] })),
            ("UndoStarted", undone),
            ("UndoSucceeded", leg("undo")),
        ]),
    }
    drawn
}

/// The names of all events of the shop's streams and sagas.
pub fn all_types() -> impl Iterator<Item = &'static str> {
    let shop = [order::Event::TYPES, payment::Event::TYPES, shipment::Event::TYPES, stock::Event::TYPES];
    shop.into_iter().chain([product::Event::TYPES, saga::Event::TYPES]).flatten().map(|(name, _)| *name)
}
