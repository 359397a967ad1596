//! Stories of a shop: what happens to products, stock, orders, payments and shipments, each stream in its own order.

use domain::EncodedEvent;
use domain::ids::{CustomerId, OrderId, PaymentId, RequestId, ReservationId, ShipmentId, Sku, StockId, derive};
use domain::money::{Currency, Money};
use domain::order::{self, OrderLine, OrderPlaced, Totals};
use domain::quantity::Quantity;
use domain::saga::{self, Awaits, Facts, Kind, OrderFacts, Party, Source};
use domain::{payment, product, shipment, stock};
use serde_json::json;
use uuid::Uuid;

use super::at;

/// Numbers that look random and come again with the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64 (Steele et al. 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn amount(&mut self, sides: u64) -> i64 {
        i64::try_from(self.roll(sides)).expect("small")
    }
}

pub fn order_id(number: u64) -> OrderId {
    OrderId(derive(&["test-order", &number.to_string()]))
}

pub fn customer(number: u64) -> CustomerId {
    CustomerId(derive(&["test-customer", &number.to_string()]))
}

pub fn item(number: u64) -> StockId {
    format!("SKU-{number}@main").parse().expect("an item")
}

pub fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

pub fn pieces(count: i64) -> Quantity {
    Quantity::new(count).expect("1 to a million")
}

