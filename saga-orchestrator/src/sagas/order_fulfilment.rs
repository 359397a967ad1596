//! Carries an order from placed to delivered, or back to where it began.
//!
//! Order of money and goods: reserve, authorize, confirm, capture, dispatch. *Invariant:* before the capture everything
//! can be undone, after it the saga only goes forward or hands over to `order_refund`; while it is open it waits.
//! *Invariant:* the order stream settles the races: `allow_dispatch` asks it, and does as it says.

use domain::Command;
use domain::ids::{PaymentId, RequestId, ReservationId, ShipmentId};
use domain::order::{self, RejectReason, RiskAssessment};
use domain::payment::{
    self, RequestPaymentAuthorization, RequestPaymentCapture, RequestPaymentRefund, RequestPaymentVoid,
};
use domain::saga::{Direction, ErrorKind, Facts, Failure, LegStatus, Note, OrderFacts, Party};
use domain::shipment::{self, PlanShipment, ShipmentLine};
use domain::stock::{self, ReserveStock};

mod outside;
mod people;

use super::order_refund::NOTHING_TO_REFUND;
use super::shop::{Awaited, Ctx, Definition, Keep, Limit, State, Step, Undo};
use crate::config::Time;
use outside::{hand_over, hears, stops};
use people::PEOPLE;
use saga_engine::definition::{Meaning, always};
use saga_engine::engine::operator::OPERATOR;

/// A new attempt after each release of a hold; a bound only because every retry has one.
const RELEASES: u32 = 1_000;

const RISK_CLEARED: Awaited = Awaited::heard("OrderHoldReleased", Party::Person, no_review);
const AUTHORISED: Awaited = Awaited::heard("PaymentAuthorized", Party::Provider, always);
const VOIDED: Awaited = Awaited::heard("PaymentVoided", Party::Provider, always);
const READY: Awaited = Awaited::heard("ShipmentReady", Party::Warehouse, always);
const CAPTURED: Awaited = Awaited::heard("PaymentCaptured", Party::Provider, always);
const RELEASED: Awaited =
    Awaited { silence_ends: true, ..Awaited::heard("OrderHoldReleased", Party::Person, |_| true) };
const DELIVERED: Awaited = Awaited::heard("ShipmentDelivered", Party::Warehouse, always);
const RENEWAL: Keep = Keep { every: Time::Renewal, sends: renew_items, until: "commit" };

/// The saga: its table of steps, and what stands beside it.
pub const ORDER_FULFILMENT: Definition = Definition {
    name: "order_fulfilment",
    version: 2,
    starts_on: &["OrderPlaced"],
    steps: STEPS,
    hears,
    stops,
    hands_over: Some(hand_over),
    people: PEOPLE,
};

