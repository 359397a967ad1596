//! Brings our books and the provider's together: an unknown outcome is pursued until it is known, and what succeeded
//! after the payment's end, or after it was asked to go back, does go back. One saga for each such event of a payment.
//!
//! *Invariant:* it takes nothing that an order still wants: it only asks about what is unknown, and gives back only what
//! the payment calls a late success. *Invariant:* it ends with the provider's word; a no to a void or refund needs a person.

use domain::Command;
use domain::ids::RequestId;
use domain::payment::{self, LateSuccess, MarkPaymentOutcomeUnknown, RequestPaymentRefund, RequestPaymentVoid};
use domain::saga::{ErrorKind, Facts, Failure, Late, LegStatus, Party, ReconciliationFacts};

use super::order_refund::{attempt_that_made, fell_short, made_by, means};
use super::shop::{Awaited, Ctx, Definition, Heard, Leg, Limit, Outside, People, State, Step};
use crate::config::Time;

/// The refund's reason, for people.
const SUCCEEDED_LATE: &str = "succeeded_late";

const KNOWN: Awaited = Awaited::heard("the request's outcome", Party::Provider, |ctx| !is_unknown(ctx));
const VOIDED: Awaited = Awaited::heard("PaymentVoided", Party::Provider, |ctx| !is_held(ctx));
const REFUNDED: Awaited = Awaited::heard("PaymentRefunded", Party::Provider, |ctx| taken(ctx).is_none());

/// The saga: its table of steps, and what stands beside it.
pub const PAYMENT_RECONCILIATION: Definition = Definition {
    name: "payment_reconciliation",
    version: 1,
    starts_on: &["PaymentOutcomeUnknown", "PaymentSucceededLate"],
    steps: STEPS,
    hears,
    stops: |_| None,
    hands_over: None,
    people: PEOPLE,
};

/// Of these steps only those have something to do that fit what the saga started on.
#[rustfmt::skip] // One step a line.
const STEPS: &[Step] = &[
    Step { name: "pursue", sends: pursue, awaits: Some(KNOWN), ..ASKED },
    Step { name: "void", after: &["pursue"], sends: void, awaits: Some(VOIDED), ..ASKED },
    Step { name: "refund", after: &["void"], sends: refund, awaits: Some(REFUNDED), ..ASKED },
];

/// The provider is asked, and asked again.
const ASKED: Step =
    Step { within: Time::ProviderCheck, limit: Limit::Alert(Time::Reconciliation), means, ..Step::RETRIABLE };

const PEOPLE: People = People { skips, keeps: |_| None };

/// All of it may have been seen to by hand at the provider.
fn skips(_: &State, leg: &Leg) -> Result<&'static str, &'static str> {
    match leg.step.name {
        "pursue" => Ok("nobody asks about the request any more; the payment's own books still call it unknown"),
        _ => Ok("the money counts as given back by hand; the payment's own books do not show it"),
    }
}

/// What begins with an event of a payment, if a reconciliation does.
pub fn facts_of(
    payment_id: domain::ids::PaymentId,
    order_id: domain::ids::OrderId,
    event: &payment::Event,
) -> Option<Facts> {
    let (request_id, late) = match event {
        payment::Event::PaymentOutcomeUnknown(e) => (e.request_id, None),
        payment::Event::PaymentSucceededLate(e) => (e.request_id, Some(Late { kind: e.kind, amount: e.amount })),
        payment::Event::PaymentAuthorizationRequested(_)
        | payment::Event::PaymentActionRequired(_)
        | payment::Event::PaymentAuthorized(_)
        | payment::Event::PaymentDeclined(_)
        | payment::Event::CaptureRequested(_)
        | payment::Event::PaymentCaptured(_)
        | payment::Event::CaptureFailed(_)
        | payment::Event::VoidRequested(_)
        | payment::Event::PaymentVoided(_)
        | payment::Event::VoidFailed(_)
        | payment::Event::RefundRequested(_)
        | payment::Event::PaymentRefunded(_)
        | payment::Event::RefundFailed(_)
        | payment::Event::PaymentExpired(_)
        | payment::Event::PaymentFellShort(_) => return None,
    };
    Some(Facts::Reconciliation(ReconciliationFacts { order_id, payment_id, request_id, late }))
}

fn facts(state: &State) -> Option<&ReconciliationFacts> {
    match state.facts.as_ref()? {
        Facts::Reconciliation(facts) => Some(facts),
        Facts::Order(_) | Facts::Refund(_) => None,
    }
}

fn late<'a>(ctx: &Ctx<'a>) -> Option<&'a Late> {
    facts(ctx.state)?.late.as_ref()
}

fn is_unknown(ctx: &Ctx) -> bool {
    late(ctx).is_none()
}

fn is_held(ctx: &Ctx) -> bool {
    late(ctx).is_some_and(|late| late.kind == LateSuccess::Authorized)
}

fn taken<'a>(ctx: &Ctx<'a>) -> Option<&'a Late> {
    late(ctx).filter(|late| late.kind == LateSuccess::Captured)
}

fn on_payment(ctx: &Ctx, command: impl Fn(&ReconciliationFacts) -> payment::Command) -> Vec<Command> {
    let command = |facts: &ReconciliationFacts| Command::Payment { id: facts.payment_id, command: command(facts) };
    facts(ctx.state).map(command).into_iter().collect()
}