/// An order of `lines` (item, pieces), placed at `seconds`.
pub fn placed(number: u64, lines: &[(u64, i64)], seconds: i64) -> OrderPlaced {
    let id = order_id(number);
    let line = |(index, (sku, count)): (u32, &(u64, i64))| OrderLine {
        line: index,
        item: item(*sku),
        name: format!("Thing {sku}"),
        quantity: pieces(*count),
        unit_price: eur(100),
        net: eur(100 * count),
        discount_share: eur(0),
        tax_share: eur(19 * count),
    };
    let subtotal: i64 = lines.iter().map(|(_, count)| 100 * count).sum();
    let tax = subtotal * 19 / 100;
    OrderPlaced {
        order_id: id,
        number: id.number(),
        customer_id: customer(number % 3),
        lines: (1..).zip(lines).map(line).collect(),
        totals: Totals {
            subtotal: eur(subtotal),
            discount: eur(0),
            tax: eur(tax),
            shipping: eur(490),
            total: eur(subtotal + tax + 490),
        },
        payment_method: "tok_approve".to_owned(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        placed_at: at(seconds),
    }
}

/// One stream's events, oldest first, with the partition key.
pub struct Story {
    pub stream: String,
    pub key: String,
    pub events: Vec<EncodedEvent>,
}

pub fn story(stream: String, key: impl ToString, events: Vec<EncodedEvent>) -> Story {
    Story { stream, key: key.to_string(), events }
}

/// Some orders with all that belongs to them, and the stock they are taken from.
pub fn shop(dice: &mut Dice, orders: u64) -> Vec<Story> {
    let mut stories = Vec::new();
    let items: Vec<Vec<EncodedEvent>> = (0..4).map(|number| stock_item(dice, number, orders)).collect();
    for (number, events) in (0_u64..).zip(items) {
        let item = item(number);
        stories.push(story(item.stream(), item.stream(), events));
        stories.push(product_story(dice, &item.sku));
    }
    for number in 0..orders {
        stories.extend(order_story(dice, number));
    }
    stories
}

pub fn product_story(dice: &mut Dice, sku: &Sku) -> Story {
    let mut events = vec![
        product::Event::ProductCreated(product::ProductCreated {
            sku: sku.clone(),
            name: format!("The {sku}"),
            price: eur(100),
        }),
        product::Event::ProductActivated(product::ProductActivated {}),
    ];
    if dice.roll(2) == 0 {
        events.push(product::Event::ProductPriceChanged(product::ProductPriceChanged {
            price: eur(120),
            previous: eur(100),
        }));
        events.push(product::Event::ProductDiscontinued(product::ProductDiscontinued {}));
    }
    story(sku.product_stream(), sku.product_stream(), events.iter().map(product::Event::encode).collect())
}

fn stock_item(dice: &mut Dice, number: u64, orders: u64) -> Vec<EncodedEvent> {
    let item = item(number);
    let mut events =
        vec![stock::Event::StockReceived(stock::StockReceived { item: item.clone(), quantity: pieces(100_000) })];
    events.push(stock::Event::StockAdjusted(stock::StockAdjusted {
        item: item.clone(),
        delta: -3,
        reason: "count\0ed".to_owned(),
    }));
    for order in 0..orders {
        if order % 4 != number {
            continue;
        }
        let (order_id, quantity) = (order_id(order), dice.amount(9) + 1);
        let reservation_id = ReservationId::derive(order_id, &item, 0);
        events.push(stock::Event::StockReserved(stock::StockReserved {
            reservation_id,
            order_id,
            quantity: pieces(quantity),
            expires_at: at(900),
        }));
        match dice.roll(5) {
            0 => {} // Still held.
            1 => events.push(stock::Event::ReservationExpired(stock::ReservationExpired {
                reservation_id,
                order_id,
                quantity,
                at: at(901),
            })),
            2 => {
                events.push(stock::Event::ReservationRenewed(stock::ReservationRenewed {
                    reservation_id,
                    expires_at: at(1_800),
                }));
                let reason = "payment_declined".to_owned();
                events.push(stock::Event::ReservationReleased(stock::ReservationReleased {
                    reservation_id,
                    order_id,
                    quantity,
                    committed: false,
                    reason,
                    at: at(30),
                }));
            }
            3 => events.push(stock::Event::ReservationCommitted(stock::ReservationCommitted { reservation_id })),
            _ => {
                events.push(stock::Event::ReservationCommitted(stock::ReservationCommitted { reservation_id }));
                events.push(stock::Event::StockShipped(stock::StockShipped {
                    reservation_id,
                    order_id,
                    quantity,
                    at: at(60),
                }));
                events.push(stock::Event::StockRestocked(stock::StockRestocked {
                    order_id,
                    quantity: pieces(1),
                    at: at(70),
                }));
            }
        }
    }
    events.iter().map(stock::Event::encode).collect()
}

fn order_story(dice: &mut Dice, number: u64) -> Vec<Story> {
    let id = order_id(number);
    let placed = placed(number, &[(number % 4, dice.amount(9) + 1), (9, 1)], dice.amount(500_000));
    let total = placed.totals.total;
    let mut events = vec![order::Event::OrderPlaced(placed.clone())];
    let (payment, shipment_id) = (PaymentId::derive(id, 0), ShipmentId::derive(id, 0));
    let mut paid = vec![requested(payment, &placed, 0)];
    let request_id = RequestId(Uuid::nil());
    let mut shipped = Vec::new();
    match dice.roll(4) {
        0 => {
            events.push(order::Event::OrderRejected(order::OrderRejected {
                reason: order::RejectReason::PaymentDeclined,
            }));
            paid.push(payment::Event::PaymentDeclined(payment::PaymentDeclined {
                request_id,
                provider_ref: None,
                decline_code: "no_funds".to_owned(),
            }));
        }
        1 => {
            events.push(order::Event::OrderHeld(order::OrderHeld { reason: order::HoldReason::Other }));
            events.push(order::Event::OrderCancellationRequested(order::OrderCancellationRequested {
                reason: "changed my mind".to_owned(),
            }));
            events.push(order::Event::OrderCancelled(order::OrderCancelled { reason: "customer_request".to_owned() }));
            paid.push(payment::Event::PaymentOutcomeUnknown(payment::PaymentOutcomeUnknown { request_id, at: at(40) }));
        }
        _ => {
            events.push(order::Event::OrderConfirmed(order::OrderConfirmed {}));
            events.push(order::Event::OrderDispatchAllowed(order::OrderDispatchAllowed {}));
            events.push(order::Event::OrderShipped(order::OrderShipped { shipment_id }));
            paid.push(payment::Event::PaymentAuthorized(payment::PaymentAuthorized {
                request_id,
                provider_ref: Some("ref".to_owned()),
                amount: total,
                portion: None,
                capture_before: at(600_000),
            }));
            paid.push(payment::Event::CaptureRequested(payment::CaptureRequested {
                request_id,
                amount: total,
                at: at(50),
            }));
            paid.push(captured(id, total, &placed));
            let lines = vec![shipment::ShipmentLine { item: item(number % 4), quantity: pieces(1) }];
            shipped.push(shipment::Event::ShipmentPlanned(shipment::ShipmentPlanned { order_id: id, lines }));
            shipped.push(shipment::Event::ShipmentReady(shipment::ShipmentReady { order_id: id }));
            if dice.roll(2) == 0 {
                events.push(order::Event::OrderCompleted(order::OrderCompleted {}));
                shipped.push(shipment::Event::ShipmentDispatched(shipment::ShipmentDispatched { order_id: id }));
                shipped.push(shipment::Event::ShipmentDelivered(shipment::ShipmentDelivered { order_id: id }));
            } else {
                paid.push(refunded(id, total, &placed));
            }
        }
    }
    let mut stories = vec![story(id.stream(), id, events.iter().map(order::Event::encode).collect())];
    stories.push(story(payment.stream(), id, paid.iter().map(payment::Event::encode).collect()));
    let mut saga = saga_waits(number);
    if dice.roll(2) == 0 {
        saga.push(saga::Event::SagaCompleted(saga::SagaCompleted {}).encode());
    }
    stories.push(story(format!("saga_order_fulfilment-{id}"), id, saga));
    if !shipped.is_empty() {
        stories.push(story(shipment_id.stream(), id, shipped.iter().map(shipment::Event::encode).collect()));
    }
    stories
}

pub fn requested(payment_id: PaymentId, placed: &OrderPlaced, attempt_group: u32) -> payment::Event {
    payment::Event::PaymentAuthorizationRequested(payment::PaymentAuthorizationRequested {
        payment_id,
        order_id: placed.order_id,
        request_id: RequestId(Uuid::nil()),
        amount: placed.totals.total,
        payment_method: placed.payment_method.clone(),
        attempt_group,
        tags: vec![],
        placed_on: placed.placed_at.date_naive(),
        at: placed.placed_at,
    })
}

pub fn captured(order_id: OrderId, amount: Money, placed: &OrderPlaced) -> payment::Event {
    let (request_id, placed_on) = (RequestId(Uuid::nil()), placed.placed_at.date_naive());
    payment::Event::PaymentCaptured(payment::PaymentCaptured {
        order_id,
        request_id,
        provider_ref: None,
        amount,
        portion: None,
        placed_on,
    })
}

pub fn refunded(order_id: OrderId, amount: Money, placed: &OrderPlaced) -> payment::Event {
    let (request_id, placed_on) = (RequestId(Uuid::nil()), placed.placed_at.date_naive());
    payment::Event::PaymentRefunded(payment::PaymentRefunded {
        order_id,
        request_id,
        provider_ref: None,
        amount,
        portion: None,
        placed_on,
    })
}

/// An event that no program of today knows.
pub fn from_the_future() -> EncodedEvent {
    let data = serde_json::value::to_raw_value(&json!({ "what": "who knows" })).expect("JSON");
    EncodedEvent { event_type: "OrderTeleported", schema_version: 1, data }
}

/// A fulfilment saga up to where it waits for the warehouse.
pub fn saga_waits(number: u64) -> Vec<EncodedEvent> {
    let placed = placed(number, &[(1, 1)], 0);
    let facts = OrderFacts {
        order_id: placed.order_id,
        items: vec![],
        total: placed.totals.total,
        payment_method: "tok_approve".to_owned(),
        tags: vec![],
        placed_on: placed.placed_at.date_naive(),
    };
    let started = saga::Event::SagaStarted(saga::SagaStarted {
        saga: "order_fulfilment".to_owned(),
        definition_version: 1,
        subject: saga::Subject { order_id: placed.order_id },
        source: Source { stream: order_id(number).stream(), version: 0, event: "OrderPlaced".to_owned() },
        facts: Facts::Order(facts),
    });
    let step = saga::Event::StepStarted(saga::StepStarted {
        step: "plan_shipment".to_owned(),
        kind: Kind::Compensatable,
        group: 0,
        commands: vec![],
        awaits: Some(Awaits { fact: "ShipmentReady".to_owned(), from: Party::Warehouse }),
        check_at: None,
        deadline: None,
    });
    vec![started.encode(), step.encode()]
}

/// A refund saga that stands still, since the provider refuses.
pub fn saga_stuck(number: u64, definition_version: u32) -> Vec<EncodedEvent> {
    let placed = placed(number, &[(1, 1)], 0);
    let facts = saga::RefundFacts {
        order_id: placed.order_id,
        payment_id: PaymentId::derive(placed.order_id, 0),
        amount: placed.totals.total,
        shipment_id: ShipmentId::derive(placed.order_id, 0),
        held: vec![],
        reason: "customer_request".to_owned(),
    };
    let started = saga::Event::SagaStarted(saga::SagaStarted {
        saga: "order_refund".to_owned(),
        definition_version,
        subject: saga::Subject { order_id: placed.order_id },
        source: Source { stream: order_id(number).stream(), version: 0, event: "SagaHandedOver".to_owned() },
        facts: Facts::Refund(facts),
    });
    let step = saga::Event::StepStarted(saga::StepStarted {
        step: "refund".to_owned(),
        kind: Kind::Retriable,
        group: 0,
        commands: vec![],
        awaits: Some(Awaits { fact: "PaymentRefunded".to_owned(), from: Party::Provider }),
        check_at: None,
        deadline: None,
    });
    let (code, detail) = ("refund_failed".to_owned(), "account_closed".to_owned());
    let stuck = saga::Event::SagaNeedsAttention(saga::SagaNeedsAttention {
        step: "refund".to_owned(),
        group: 0,
        direction: saga::Direction::Do,
        failure: saga::Failure { kind: saga::ErrorKind::Failed, code, detail },
        stuck: true,
        source: None,
    });
    vec![started.encode(), step.encode(), stuck.encode()]
}
