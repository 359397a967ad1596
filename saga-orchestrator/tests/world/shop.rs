//! What people do in the shop of the tests, and how things stand in the end.

use domain::Command;
use domain::Timestamp;
use domain::ids::{CustomerId, OrderId, PaymentId, RequestId, ReservationId, ShipmentId, StockId};
use domain::money::{Currency, Money};
use domain::order::{self, HoldReason, OrderLine, PlaceOrder, Totals};
use domain::payment;
use domain::quantity::Quantity;
use domain::saga::{Event, SagaState, View};
use domain::shipment;
use domain::stock::{self, ReceiveStock};
use saga_orchestrator::shop::Outside;
use saga_orchestrator::{Outcome, sagas};
use uuid::Uuid;

use super::{Fact, World};

pub const ORDER: OrderId = OrderId(Uuid::from_u128(0x0dde));

/// How things stand, in one line: `order / payments / shipment / stock a / stock b / sagas`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ends {
    pub order: order::Status,
    pub reason: String,
    pub payments: Vec<payment::Status>,
    pub shipment: shipment::Status,
    /// On hand, reserved, committed of `a` and `b`.
    pub stock: [(i64, i64, i64); 2],
    pub fulfilment: SagaState,
    pub refund: Option<SagaState>,
    /// The reconciliations of its payments.
    pub reconciled: Vec<SagaState>,
}

pub fn item(sku: &str) -> StockId {
    format!("{sku}@main").parse().unwrap()
}

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

impl World {
    /// A shop with so many pieces of `a` and of `b`.
    pub fn with_stock(a: i64, b: i64) -> Self {
        let mut world = Self::new();
        for (sku, pieces) in [("a", a), ("b", b)] {
            if let Ok(quantity) = Quantity::new(pieces) {
                let receive = stock::Command::ReceiveStock(ReceiveStock { item: item(sku), quantity });
                assert_eq!(world.decide(Command::Stock { id: item(sku), command: receive }), Outcome::Done);
            }
        }
        world
    }

    /// An order of 2 `a`, 1 `b` and another 1 `a`, paid with this card.
    pub fn place(&mut self, token: &str) {
        let line = |line: u32, sku: &str, pieces: i64| OrderLine {
            line,
            item: item(sku),
            name: sku.to_owned(),
            quantity: Quantity::new(pieces).unwrap(),
            unit_price: eur(100),
            net: eur(100 * pieces),
            discount_share: eur(0),
            tax_share: eur(0),
        };
        let place = PlaceOrder {
            order_id: ORDER,
            customer_id: CustomerId(Uuid::from_u128(7)),
            lines: vec![line(1, "a", 2), line(2, "b", 1), line(3, "a", 1)],
            totals: Totals { subtotal: eur(400), discount: eur(0), tax: eur(0), shipping: eur(0), total: eur(400) },
            payment_method: token.to_owned(),
            tags: vec![],
            expected_total: None,
        };
        assert_eq!(self.order(order::Command::PlaceOrder(place)), Outcome::Done);
    }

    pub fn order(&mut self, command: order::Command) -> Outcome {
        self.decide(Command::Order { id: ORDER, command })
    }

    pub fn cancel(&mut self) -> Outcome {
        let reason = "changed my mind".to_owned();
        self.order(order::Command::RequestOrderCancellation(order::RequestOrderCancellation { reason }))
    }

    pub fn hold(&mut self) -> Outcome {
        self.hold_for(HoldReason::Other)
    }

    pub fn hold_for(&mut self, reason: HoldReason) -> Outcome {
        self.order(order::Command::HoldOrder(order::HoldOrder { reason }))
    }

    /// Releases all holds, each by its reason.
    pub fn release_hold(&mut self) -> Outcome {
        let holds = self.orders[&ORDER].0.holds.clone();
        if holds.is_empty() {
            return self.order(order::Command::ReleaseOrderHold(order::ReleaseOrderHold { reason: None }));
        }
        holds
            .into_iter()
            .map(|reason| self.release(reason))
            .fold(Outcome::Done, |worst, outcome| if outcome == Outcome::Done { worst } else { outcome })
    }

    pub fn release(&mut self, reason: HoldReason) -> Outcome {
        self.order(order::Command::ReleaseOrderHold(order::ReleaseOrderHold { reason: Some(reason) }))
    }

    /// A person says what was found.
    pub fn assess(&mut self, assessment: order::RiskAssessment) -> Outcome {
        let (assessed_by, by_person) = ("alice".to_owned(), true);
        self.order(order::Command::AssessOrderRisk(order::AssessOrderRisk { assessment, assessed_by, by_person }))
    }

    pub fn shipment(&mut self, command: shipment::Command) -> Outcome {
        self.decide(Command::Shipment { id: ShipmentId::derive(ORDER, 0), command })
    }

    pub fn ready(&mut self) -> Outcome {
        self.shipment(shipment::Command::MarkShipmentReady(shipment::MarkShipmentReady {}))
    }

    pub fn deliver(&mut self) -> Outcome {
        self.shipment(shipment::Command::DeliverShipment(shipment::DeliverShipment {}))
    }

    pub fn cancel_shipment(&mut self) -> Outcome {
        let reason = "dropped".to_owned();
        self.shipment(shipment::Command::CancelShipment(shipment::CancelShipment { order_id: ORDER, reason }))
    }