/// A step ends on the answers to its commands, one a target; `awaits` names a fact from outside that must follow.
#[rustfmt::skip] // A step has one line, or a second one for how long it may take and what its failures mean.
const STEPS: &[Step] = &[
    Step { undo: Undo::by(end_order), ..START },
    Step { name: "reserve", after: &["start"], sends: reserve_items, undo: Undo::by(release_items),
        means: reserve_means, keep: Some(RENEWAL), ..COMPENSATABLE },
    Step { name: "assess_risk", after: &["reserve"], sends: assess_risk, undo: NOTHING,
        means: order_means, ..COMPENSATABLE },
    Step { name: "risk_review", after: &["assess_risk"], awaits: Some(RISK_CLEARED), undo: NOTHING,
        limit: Limit::Fail(Time::RiskReview, "fraud"), means: |_| Meaning::Fail("fraud"), ..COMPENSATABLE },
    Step { name: "authorise", after: &["risk_review"], sends: authorise, awaits: Some(AUTHORISED), undo: VOID,
        within: Time::ProviderCheck, limit: Limit::Fail(Time::ThreeDs, "payment_timeout"),
        means: authorise_means, ..COMPENSATABLE },
    Step { name: "commit", after: &["authorise"], sends: commit_items, undo: NOTHING,
        redo: Some(("reserve", 1)), means: commit_means, ..COMPENSATABLE },
    Step { name: "confirm", after: &["commit"], sends: confirm, undo: NOTHING, means: order_means, ..COMPENSATABLE },
    Step { name: "plan_shipment", after: &["confirm"], sends: plan_shipment, awaits: Some(READY),
        undo: CANCELLATION, limit: Limit::Alert(Time::Warehouse),
        means: |_| Meaning::Fail(SHIPMENT_CANCELLED), ..COMPENSATABLE },
    Step { name: "capture", after: &["plan_shipment"], sends: capture, awaits: Some(CAPTURED),
        within: Time::ProviderCheck, limit: Limit::AlertBeforeLapse(Time::CaptureMargin),
        redo: Some(("authorise", 1)), means: capture_means, ..PIVOT },
    Step { name: "hold_released", after: &["capture"], awaits: Some(RELEASED), ..RETRIABLE },
    Step { name: "allow_dispatch", after: &["hold_released"], sends: allow_dispatch,
        redo: Some(("hold_released", RELEASES)), means: allow_means, ..RETRIABLE },
    Step { name: "dispatch", after: &["allow_dispatch"], sends: dispatch,
        limit: Limit::Alert(Time::Warehouse), means: dispatch_means, ..RETRIABLE },
    Step { name: "ship_items", after: &["dispatch"], sends: ship_items, ..RETRIABLE },
    Step { name: "record_shipped", after: &["ship_items"], sends: record_shipped, awaits: Some(DELIVERED),
        ..RETRIABLE },
    Step { name: "complete", after: &["record_shipped"], sends: complete, ..RETRIABLE },
];

const START: Step = Step::START;
const COMPENSATABLE: Step = Step::COMPENSATABLE;
const PIVOT: Step = Step::PIVOT;
const RETRIABLE: Step = Step::RETRIABLE;

/// The step leaves nothing, on purpose.
const NOTHING: Option<Undo> = Some(Undo::Nothing);
const VOID: Option<Undo> = Undo::awaiting(void, VOIDED);
const CANCELLATION: Option<Undo> = Undo::by(cancel_shipment);

/// Up to 0.2.0. The same table, but any release counted as that of the review: it did not note which hold was the review's.
pub const ORDER_FULFILMENT_V1: Definition = Definition { version: 1, hears: outside::hears_v1, ..ORDER_FULFILMENT };

/// Why the customer's wish ends it.
const CUSTOMER_REQUEST: &str = "customer_request";
/// Why the warehouse's word ends it.
const SHIPMENT_CANCELLED: &str = "shipment_cancelled";

fn facts(state: &State) -> Option<&OrderFacts> {
    match state.facts.as_ref()? {
        Facts::Order(facts) => Some(facts),
        Facts::Refund(_) | Facts::Reconciliation(_) => None,
    }
}

/// One command on the order.
fn on_order(ctx: &Ctx, command: order::Command) -> Vec<Command> {
    vec![Command::Order { id: ctx.state.subject().order_id, command }]
}

/// One command for each item's hold of a group. One command per item: two lines of one item, reserved apart, could each
/// pass and together oversell.
fn on_items(
    state: &State,
    group: u32,
    command: impl Fn(&domain::saga::Item, ReservationId) -> stock::Command,
) -> Vec<Command> {
    let Some(facts) = facts(state) else { return Vec::new() };
    let on_item = |item: &domain::saga::Item| {
        let hold = ReservationId::derive(facts.order_id, &item.item, group);
        Command::Stock { id: item.item.clone(), command: command(item, hold) }
    };
    facts.items.iter().map(on_item).collect()
}

fn reserve_items(ctx: &Ctx) -> Vec<Command> {
    let order_id = ctx.state.subject().order_id;
    on_items(ctx.state, ctx.group, |item, reservation_id| {
        stock::Command::ReserveStock(ReserveStock { reservation_id, order_id, quantity: item.quantity })
    })
}

