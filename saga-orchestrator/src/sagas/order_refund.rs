//! Takes an order back whose money was captured and whose goods have not left: refund, unpack, release, cancel.
//!
//! *Invariant:* it only goes forward. What the provider refuses to give back needs a person; nothing else moves until then.

use domain::Command;
use domain::ids::RequestId;
use domain::order;
use domain::payment::{self, RequestPaymentRefund};
use domain::saga::{CommandBody, ErrorKind, Facts, Failure, LegStatus, Party, RefundFacts};
use domain::shipment;
use domain::stock;

use super::shop::{Awaited, Ctx, Definition, Heard, Leg, Outside, People, State, Step};
use crate::config::Time;
use saga_engine::definition::{Meaning, always};

const REFUNDED: Awaited = Awaited::heard("PaymentRefunded", Party::Provider, always);

/// The saga: its table of steps, and what stands beside it.
pub const ORDER_REFUND: Definition = Definition {
    name: "order_refund",
    version: 1,
    starts_on: &["SagaHandedOver"],
    steps: STEPS,
    hears,
    stops: |_| None,
    hands_over: None,
    people: PEOPLE,
};

#[rustfmt::skip] // One step a line.
const STEPS: &[Step] = &[
    Step { name: "refund", sends: refund, awaits: Some(REFUNDED), within: Time::ProviderCheck, ..FORWARD },
    Step { name: "cancel_shipment", after: &["refund"], sends: cancel_shipment, ..FORWARD },
    Step { name: "release", after: &["cancel_shipment"], sends: release, ..FORWARD },
    Step { name: "cancel_order", after: &["release"], sends: cancel_order, ..FORWARD },
];

const FORWARD: Step = Step { means, ..Step::RETRIABLE };

const PEOPLE: People = People { skips, keeps: |_| None };

/// The refund may have been made by hand at the provider; what moves goods or ends the order is ours alone.
fn skips(_: &State, leg: &Leg) -> Result<&'static str, &'static str> {
    match leg.step.name {
        "refund" => Ok("the money counts as given back by hand; the payment's own books do not show it"),
        "cancel_shipment" => Err("the goods could still leave"),
        "release" => Err("the pieces would stay held for ever"),
        _ => Err("the order would never end"),
    }
}

/// The code of the refusal of a refund of all that remains, where nothing does: all of it was given back, or is being
/// given back on another saga's request. That saga calls a person if its refund fails.
pub(super) const NOTHING_TO_REFUND: &str = "nothing-to-refund";

pub(super) fn means(failure: &Failure) -> Meaning {
    let is_refusal = failure.kind == ErrorKind::Rejected && failure.code == NOTHING_TO_REFUND;
    if is_refusal { Meaning::AlreadySo } else { Meaning::Attention }
}

fn facts(state: &State) -> Option<&RefundFacts> {
    match state.facts.as_ref()? {
        Facts::Refund(facts) => Some(facts),
        Facts::Order(_) | Facts::Reconciliation(_) => None,
    }
}

fn refund(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let id = facts.payment_id;
    let request_id = RequestId::derive(id, ctx.command_id(&id.stream()));
    // All that remains: the payment knows how much was taken, also where that is not what the order costs.
    let refund =
        RequestPaymentRefund { request_id, amount: facts.amount, remaining: true, reason: facts.reason.clone() };
    vec![Command::Payment { id, command: payment::Command::RequestPaymentRefund(refund) }]
}

fn cancel_shipment(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let cancel = shipment::CancelShipment { order_id: facts.order_id, reason: facts.reason.clone() };
    vec![Command::Shipment { id: facts.shipment_id, command: shipment::Command::CancelShipment(cancel) }]
}

fn release(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let release = |held: &domain::saga::Held| {
        let (reservation_id, order_id, reason) = (held.reservation_id, facts.order_id, facts.reason.clone());
        let command = stock::ReleaseReservation { reservation_id, order_id, reason };
        Command::Stock { id: held.item.clone(), command: stock::Command::ReleaseReservation(command) }
    };
    facts.held.iter().map(release).collect()
}