/// A request of our own: it follows from the command, so the command again is the request again.
fn request_id(ctx: &Ctx, facts: &ReconciliationFacts) -> RequestId {
    RequestId::derive(facts.payment_id, ctx.command_id(&facts.payment_id.stream()))
}

/// Records again that the outcome is not known. That is so already, but it wakes the driver, which asks the provider, also
/// when the saga that made the request has long ended.
fn pursue(ctx: &Ctx) -> Vec<Command> {
    if !is_unknown(ctx) {
        return Vec::new();
    }
    on_payment(ctx, |facts| {
        payment::Command::MarkPaymentOutcomeUnknown(MarkPaymentOutcomeUnknown { request_id: facts.request_id })
    })
}

fn void(ctx: &Ctx) -> Vec<Command> {
    if !is_held(ctx) {
        return Vec::new();
    }
    on_payment(ctx, |facts| {
        let (payment_id, order_id, request_id) = (facts.payment_id, facts.order_id, request_id(ctx, facts));
        payment::Command::RequestPaymentVoid(RequestPaymentVoid { payment_id, order_id, request_id })
    })
}

fn refund(ctx: &Ctx) -> Vec<Command> {
    let Some(late) = taken(ctx) else { return Vec::new() };
    on_payment(ctx, |facts| {
        let (request_id, reason) = (request_id(ctx, facts), SUCCEEDED_LATE.to_owned());
        payment::Command::RequestPaymentRefund(RequestPaymentRefund {
            request_id,
            amount: late.amount,
            remaining: true,
            reason,
        })
    })
}

fn hears(state: &State, outside: &Outside) -> Vec<Heard> {
    let (Outside::Payment(id, event), Some(facts)) = (outside, facts(state)) else { return Vec::new() };
    if facts.payment_id != *id {
        return Vec::new();
    }
    match &facts.late {
        None if closes(facts.request_id, event) => vec![Heard::Succeeded("pursue", state.group_of("pursue"), None)],
        None => Vec::new(),
        Some(late) => given_back(state, late.kind, event),
    }
}

/// Whether the request's outcome is known with this event.
fn closes(request_id: RequestId, event: &payment::Event) -> bool {
    match event {
        payment::Event::PaymentAuthorized(e) => e.request_id == request_id,
        payment::Event::PaymentActionRequired(e) => e.request_id == request_id,
        payment::Event::CaptureFailed(e) => e.request_id == request_id,
        payment::Event::VoidFailed(e) => e.request_id == request_id,
        payment::Event::PaymentRefunded(e) => e.request_id == request_id,
        payment::Event::RefundFailed(e) => e.request_id == request_id,
        payment::Event::PaymentSucceededLate(e) => e.request_id == request_id,
        payment::Event::PaymentFellShort(e) => e.request_id == request_id,
        // Each ends whatever else was asked of the payment, too: it can only have been the void of what is gone, the
        // authorization of what was let go, or another capture.
        payment::Event::PaymentDeclined(_) | payment::Event::PaymentCaptured(_) | payment::Event::PaymentVoided(_) => {
            true
        }
        // The provider's word; our own, that nobody waits any more, leaves an unknown authorization open.
        payment::Event::PaymentExpired(e) => e.request_id.is_some(),
        payment::Event::PaymentAuthorizationRequested(_)
        | payment::Event::PaymentOutcomeUnknown(_)
        | payment::Event::CaptureRequested(_)
        | payment::Event::VoidRequested(_)
        | payment::Event::RefundRequested(_) => false,
    }
}

/// What the provider says of the way back.
fn given_back(state: &State, kind: LateSuccess, event: &payment::Event) -> Vec<Heard> {
    let done = |step| vec![Heard::Succeeded(step, state.group_of(step), None)];
    let no = |step, group, code: &str, detail: &str| {
        let failure = Failure { kind: ErrorKind::Failed, code: code.to_owned(), detail: detail.to_owned() };
        Heard::Failed(step, group, failure)
    };
    match (event, kind) {
        (payment::Event::PaymentVoided(_), LateSuccess::Authorized) => done("void"),
        // A void releases all of the authorization. Whichever saga requested it, it has failed for every saga that needs it.
        (payment::Event::VoidFailed(e), LateSuccess::Authorized) => {
            vec![no("void", state.group_of("void"), "void_failed", &e.failure_code)]
        }
        (payment::Event::PaymentRefunded(e), LateSuccess::Captured)
            if e.is_complete() && made_by(state, "refund", e.request_id) =>
        {
            done("refund")
        }
        (payment::Event::PaymentFellShort(e), LateSuccess::Captured) if made_by(state, "refund", e.request_id) => {
            let open = state.latest("refund").filter(|leg| leg.status == LegStatus::Open);
            open.map(|leg| Heard::Failed("refund", leg.group, fell_short(e))).into_iter().collect()
        }
        (payment::Event::RefundFailed(e), LateSuccess::Captured) => {
            let made = attempt_that_made(state, "refund", e.request_id);
            made.map(|leg| no("refund", leg.group, "refund_failed", &e.failure_code)).into_iter().collect()
        }
        (
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
            | payment::Event::PaymentRefunded(_)
            | payment::Event::RefundFailed(_)
            | payment::Event::PaymentExpired(_)
            | payment::Event::PaymentSucceededLate(_)
            | payment::Event::PaymentFellShort(_),
            LateSuccess::Authorized | LateSuccess::Captured,
        ) => Vec::new(),
    }
}