fn renew_items(ctx: &Ctx) -> Vec<Command> {
    on_items(ctx.state, ctx.group, |_, reservation_id| {
        stock::Command::RenewReservation(stock::RenewReservation { reservation_id })
    })
}

fn commit_items(ctx: &Ctx) -> Vec<Command> {
    on_items(ctx.state, ctx.state.group_of("reserve"), |_, reservation_id| {
        stock::Command::CommitReservation(stock::CommitReservation { reservation_id })
    })
}

fn ship_items(ctx: &Ctx) -> Vec<Command> {
    on_items(ctx.state, ctx.state.group_of("reserve"), |_, reservation_id| {
        stock::Command::ShipStock(stock::ShipStock { reservation_id })
    })
}

/// Gives back what was held or may be held: only what was refused for certain is left out.
fn release_items(ctx: &Ctx) -> Vec<Command> {
    let order_id = ctx.state.subject().order_id;
    let reason = ctx.state.reason.clone().unwrap_or_else(|| "reserved anew".to_owned());
    let mut commands = on_items(ctx.state, ctx.group, |_, reservation_id| {
        let reason = reason.clone();
        stock::Command::ReleaseReservation(stock::ReleaseReservation { reservation_id, order_id, reason })
    });
    commands.retain(|command| !was_refused(ctx, &command.stream()));
    commands
}

/// Whether this attempt's command on that stream was refused: then there is nothing to undo on it.
fn was_refused(ctx: &Ctx, target: &str) -> bool {
    let leg = ctx.state.leg(ctx.step, ctx.group, Direction::Do);
    leg.is_some_and(|leg| leg.commands.iter().any(|(c, answer)| c.target == target && matches!(answer, Some(Err(_)))))
}

fn assess_risk(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let over = |limits: &std::collections::BTreeMap<String, i64>| {
        limits.get(facts.total.currency.code()).is_some_and(|limit| facts.total.amount > *limit)
    };
    let assessment = match (over(&ctx.config.risk.refuse_above), over(&ctx.config.risk.review_above)) {
        (true, _) => RiskAssessment::Refuse,
        (false, true) => RiskAssessment::Review,
        (false, false) => RiskAssessment::Approve,
    };
    let (assessed_by, by_person) = ("rules".to_owned(), false);
    on_order(ctx, order::Command::AssessOrderRisk(order::AssessOrderRisk { assessment, assessed_by, by_person }))
}

/// What the risk check said, as it was sent: the rules may have changed since.
fn assessment(state: &State) -> Option<RiskAssessment> {
    let leg = state.latest("assess_risk")?;
    let command = leg.commands.first()?.0.body.parse().ok()?;
    let Command::Order { command: order::Command::AssessOrderRisk(sent), .. } = command else { return None };
    Some(sent.assessment)
}

fn no_review(ctx: &Ctx) -> bool {
    assessment(ctx.state) != Some(RiskAssessment::Review)
}

fn payment_id(state: &State, group: u32) -> PaymentId {
    PaymentId::derive(state.subject().order_id, group)
}

/// The request that a step makes of the provider: it follows from the command, so the command again is the request again.
fn request_id(ctx: &Ctx, payment_id: PaymentId) -> RequestId {
    RequestId::derive(payment_id, ctx.command_id(&payment_id.stream()))
}

fn authorise(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let payment_id = payment_id(ctx.state, ctx.group);
    let command = payment::Command::RequestPaymentAuthorization(RequestPaymentAuthorization {
        payment_id,
        order_id: facts.order_id,
        request_id: request_id(ctx, payment_id),
        amount: facts.total,
        payment_method: facts.payment_method.clone(),
        attempt_group: ctx.group,
        tags: facts.tags.clone(),
        placed_on: facts.placed_on,
    });
    vec![Command::Payment { id: payment_id, command }]
}

