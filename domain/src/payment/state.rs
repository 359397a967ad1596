//! The state of a payment, and how events change it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Command, Event, LateSuccess, PaymentAuthorizationRequested, PaymentAuthorized, PaymentExpired, PaymentFellShort,
    PaymentRefunded, PaymentSucceededLate, PaymentVoided, Rejection, decide,
};
use crate::aggregate::{Aggregate, Timestamp};
use crate::ids::{OrderId, PaymentId, RequestId};
use crate::money::{Currency, Money};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was asked yet.
    #[default]
    None,
    /// The provider is being asked to hold money.
    Requested,
    /// The customer must confirm first.
    ActionRequired,
    /// Money is held.
    Authorized,
    /// Money was taken.
    Captured,
    /// Nothing is held, because we gave up.
    Voided,
    /// Nothing is held, because time ran out.
    Expired,
    /// Nothing is held, because the provider said no.
    Declined,
    /// All that was taken was given back.
    Refunded,
    /// It succeeded after its end, or after a void or a refund was requested: the money must go back.
    SucceededLate,
}

/// What is asked of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// To hold money.
    Authorization,
    /// To take held money.
    Capture,
    /// To let held money go.
    Void,
    /// To give taken money back.
    Refund,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// The provider has not answered yet, or the customer has not.
    Open,
    /// It has been open for too long.
    Unknown,
    /// It was done.
    Succeeded,
    /// The provider said no.
    Failed,
    /// What it was about ended otherwise; its own outcome was never told.
    Closed,
    /// The provider has done a part of it, and says so when it is asked again: a person must act.
    FellShort,
}

impl RequestState {
    /// Whether the provider still owes an answer.
    pub fn is_open(self) -> bool {
        match self {
            Self::Open | Self::Unknown => true,
            Self::Succeeded | Self::Failed | Self::Closed | Self::FellShort => false,
        }
    }
}

/// A request to the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// For what.
    pub kind: RequestKind,
    /// About how much; of a void what is known to be held, 0 while that is open.
    pub amount: Money,
    /// What the provider has said that it did of it, added up: at most `amount`.
    pub done: Money,
    /// Where it stands.
    pub state: RequestState,
    /// When it was made.
    pub opened_at: Timestamp,
}

/// A request that the provider still owes an answer to, as its driver needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRequest {
    /// Which; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// For what.
    pub kind: RequestKind,
    /// About how much.
    pub amount: Money,
    /// Whether it was marked as unknown.
    pub unknown: bool,
    /// Whether the provider answered that the customer must confirm first: only time or a webhook ends that.
    pub awaits_customer: bool,
    /// Whether the provider has done a part of it: then it is only asked about, never sent again.
    pub partly_done: bool,
    /// When it was made.
    pub opened_at: Timestamp,
}

/// A payment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// This payment, once an authorisation was requested.
    pub payment_id: PaymentId,
    /// Whose; none before the first event.
    pub order_id: Option<OrderId>,
    /// Where it stands.
    pub status: Status,
    /// How much was asked for.
    pub amount: Money,
    /// How much was held at the provider, over all time.
    pub authorized: Money,
    /// How much was taken.
    pub captured: Money,
    /// How much of what was held was let go.
    pub voided: Money,
    /// How much of what was taken was given back.
    pub refunded: Money,
    /// How much is being given back.
    pub refund_pending: Money,
    /// The card's token at the provider.
    pub payment_method: String,
    /// The order's how-manieth authorisation, from 0.
    pub attempt_group: u32,
    /// The order's labels.
    pub tags: Vec<String>,
    /// UTC date of the order; none before an authorisation was requested.
    pub placed_on: Option<NaiveDate>,
    /// The provider's own name for the authorisation.
    pub provider_ref: Option<String>,
    /// When the hold lapses.
    pub capture_before: Option<Timestamp>,
    /// Where the customer confirms.
    pub action_url: Option<String>,
    /// All that was asked of the provider.
    pub requests: BTreeMap<RequestId, Request>,
    /// Whether a void was requested and no capture since: money that is taken now goes back, whatever became of the void.
    pub given_up: bool,
}

impl Payment {
    /// The requests that the provider still owes an answer to, the oldest first.
    pub fn open_requests(&self) -> Vec<OpenRequest> {
        let mut open: Vec<OpenRequest> = self
            .requests
            .iter()
            .filter(|(_, request)| request.state.is_open())
            .map(|(id, request)| OpenRequest {
                request_id: *id,
                kind: request.kind,
                amount: request.amount,
                unknown: request.state == RequestState::Unknown,
                awaits_customer: self.awaits_customer(request),
                partly_done: request.done.amount > 0,
                opened_at: request.opened_at,
            })
            .collect();
        open.sort_by_key(|request| request.opened_at);
        open
    }