    /// Ends the hold of an item as if its time had passed and another order had wanted it.
    pub fn lose_hold(&mut self, sku: &str, group: u32) {
        let reservation_id = ReservationId::derive(ORDER, &item(sku), group);
        let (order_id, reason) = (ORDER, "lost".to_owned());
        let release = stock::ReleaseReservation { reservation_id, order_id, reason };
        let command = stock::Command::ReleaseReservation(release);
        assert_eq!(self.decide(Command::Stock { id: item(sku), command }), Outcome::Done);
    }

    /// The bank tells by itself what became of a payment's authorization.
    pub fn bank_tells(&mut self, group: u32, result: payment::ProviderResult) -> Outcome {
        self.bank_tells_of(payment::RequestKind::Authorization, group, result, payment::ResultSource::Webhook)
    }

    /// The bank tells what became of a payment's first request of a kind.
    pub fn bank_tells_of(
        &mut self,
        kind: payment::RequestKind,
        group: u32,
        result: payment::ProviderResult,
        source: payment::ResultSource,
    ) -> Outcome {
        let first = self.requests_of(kind, group)[0];
        self.bank_tells_about(first, group, result, source)
    }

    /// The bank tells what became of one request of a payment.
    pub fn bank_tells_about(
        &mut self,
        request_id: RequestId,
        group: u32,
        result: payment::ProviderResult,
        source: payment::ResultSource,
    ) -> Outcome {
        let id = PaymentId::derive(ORDER, group);
        self.provider.book(id, request_id, &result);
        let record = payment::RecordProviderResult { request_id, result, provider_ref: None, source };
        self.decide(Command::Payment { id, command: payment::Command::RecordProviderResult(record) })
    }

    /// A payment's requests of a kind, the oldest first.
    pub fn requests_of(&self, kind: payment::RequestKind, group: u32) -> Vec<RequestId> {
        let id = PaymentId::derive(ORDER, group);
        let made = |fact: &Fact| match fact {
            Fact::Outside(_, Outside::Payment(payment, event)) if *payment == id => requested(event),
            Fact::Outside(..) | Fact::HandedOver(..) => None,
        };
        self.log.iter().filter_map(made).filter(|(made, _)| *made == kind).map(|(_, request)| request).collect()
    }

    pub fn ends(&self) -> Ends {
        let order = &self.orders[&ORDER].0;
        let rejected = order.rejected.map(|reason| serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned());
        let payments = (0..4).filter_map(|group| self.payments.get(&PaymentId::derive(ORDER, group)));
        let stock = ["a", "b"].map(|sku| {
            let stock = self.stocks.get(&item(sku)).map(|(stock, _)| stock.clone()).unwrap_or_default();
            (stock.on_hand, stock.reserved_pieces(), stock.committed_pieces())
        });
        let refund = saga_orchestrator::sagas::stream("order_refund", ORDER);
        Ends {
            order: order.status,
            reason: rejected.or(order.cancelled.clone()).unwrap_or_default(),
            payments: payments.map(|(payment, _)| payment.status).collect(),
            shipment: self
                .shipments
                .get(&ShipmentId::derive(ORDER, 0))
                .map_or_else(Default::default, |(s, _)| s.status),
            stock,
            fulfilment: self.saga_state("order_fulfilment", ORDER),
            refund: self.sagas.contains_key(&refund).then(|| self.saga_state("order_refund", ORDER)),
            reconciled: self.all_of("payment_reconciliation").iter().map(|saga| self.view(saga).state()).collect(),
        }
    }

    pub fn order_of(&self, outside: &Outside) -> Option<OrderId> {
        match outside {
            Outside::Order(_) => Some(ORDER), // The only one there is.
            Outside::Payment(id, _) => self.payments[id].0.order_id,
            Outside::Shipment(id, _) => self.shipments[id].0.order_id,
        }
    }

    pub fn sagas_of(&self, order: OrderId) -> Vec<String> {
        let fits = |(_, events): &(&String, &Vec<(Event, Timestamp)>)| matches!(&events[0].0, Event::SagaStarted(e) if e.subject.order_id == order);
        self.sagas.iter().filter(fits).map(|(stream, _)| stream.clone()).collect()
    }

    /// The sagas of a type, in the order of their streams.
    pub fn all_of(&self, name: &str) -> Vec<String> {
        self.sagas.keys().filter(|stream| stream.starts_with(&format!("saga_{name}-"))).cloned().collect()
    }

    pub fn view(&self, stream: &str) -> View {
        View::of(self.sagas[stream].iter().map(|(event, at)| (event, *at)))
    }

    pub fn saga_state(&self, name: &str, order: OrderId) -> SagaState {
        self.view(&sagas::stream(name, order)).state()
    }
}

/// The request that an event tells of.
fn requested(event: &payment::Event) -> Option<(payment::RequestKind, RequestId)> {
    use payment::{Event as P, RequestKind as K};
    match event {
        P::PaymentAuthorizationRequested(e) => Some((K::Authorization, e.request_id)),
        P::CaptureRequested(e) => Some((K::Capture, e.request_id)),
        P::VoidRequested(e) => Some((K::Void, e.request_id)),
        P::RefundRequested(e) => Some((K::Refund, e.request_id)),
        P::PaymentActionRequired(_)
        | P::PaymentAuthorized(_)
        | P::PaymentDeclined(_)
        | P::PaymentOutcomeUnknown(_)
        | P::PaymentCaptured(_)
        | P::CaptureFailed(_)
        | P::PaymentVoided(_)
        | P::VoidFailed(_)
        | P::PaymentRefunded(_)
        | P::RefundFailed(_)
        | P::PaymentExpired(_)
        | P::PaymentSucceededLate(_)
        | P::PaymentFellShort(_) => None,
    }
}