/// Lets the hold go, an unknown one too; what a provider took at once is refunded. What the customer never confirmed in time expires; if he did after all, the
/// payment refuses that, and it is voided.
fn void(ctx: &Ctx) -> Vec<Command> {
    let payment_id = payment_id(ctx.state, ctx.group);
    if was_refused(ctx, &payment_id.stream()) {
        return Vec::new();
    }
    if ctx.refused == Some(NOTHING_TO_REFUND) {
        return Vec::new(); // All that was taken goes back on another saga's request.
    }
    let leg = ctx.state.leg(ctx.step, ctx.group, Direction::Do);
    let timed_out = leg.and_then(|leg| leg.failure.as_ref()).is_some_and(|failure| failure.kind == ErrorKind::TimedOut);
    let never_acted = timed_out && ctx.state.noted_of(Note::CustomerMustAct, ctx.step, ctx.group);
    // The first way back only: a later one is there because this one did not work.
    let command = if never_acted && ctx.direction == Direction::Undo.as_str() {
        payment::Command::ExpirePayment(payment::ExpirePayment {})
    } else if let (Some("payment-captured"), Some(facts)) = (ctx.refused, facts(ctx.state)) {
        let (request_id, reason) = (request_id(ctx, payment_id), ctx.state.reason.clone().unwrap_or_default());
        payment::Command::RequestPaymentRefund(RequestPaymentRefund {
            request_id,
            amount: facts.total,
            remaining: true,
            reason,
        })
    } else {
        let request_id = request_id(ctx, payment_id);
        let order_id = ctx.state.subject().order_id;
        payment::Command::RequestPaymentVoid(RequestPaymentVoid { payment_id, order_id, request_id })
    };
    vec![Command::Payment { id: payment_id, command }]
}

fn confirm(ctx: &Ctx) -> Vec<Command> {
    on_order(ctx, order::Command::ConfirmOrder(order::ConfirmOrder {}))
}

fn shipment_id(state: &State) -> ShipmentId {
    ShipmentId::derive(state.subject().order_id, 0)
}

fn on_shipment(ctx: &Ctx, command: shipment::Command) -> Vec<Command> {
    vec![Command::Shipment { id: shipment_id(ctx.state), command }]
}

fn plan_shipment(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    let line = |item: &domain::saga::Item| ShipmentLine { item: item.item.clone(), quantity: item.quantity };
    let lines = facts.items.iter().map(line).collect();
    on_shipment(ctx, shipment::Command::PlanShipment(PlanShipment { order_id: facts.order_id, lines }))
}

fn cancel_shipment(ctx: &Ctx) -> Vec<Command> {
    let order_id = ctx.state.subject().order_id;
    let reason = ctx.state.reason.clone().unwrap_or_default();
    if was_refused(ctx, &shipment_id(ctx.state).stream()) {
        return Vec::new();
    }
    on_shipment(ctx, shipment::Command::CancelShipment(shipment::CancelShipment { order_id, reason }))
}

/// Nothing is asked of a provider that took the money when a hold was asked for.
fn capture(ctx: &Ctx) -> Vec<Command> {
    let Some(facts) = facts(ctx.state) else { return Vec::new() };
    if ctx.state.noted_of(Note::CameEarly, ctx.step, ctx.group) {
        return Vec::new();
    }
    let payment_id = payment_id(ctx.state, ctx.state.group_of("authorise"));
    let request_id = request_id(ctx, payment_id);
    let command = payment::Command::RequestPaymentCapture(RequestPaymentCapture { request_id, amount: facts.total });
    vec![Command::Payment { id: payment_id, command }]
}

fn allow_dispatch(ctx: &Ctx) -> Vec<Command> {
    on_order(ctx, order::Command::AllowOrderDispatch(order::AllowOrderDispatch {}))
}

fn dispatch(ctx: &Ctx) -> Vec<Command> {
    on_shipment(ctx, shipment::Command::DispatchShipment(shipment::DispatchShipment {}))
}