    /// Whether a request of this kind is open.
    pub fn has_open(&self, kind: RequestKind) -> bool {
        self.requests.values().any(|request| request.kind == kind && request.state.is_open())
    }

    /// Whether the outcome of a request has been open for too long.
    pub fn has_unknown(&self) -> bool {
        self.requests.values().any(|request| request.state == RequestState::Unknown)
    }

    /// What is held at the provider, as far as is known.
    pub fn held(&self) -> Money {
        let held = match self.status {
            Status::Authorized | Status::SucceededLate => {
                self.authorized.amount - self.captured.amount - self.voided.amount
            }
            Status::None
            | Status::Requested
            | Status::ActionRequired
            | Status::Captured
            | Status::Voided
            | Status::Expired
            | Status::Declined
            | Status::Refunded => 0,
        };
        Money::new(held, self.authorized.currency)
    }

    /// What was taken, and neither given back nor being given back.
    pub fn refundable(&self) -> Money {
        let amount = self.captured.amount - self.refunded.amount - self.refund_pending.amount;
        Money::new(amount, self.captured.currency)
    }

    pub(super) fn awaits_customer(&self, request: &Request) -> bool {
        self.status == Status::ActionRequired
            && request.kind == RequestKind::Authorization
            && request.state == RequestState::Open
    }

    fn open(&mut self, id: RequestId, kind: RequestKind, amount: Money, opened_at: Timestamp) {
        let done = Money::zero(amount.currency);
        self.requests.insert(id, Request { kind, amount, done, state: RequestState::Open, opened_at });
    }

    /// Books what the provider did of a request. It has succeeded when nothing is missing; until then the outcome of
    /// one that was unknown is open again.
    fn book(&mut self, id: &RequestId, amount: Money) {
        if let Some(request) = self.requests.get_mut(id) {
            request.done.amount += amount.amount;
            if request.done.amount >= request.amount.amount {
                request.state = RequestState::Succeeded;
            } else if request.state.is_open() {
                request.state = RequestState::Open;
            }
        }
    }

    fn set(&mut self, id: &RequestId, state: RequestState) {
        if let Some(request) = self.requests.get_mut(id) {
            request.state = state;
        }
    }

    /// Closes what is open of a kind: what it was about has ended.
    fn close(&mut self, kind: RequestKind) {
        self.close_others(kind, None);
    }

    fn close_others(&mut self, kind: RequestKind, but: Option<&RequestId>) {
        for (id, request) in &mut self.requests {
            if request.kind == kind && request.state.is_open() && Some(id) != but {
                request.state = RequestState::Closed;
            }
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.status, Status::Requested | Status::ActionRequired | Status::Authorized)
    }

    fn keep_ref(&mut self, provider_ref: Option<&String>) {
        if let Some(provider_ref) = provider_ref {
            self.provider_ref = Some(provider_ref.clone());
        }
    }

    fn start(&mut self, currency: Currency) {
        let zero = Money::zero(currency);
        (self.authorized, self.captured, self.voided) = (zero, zero, zero);
        (self.refunded, self.refund_pending) = (zero, zero);
    }

    fn requested(&mut self, e: &PaymentAuthorizationRequested) {
        self.start(e.amount.currency);
        self.payment_id = e.payment_id;
        self.order_id = Some(e.order_id);
        self.status = Status::Requested;
        self.amount = e.amount;
        self.payment_method.clone_from(&e.payment_method);
        self.attempt_group = e.attempt_group;
        self.tags.clone_from(&e.tags);
        self.placed_on = Some(e.placed_on);
        self.open(e.request_id, RequestKind::Authorization, e.amount, e.at);
    }

    fn authorized(&mut self, e: &PaymentAuthorized) {
        self.status = Status::Authorized;
        self.authorized.amount += e.amount.amount;
        self.capture_before = Some(e.capture_before);
        self.action_url = None;
        self.keep_ref(e.provider_ref.as_ref());
        self.book(&e.request_id, e.amount);
    }

    /// What captured at once was also authorised: captured + voided stays within authorised.
    fn captured(&mut self, request_id: &RequestId, amount: Money) {
        self.captured.amount += amount.amount;
        self.authorized.amount = self.authorized.amount.max(self.captured.amount + self.voided.amount);
        self.action_url = None;
        self.book(request_id, amount);
        self.close_others(RequestKind::Capture, Some(request_id));
    }

    fn voided(&mut self, e: &PaymentVoided) {
        self.order_id = Some(e.order_id);
        self.status = Status::Voided;
        self.action_url = None;
        if let Some(amount) = e.amount {
            self.voided.amount += amount.amount;
        }
        if let Some(request_id) = &e.request_id {
            self.set(request_id, RequestState::Succeeded);
        }
        self.close(RequestKind::Void);
        self.close(RequestKind::Authorization);
    }

