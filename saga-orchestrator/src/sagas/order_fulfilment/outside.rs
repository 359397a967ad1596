//! What the outside means to the fulfilment of an order.

use domain::ids::{PaymentId, ReservationId};
use domain::order::{self, RiskAssessment};
use domain::payment;
use domain::saga::{Direction, ErrorKind, Failure, Held, LegStatus, Note, RefundFacts};
use domain::shipment;

use super::{CUSTOMER_REQUEST, SHIPMENT_CANCELLED, assessment, facts, payment_id, shipment_id};
use crate::definition::Heard;
use crate::engine::{Leg, Outside, State};

fn failed(code: &str, detail: impl Into<String>) -> Failure {
    Failure { kind: ErrorKind::Failed, code: code.to_owned(), detail: detail.into() }
}

pub(super) fn hears(state: &State, outside: &Outside) -> Vec<Heard> {
    match outside {
        Outside::Order(event) => hears_order(state, event),
        Outside::Payment(id, event) => {
            let groups = 0..=state.group_of("authorise");
            let group = groups.rev().find(|group| payment_id(state, *group) == *id);
            group.map(|group| hears_payment(state, *id, group, event)).unwrap_or_default()
        }
        Outside::Shipment(id, event) if *id == shipment_id(state) => hears_shipment(state, event),
        Outside::Shipment(..) => Vec::new(),
    }
}

/// As `hears`, where nothing was noted about whose hold it is: the release ends whatever waits for one.
pub(super) fn hears_v1(state: &State, outside: &Outside) -> Vec<Heard> {
    match outside {
        Outside::Order(order::Event::OrderHoldReleased(_)) => {
            let early = state.latest("risk_review").is_none() && assessment(state) == Some(RiskAssessment::Review);
            released(state, early || open(state, "risk_review"))
        }
        Outside::Order(_) | Outside::Payment(..) | Outside::Shipment(..) => hears(state, outside),
    }
}

fn open(state: &State, step: &str) -> bool {
    state.latest(step).is_some_and(|leg| leg.status == LegStatus::Open)
}

/// The order is held no more: what that ends, the review or only what waits for any release.
fn released(state: &State, is_reviews: bool) -> Vec<Heard> {
    let review = is_reviews.then_some("risk_review");
    let ends = review.into_iter().chain(open(state, "hold_released").then_some("hold_released"));
    let ends = ends.map(|step| Heard::Succeeded(step, state.group_of(step), None));
    std::iter::once(Heard::Noted(Note::HoldReleased, None, None)).chain(ends).collect()
}

fn hears_order(state: &State, event: &order::Event) -> Vec<Heard> {
    match event {
        order::Event::OrderCancellationRequested(e) => {
            vec![Heard::Noted(Note::CancellationRequested, None, Some(e.reason.clone()))]
        }
        order::Event::OrderHeld(_) => vec![Heard::Noted(Note::Held, None, None)],
        order::Event::OrderHoldReleased(_) => {
            let review = state.noted_of(Note::Held, "risk_review", state.group_of("risk_review"));
            released(state, review)
        }
        // It holds the order in the same append. A release before it is not the review's, however late it is heard.
        order::Event::OrderRiskAssessed(e) if e.assessment == RiskAssessment::Review => {
            vec![Heard::Noted(Note::Held, Some(("risk_review", state.group_of("risk_review"))), None)]
        }
        // A person has looked, and says no; perhaps before the saga knows that he was asked.
        order::Event::OrderRiskAssessed(e)
            if e.assessment == RiskAssessment::Refuse && assessment(state) == Some(RiskAssessment::Review) =>
        {
            let no = failed("fraud", format!("refused by {}", e.assessed_by));
            vec![Heard::Failed("risk_review", state.group_of("risk_review"), no)]
        }
        order::Event::OrderRiskAssessed(_) => Vec::new(),
        order::Event::OrderPlaced(_)
        | order::Event::OrderConfirmed(_)
        | order::Event::OrderRejected(_)
        | order::Event::OrderCancelled(_)
        | order::Event::OrderDispatchAllowed(_)
        | order::Event::OrderShipped(_)
        | order::Event::OrderCompleted(_) => Vec::new(), // What the saga's own commands did; it has their answers.
    }
}

