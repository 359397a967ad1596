//! What the outside means to the fulfilment of an order.

use domain::ids::{PaymentId, RequestId, ReservationId};
use domain::money::Money;
use domain::order::{self, HoldReason, RiskAssessment};
use domain::payment::{self, LateSuccess, Portion, RequestKind};
use domain::saga::{Direction, ErrorKind, Failure, Held, LegStatus, Note, REVIEW_HOLD, RefundFacts};
use domain::shipment;

use super::{CUSTOMER_REQUEST, FELL_SHORT, SHIPMENT_CANCELLED, assessment, facts, payment_id, shipment_id};
use crate::sagas::order_refund::attempt_that_made;
use crate::sagas::shop::{Heard, Leg, Outside, State};

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
        Outside::Order(order::Event::OrderHoldReleased(e)) => {
            let early = state.latest("risk_review").is_none() && assessment(state) == Some(RiskAssessment::Review);
            released(state, (early || open(state, "risk_review")) && may_be_reviews(e.reason), e.reason)
        }
        Outside::Order(_) | Outside::Payment(..) | Outside::Shipment(..) => hears(state, outside),
    }
}

fn open(state: &State, step: &str) -> bool {
    state.latest(step).is_some_and(|leg| leg.status == LegStatus::Open)
}

/// Whether a release may be that of the review's hold; one without a reason is of all holds.
fn may_be_reviews(reason: Option<HoldReason>) -> bool {
    reason.is_none_or(|reason| reason.as_str() == REVIEW_HOLD)
}

/// A hold of the order was released: what that ends, the review, or, where it was the last hold, what waits for that.
fn released(state: &State, is_reviews: bool, reason: Option<HoldReason>) -> Vec<Heard> {
    let reason = reason.map(HoldReason::as_str);
    let mut left = state.holds.clone();
    left.release(reason);
    let review = is_reviews.then_some("risk_review");
    let goes_on = (left.is_empty() && open(state, "hold_released")).then_some("hold_released");
    let ends = review.into_iter().chain(goes_on);
    let ends = ends.map(|step| Heard::Succeeded(step, state.group_of(step), None));
    std::iter::once(Heard::Noted(Note::HoldReleased, None, reason.map(str::to_owned))).chain(ends).collect()
}