    /// An authorisation whose outcome is unknown stays open when we give up waiting: only the provider closes that.
    fn expire(&mut self, e: &PaymentExpired) {
        if self.is_live() {
            self.status = Status::Expired;
        }
        self.action_url = None;
        self.close(RequestKind::Void); // Nothing is held: it is as the void wished.
        for (id, request) in &mut self.requests {
            let unanswered = request.kind == RequestKind::Authorization && request.state == RequestState::Open;
            if unanswered || (e.request_id == Some(*id) && request.state.is_open()) {
                request.state = RequestState::Closed;
            }
        }
    }

    fn succeeded_late(&mut self, e: &PaymentSucceededLate) {
        self.status = Status::SucceededLate;
        self.keep_ref(e.provider_ref.as_ref());
        match e.kind {
            LateSuccess::Authorized => {
                self.authorized.amount += e.amount.amount;
                self.book(&e.request_id, e.amount);
            }
            LateSuccess::Captured => self.captured(&e.request_id, e.amount),
        }
    }

    fn refunded(&mut self, e: &PaymentRefunded) {
        if self.requests.get(&e.request_id).is_some_and(|request| request.state.is_open()) {
            self.refund_pending.amount -= e.amount.amount;
        }
        self.book(&e.request_id, e.amount);
        self.refunded.amount += e.amount.amount;
        if self.refunded.amount >= self.captured.amount {
            self.status = Status::Refunded;
        }
    }

    /// What is missing of an open refund is pending no more; one that had failed was not pending.
    fn stop_refund(&mut self, request_id: &RequestId) {
        if let Some(request) = self.requests.get(request_id).filter(|request| request.state.is_open()) {
            self.refund_pending.amount -= request.amount.amount - request.done.amount;
        }
    }

    fn fell_short(&mut self, e: &PaymentFellShort) {
        if e.kind == RequestKind::Refund {
            self.stop_refund(&e.request_id);
        }
        self.set(&e.request_id, RequestState::FellShort);
    }
}

impl Aggregate for Payment {
    const CATEGORY: &'static str = "payment";
    // 2: what was captured and refunded is counted by request. 3: `given_up`.
    const STATE_FORMAT: u32 = 3;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Rejection> {
        decide::decide(self, command, now)
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::PaymentAuthorizationRequested(e) => self.requested(e),
            Event::PaymentActionRequired(e) => {
                self.status = Status::ActionRequired;
                self.action_url = Some(e.action_url.clone());
                self.keep_ref(e.provider_ref.as_ref());
                self.set(&e.request_id, RequestState::Open);
            }
            Event::PaymentAuthorized(e) => self.authorized(e),
            Event::PaymentDeclined(e) => {
                if self.is_live() {
                    self.status = Status::Declined;
                }
                self.action_url = None;
                self.keep_ref(e.provider_ref.as_ref());
                self.set(&e.request_id, RequestState::Failed);
                self.close(RequestKind::Void); // Nothing is held: it is as the void wished.
            }
            Event::PaymentOutcomeUnknown(e) => self.set(&e.request_id, RequestState::Unknown),
            Event::CaptureRequested(e) => {
                self.given_up = false;
                self.open(e.request_id, RequestKind::Capture, e.amount, e.at);
            }
            Event::PaymentCaptured(e) => {
                self.status = Status::Captured;
                self.captured(&e.request_id, e.amount);
            }
            Event::CaptureFailed(e) => self.set(&e.request_id, RequestState::Failed),
            Event::VoidRequested(e) => {
                self.given_up = true;
                self.open(e.request_id, RequestKind::Void, self.held(), e.at);
            }
            Event::PaymentVoided(e) => self.voided(e),
            Event::VoidFailed(e) => self.set(&e.request_id, RequestState::Failed),
            Event::RefundRequested(e) => {
                self.refund_pending.amount += e.amount.amount;
                self.open(e.request_id, RequestKind::Refund, e.amount, e.at);
            }
            Event::PaymentRefunded(e) => self.refunded(e),
            Event::RefundFailed(e) => {
                self.stop_refund(&e.request_id);
                self.set(&e.request_id, RequestState::Failed);
            }
            Event::PaymentExpired(e) => self.expire(e),
            Event::PaymentSucceededLate(e) => self.succeeded_late(e),
            Event::PaymentFellShort(e) => self.fell_short(e),
        }
    }

    fn growing_bytes(&self) -> usize {
        self.requests.len() * std::mem::size_of::<(RequestId, Request)>() * 2
    }

    fn partition_key(&self) -> Option<String> {
        self.order_id.map(|id| id.to_string())
    }
}