fn record_shipped(ctx: &Ctx) -> Vec<Command> {
    let shipment_id = shipment_id(ctx.state);
    on_order(ctx, order::Command::RecordOrderShipped(order::RecordOrderShipped { shipment_id }))
}

fn complete(ctx: &Ctx) -> Vec<Command> {
    on_order(ctx, order::Command::CompleteOrder(order::CompleteOrder {}))
}

/// Rejects the order while it is pending, else cancels it: also when the customer wants that too, and when the order
/// says that it can no longer be rejected.
fn end_order(ctx: &Ctx) -> Vec<Command> {
    let state = ctx.state;
    let reason = state.reason.as_deref().unwrap_or_default();
    let wished = state.noted(Note::CancellationRequested) || reason == CUSTOMER_REQUEST;
    let confirmed = state.latest("confirm").is_some_and(|leg| leg.status == LegStatus::Succeeded);
    if wished || confirmed || ctx.refused.is_some() {
        let reason = if wished { CUSTOMER_REQUEST } else { reason }.to_owned();
        return on_order(ctx, order::Command::CancelOrder(order::CancelOrder { reason }));
    }
    let reason = match reason {
        "out_of_stock" => RejectReason::OutOfStock,
        "payment_declined" => RejectReason::PaymentDeclined,
        "payment_timeout" => RejectReason::PaymentTimeout,
        "reservation_expired" => RejectReason::ReservationExpired,
        "fraud" => RejectReason::Fraud,
        OPERATOR => RejectReason::Operator,
        _ => RejectReason::Contention, // Too much at once: nothing else is left that fails before the confirmation.
    };
    on_order(ctx, order::Command::RejectOrder(order::RejectOrder { reason }))
}

fn reserve_means(failure: &Failure) -> Meaning {
    match failure.code.as_str() {
        "out-of-stock" | "not-found" => Meaning::Fail("out_of_stock"),
        _ => Meaning::Fail("contention"),
    }
}

fn order_means(failure: &Failure) -> Meaning {
    Meaning::Fail(if failure.code.contains("cancel") { CUSTOMER_REQUEST } else { "contention" })
}

/// The failure of a step whose request the provider has carried out in part: a person decides what becomes of it.
const FELL_SHORT: &str = "fell_short";

/// Money that was taken, in part or by another request, and an authorization that is too small, never lead to a second
/// authorization: a person looks.
fn capture_means(failure: &Failure) -> Meaning {
    match failure.code.as_str() {
        FELL_SHORT | "payment-captured" => Meaning::Attention,
        "capture-exceeds-authorized" => Meaning::DidNothing,
        _ => Meaning::Redo("capture_failed"),
    }
}

fn authorise_means(failure: &Failure) -> Meaning {
    match failure.kind {
        ErrorKind::Failed if failure.code == FELL_SHORT => Meaning::Attention,
        ErrorKind::Failed if failure.code == "payment_timeout" => Meaning::Fail("payment_timeout"),
        ErrorKind::Failed | ErrorKind::Rejected => Meaning::Fail("payment_declined"),
        ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Unsupported => Meaning::Fail("payment_timeout"),
    }
}

fn commit_means(failure: &Failure) -> Meaning {
    match failure.kind {
        ErrorKind::Rejected => Meaning::Redo("reservation_expired"),
        ErrorKind::Failed | ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Unsupported => {
            Meaning::Fail("contention")
        }
    }
}

fn allow_means(failure: &Failure) -> Meaning {
    match failure.code.as_str() {
        "order-held" => Meaning::Redo("held"),
        code if code.contains("cancel") => Meaning::HandOver(CUSTOMER_REQUEST),
        _ => Meaning::Attention,
    }
}

fn dispatch_means(failure: &Failure) -> Meaning {
    match failure.kind {
        ErrorKind::Rejected => Meaning::HandOver("dispatch_rejected"),
        ErrorKind::Failed | ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Unsupported => Meaning::Attention,
    }
}