fn cancel_order(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let cancel = order::CancelOrder { reason: facts.reason.clone() };
    vec![Command::Order { id: facts.order_id, command: order::Command::CancelOrder(cancel) }]
}

/// Whether an attempt of this step made the request.
pub(super) fn made_by(state: &State, step: &str, request_id: RequestId) -> bool {
    attempt_that_made(state, step, request_id).is_some()
}

/// The attempt of this step that made the request. A payment may have several requests of one kind open at a time, of
/// several sagas: what became of one says nothing about another.
pub(super) fn attempt_that_made<'a>(state: &'a State, step: &str, request_id: RequestId) -> Option<&'a Leg> {
    let asks = |body: &CommandBody| {
        let Ok(Command::Payment { command, .. }) = body.parse() else { return false };
        match command {
            payment::Command::RequestPaymentCapture(c) => c.request_id == request_id,
            payment::Command::RequestPaymentRefund(c) => c.request_id == request_id,
            payment::Command::RequestPaymentVoid(c) => c.request_id == request_id,
            payment::Command::RequestPaymentAuthorization(_)
            | payment::Command::RecordProviderResult(_)
            | payment::Command::MarkPaymentOutcomeUnknown(_)
            | payment::Command::ExpirePayment(_) => false,
        }
    };
    let mut of_step = state.legs.iter().filter(|leg| leg.step.name == step);
    of_step.find(|leg| leg.commands.iter().any(|(command, _)| asks(&command.body)))
}

/// Why a refund of which the provider has made a part needs a person.
pub(super) fn fell_short(e: &payment::PaymentFellShort) -> Failure {
    let (done, asked) = (e.done, e.asked);
    let detail =
        format!("the provider has refunded {done} of the {asked} asked for, and says the same when asked again");
    Failure { kind: ErrorKind::Failed, code: "fell_short".to_owned(), detail }
}

fn hears(state: &State, outside: &Outside) -> Vec<Heard> {
    let Outside::Payment(id, event) = outside else { return Vec::new() };
    if facts(state).is_none_or(|facts| facts.payment_id != *id) {
        return Vec::new();
    }
    let group = state.group_of("refund");
    match event {
        payment::Event::PaymentRefunded(e) if e.is_complete() && made_by(state, "refund", e.request_id) => {
            vec![Heard::Succeeded("refund", group, None)]
        }
        payment::Event::PaymentRefunded(_) => Vec::new(),
        payment::Event::PaymentFellShort(e) if made_by(state, "refund", e.request_id) => {
            let open = state.latest("refund").filter(|leg| leg.status == LegStatus::Open);
            open.map(|leg| Heard::Failed("refund", leg.group, fell_short(e))).into_iter().collect()
        }
        payment::Event::PaymentFellShort(_) => Vec::new(),
        payment::Event::RefundFailed(e) => {
            let (code, detail) = ("refund_failed".to_owned(), e.failure_code.clone());
            let made = attempt_that_made(state, "refund", e.request_id);
            let failed =
                |leg: &Leg| Heard::Failed("refund", leg.group, Failure { kind: ErrorKind::Failed, code, detail });
            made.map(failed).into_iter().collect()
        }
        payment::Event::PaymentAuthorizationRequested(_)
        | payment::Event::PaymentActionRequired(_)
        | payment::Event::PaymentAuthorized(_)
        | payment::Event::PaymentDeclined(_)
        | payment::Event::PaymentOutcomeUnknown(_)
        | payment::Event::CaptureRequested(_)
        | payment::Event::PaymentCaptured(_)
        | payment::Event::CaptureFailed(_)
        | payment::Event::VoidRequested(_)
        | payment::Event::PaymentVoided(_)
        | payment::Event::VoidFailed(_)
        | payment::Event::RefundRequested(_)
        | payment::Event::PaymentExpired(_)
        | payment::Event::PaymentSucceededLate(_) => Vec::new(),
    }
}