fn hears_order(state: &State, event: &order::Event) -> Vec<Heard> {
    match event {
        order::Event::OrderCancellationRequested(e) => {
            vec![Heard::Noted(Note::CancellationRequested, None, Some(e.reason.clone()))]
        }
        order::Event::OrderHeld(e) => vec![Heard::Noted(Note::Held, None, Some(e.reason.as_str().to_owned()))],
        order::Event::OrderHoldReleased(e) => {
            let review = state.noted_of(Note::Held, "risk_review", state.group_of("risk_review"));
            released(state, review && may_be_reviews(e.reason), e.reason)
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
    // The hold is gone: the authorization is over, and so is the capture that builds on it.
    let over = |failure: Failure| {
        let stream = id.stream();
        let capture = state.latest("capture").filter(|leg| leg.commands.iter().any(|(c, _)| c.target == stream));
        let capture = capture.filter(|leg| leg.status == LegStatus::Open);
        let capture = capture.map(|leg| Heard::Failed("capture", leg.group, failure.clone()));
        std::iter::once(Heard::Failed("authorise", group, failure)).chain(capture).collect()
    };
    match event {
        // Less than the order costs: the provider is asked for the rest, and this step waits for what it says.
        payment::Event::PaymentAuthorized(e) if is_part(state, e.portion, e.amount) => Vec::new(),
        payment::Event::PaymentAuthorized(e) => vec![Heard::Succeeded("authorise", group, Some(e.capture_before))],
        payment::Event::PaymentDeclined(e) => over(failed("payment_declined", e.decline_code.clone())),
        payment::Event::PaymentExpired(_) => over(failed("payment_timeout", "the payment has expired")),
        payment::Event::PaymentVoided(_) => over(failed("payment_declined", "the payment was voided")),
        payment::Event::PaymentActionRequired(_) => vec![Heard::Noted(Note::CustomerMustAct, about, None)],
        payment::Event::PaymentOutcomeUnknown(_) => vec![Heard::Noted(Note::OutcomeUnknown, about, None)],
        payment::Event::PaymentCaptured(e) if is_part(state, e.portion, e.amount) => Vec::new(),
        payment::Event::PaymentCaptured(_) => captured(state, id, group),
        payment::Event::PaymentFellShort(e) => fell_short(state, id, group, e),
        payment::Event::CaptureFailed(e) => {
            let made = attempt_that_made(state, "capture", e.request_id);
            let no = failed("capture_failed", e.failure_code.clone());
            made.map(|leg| Heard::Failed("capture", leg.group, no)).into_iter().collect()
        }
        // A void releases all of the authorization. Whichever saga requested it, it has failed for every saga that needs it.
        payment::Event::VoidFailed(e) if undo_sends(state, group, "RequestPaymentVoid") => {
            vec![Heard::UndoFailed("authorise", group, failed("void_failed", e.failure_code.clone()))]
        }
        payment::Event::VoidFailed(_) => Vec::new(),
        payment::Event::RefundFailed(e) if undo_made(state, group, e.request_id) => {
            vec![Heard::UndoFailed("authorise", group, failed("refund_failed", e.failure_code.clone()))]
        }
        payment::Event::RefundFailed(_) => Vec::new(),
        // What was taken where only a hold was asked for is undone by a refund (see `void`).
        payment::Event::PaymentRefunded(e) if !e.is_complete() || !undo_made(state, group, e.request_id) => Vec::new(),
        payment::Event::PaymentRefunded(_) => undone(state, group, failed("refunded", "the payment was refunded")),
        // No void can succeed any more. The reconciliation that begins with this event gives the money back, and calls a
        // person if it cannot.
        payment::Event::PaymentSucceededLate(e)
            if e.kind == LateSuccess::Captured && undo_sends(state, group, "RequestPaymentVoid") =>
        {
            undone(state, group, failed("payment_captured", "the money was taken; the reconciliation refunds it"))
        }
        payment::Event::PaymentAuthorizationRequested(_)
        | payment::Event::CaptureRequested(_)
        | payment::Event::VoidRequested(_)
        | payment::Event::RefundRequested(_)
        | payment::Event::PaymentSucceededLate(_) => Vec::new(), // The reconciliation's.
    }
}

/// Whether a part of what the order costs is still missing. Events up to 0.2.0 say no portion: then it is the amount.
fn is_part(state: &State, portion: Option<Portion>, amount: Money) -> bool {
    match portion {
        Some(portion) => !portion.is_complete(),
        None => facts(state).is_some_and(|facts| amount.amount < facts.total.amount),
    }
}

/// The provider has done a part and says so when asked. Nothing is asked of it a second time: a person decides. What is
/// not open any more has been decided.
fn fell_short(state: &State, id: PaymentId, group: u32, e: &payment::PaymentFellShort) -> Vec<Heard> {
    let (what, done, asked) = (deed(e.kind), e.done, e.asked);
    let detail = format!("the provider has {what} {done} of the {asked} asked for, and says the same when asked again");
    let failure = failed(FELL_SHORT, detail);
    let is_open = |leg: &&Leg| leg.status == LegStatus::Open;
    match e.kind {
        RequestKind::Authorization => {
            let leg = state.leg("authorise", group, Direction::Do).filter(is_open);
            leg.map(|leg| Heard::Failed("authorise", leg.group, failure)).into_iter().collect()
        }
        RequestKind::Capture => {
            let stream = id.stream();
            let leg = state.latest("capture").filter(|leg| leg.commands.iter().any(|(c, _)| c.target == stream));
            leg.filter(is_open).map(|leg| Heard::Failed("capture", leg.group, failure)).into_iter().collect()
        }
        RequestKind::Refund if undo_made(state, group, e.request_id) => {
            vec![Heard::UndoFellShort("authorise", group, failure)]
        }
        RequestKind::Refund => Vec::new(),
        RequestKind::Void => Vec::new(), // A void is of all that is held.
    }
}

/// Whether the way back of an authorization made the request, in the round that it is at: what a round before asked for
/// is over, and this one asks for all that is left.
fn undo_made(state: &State, group: u32, request_id: RequestId) -> bool {
    let made = attempt_that_made(state, "authorise", request_id);
    made.is_some_and(|leg| leg.direction == Direction::Undo && leg.group == group)
}

/// Whether the way back of an authorization is at this command.
fn undo_sends(state: &State, group: u32, command: &str) -> bool {
    let undo = state.leg("authorise", group, Direction::Undo);
    undo.is_some_and(|undo| undo.commands.iter().any(|(sent, _)| sent.name == command))
}

/// Ends the way back of an authorization, whether it is under way or stands still: nothing is left for it to undo.
fn undone(state: &State, group: u32, why: Failure) -> Vec<Heard> {
    let undo = state.leg("authorise", group, Direction::Undo);
    let open = undo.filter(|leg| matches!(leg.status, LegStatus::Open | LegStatus::Stuck));
    open.map(|_| Heard::Failed("authorise", group, why)).into_iter().collect()
}

/// What the provider does on a request, as a participle.
pub(in crate::sagas) fn deed(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Authorization => "authorized",
        RequestKind::Capture => "captured",
        RequestKind::Void => "voided",
        RequestKind::Refund => "refunded",
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
        order_id: state.subject().order_id,
        payment_id: payment_id(state, state.group_of("authorise")),
        amount,
        shipment_id: shipment_id(state),
        held,
        reason: reason.to_owned(),
    };
    ("order_refund", facts)
}