fn hears_payment(state: &State, id: PaymentId, group: u32, event: &payment::Event) -> Vec<Heard> {
    let about = Some(("authorise", group));
    // The hold is gone: the authorisation is over, and so is the capture that builds on it.
    let over = |failure: Failure| {
        let stream = id.stream();
        let capture = state.latest("capture").filter(|leg| leg.commands.iter().any(|(c, _)| c.target == stream));
        let capture = capture.filter(|leg| leg.status == LegStatus::Open);
        let capture = capture.map(|leg| Heard::Failed("capture", leg.group, failure.clone()));
        std::iter::once(Heard::Failed("authorise", group, failure)).chain(capture).collect()
    };
    match event {
        payment::Event::PaymentAuthorized(e) => vec![Heard::Succeeded("authorise", group, Some(e.capture_before))],
        payment::Event::PaymentDeclined(e) => over(failed("payment_declined", e.decline_code.clone())),
        payment::Event::PaymentExpired(_) => over(failed("payment_timeout", "the payment has expired")),
        payment::Event::PaymentVoided(_) => over(failed("payment_declined", "the payment was voided")),
        payment::Event::PaymentActionRequired(_) => vec![Heard::Noted(Note::CustomerMustAct, about, None)],
        payment::Event::PaymentOutcomeUnknown(_) => vec![Heard::Noted(Note::OutcomeUnknown, about, None)],
        payment::Event::PaymentCaptured(_) => captured(state, id, group),
        payment::Event::CaptureFailed(e) => {
            vec![Heard::Failed("capture", state.group_of("capture"), failed("capture_failed", e.failure_code.clone()))]
        }
        payment::Event::VoidFailed(e) => {
            vec![Heard::UndoFailed("authorise", group, failed("void_failed", e.failure_code.clone()))]
        }
        payment::Event::RefundFailed(e) => {
            vec![Heard::UndoFailed("authorise", group, failed("refund_failed", e.failure_code.clone()))]
        }
        // What was taken where only a hold was asked for is undone by a refund (see `void`).
        payment::Event::PaymentRefunded(_) => {
            let undo = state.leg("authorise", group, Direction::Undo);
            let open = undo.is_some_and(|leg| matches!(leg.status, LegStatus::Open | LegStatus::Stuck));
            let refunded = || Heard::Failed("authorise", group, failed("refunded", "the payment was refunded"));
            open.then(refunded).into_iter().collect()
        }
        payment::Event::PaymentAuthorizationRequested(_)
        | payment::Event::CaptureRequested(_)
        | payment::Event::VoidRequested(_)
        | payment::Event::RefundRequested(_)
        | payment::Event::PaymentSucceededLate(_) => Vec::new(), // The reconciliation's.
    }
}

/// The capture that was asked of this payment; or the provider took the money at once, where a hold was asked for.
fn captured(state: &State, id: PaymentId, group: u32) -> Vec<Heard> {
    let stream = id.stream();
    let of_payment = |leg: &&Leg| leg.commands.iter().any(|(command, _)| command.target == stream);
    let mut captures =
        state.legs.iter().rev().filter(|leg| leg.step.name == "capture" && leg.direction == Direction::Do);
    match captures.find(of_payment) {
        Some(leg) => vec![Heard::Succeeded("capture", leg.group, None)],
        None => {
            let next = state.latest("capture").map_or(0, |leg| leg.group + 1);
            vec![Heard::Succeeded("authorise", group, None), Heard::Succeeded("capture", next, None)]
        }
    }
}

fn hears_shipment(state: &State, event: &shipment::Event) -> Vec<Heard> {
    let group = |step| state.group_of(step);
    match event {
        shipment::Event::ShipmentReady(_) => vec![Heard::Succeeded("plan_shipment", group("plan_shipment"), None)],
        shipment::Event::ShipmentDelivered(_) => {
            vec![Heard::Succeeded("record_shipped", group("record_shipped"), None)]
        }
        shipment::Event::ShipmentLost(e) => {
            vec![Heard::Failed("record_shipped", group("record_shipped"), failed("shipment_lost", e.reason.clone()))]
        }
        shipment::Event::ShipmentCancelled(e) => {
            vec![Heard::Failed("plan_shipment", group("plan_shipment"), failed(SHIPMENT_CANCELLED, e.reason.clone()))]
        }
        shipment::Event::ShipmentPlanned(_) | shipment::Event::ShipmentDispatched(_) => Vec::new(),
    }
}

/// The customer's wish, the risk check's no, a shipment that will never leave. Once the goods are on their way nothing
/// stops the saga any more.
pub(super) fn stops(state: &State) -> Option<&'static str> {
    if state.succeeded("dispatch") {
        return None;
    }
    if state.noted(Note::CancellationRequested) {
        return Some(CUSTOMER_REQUEST);
    }
    if state.noted_of(Note::NothingLeft, "plan_shipment", state.group_of("plan_shipment")) {
        return Some(SHIPMENT_CANCELLED);
    }
    let by_rules = state.succeeded("assess_risk") && assessment(state) == Some(RiskAssessment::Refuse);
    let by_person = state.noted_of(Note::NothingLeft, "risk_review", state.group_of("risk_review"));
    (state.latest("authorise").is_none() && (by_rules || by_person)).then_some("fraud")
}

/// What `order_refund` needs to know.
pub(super) fn hand_over(state: &State, reason: &'static str) -> (&'static str, RefundFacts) {
    let held = facts(state).map(|facts| {
        let group = state.group_of("reserve");
        let held = |item: &domain::saga::Item| Held {
            item: item.item.clone(),
            reservation_id: ReservationId::derive(facts.order_id, &item.item, group),
        };
        (facts.items.iter().map(held).collect(), facts.total)
    });
    let (held, amount) = held.unwrap_or_default();
    let facts = RefundFacts {
        order_id: state.order_id(),
        payment_id: payment_id(state, state.group_of("authorise")),
        amount,
        shipment_id: shipment_id(state),
        held,
        reason: reason.to_owned(),
    };
    ("order_refund", facts)
}
