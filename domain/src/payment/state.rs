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

/// The status of a payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was requested yet.
    #[default]
    None,
    /// The authorization was requested and has no outcome yet.
    Requested,
    /// The customer must confirm the payment first.
    ActionRequired,
    /// The money is authorized.
    Authorized,
    /// The money was captured.
    Captured,
    /// No money is held, because the payment was given up.
    Voided,
    /// No money is held, because time ran out.
    Expired,
    /// No money is held, because the provider declined.
    Declined,
    /// Everything that was captured was refunded.
    Refunded,
    /// A request succeeded after the payment's end, or after a void or a refund was requested: the money must go back.
    SucceededLate,
}

/// The kind of a request to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// To authorize: to hold money.
    Authorization,
    /// To capture: to take authorized money.
    Capture,
    /// To void: to let authorized money go.
    Void,
    /// To refund: to give captured money back.
    Refund,
}

/// The state of a request to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// The provider, or the customer, has not answered yet.
    Open,
    /// The request has been open for too long; its outcome is unknown.
    Unknown,
    /// The provider has done what was requested.
    Succeeded,
    /// The provider refused the request.
    Failed,
    /// The subject of the request ended in another way; the provider never reported its own outcome.
    Closed,
    /// The provider, asked again, has done only a part of the request: a person must act.
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

/// A request to the provider, as the payment's state keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The kind of the request, such as a capture.
    pub kind: RequestKind,
    /// Amount of the request. For a void it is the amount known to be authorized, 0 while that is open.
    pub amount: Money,
    /// Amount that the provider has done of it so far: at most `amount`.
    pub done: Money,
    /// Whether the request is open, and how it ended.
    pub state: RequestState,
    /// When the request was made.
    pub opened_at: Timestamp,
}

/// A request without an outcome, as the driver that sends requests to the provider needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRequest {
    /// Id of the request; the provider's idempotency key is `{payment_id}:{request_id}`.
    pub request_id: RequestId,
    /// The kind of the request, such as a capture.
    pub kind: RequestKind,
    /// Amount of the request; 0 for a void while the authorization is open.
    pub amount: Money,
    /// Whether the outcome was marked as unknown.
    pub unknown: bool,
    /// Whether the customer must confirm first: only time or a webhook ends that.
    pub awaits_customer: bool,
    /// Whether the provider has done a part of it: the request is then only fetched, never sent again.
    pub partly_done: bool,
    /// When the request was made.
    pub opened_at: Timestamp,
}

/// The state of a payment, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// Id of this payment; the nil UUID before an authorization was requested.
    pub payment_id: PaymentId,
    /// The order that the payment is for; `None` before the first event.
    pub order_id: Option<OrderId>,
    /// How far the payment has come.
    pub status: Status,
    /// Amount that was requested for authorization.
    pub amount: Money,
    /// Amount authorized at the provider, over all time.
    pub authorized: Money,
    /// Amount captured so far.
    pub captured: Money,
    /// Part of the authorized amount that was voided.
    pub voided: Money,
    /// Part of the captured amount that was refunded.
    pub refunded: Money,
    /// Part of the captured amount that is being refunded.
    pub refund_pending: Money,
    /// The card's token at the provider.
    pub payment_method: String,
    /// Number of the order's authorization, from 0.
    pub attempt_group: u32,
    /// The order's labels, passed on to the provider.
    pub tags: Vec<String>,
    /// UTC date of the order; `None` before an authorization was requested.
    pub placed_on: Option<NaiveDate>,
    /// The provider's own id of the authorization.
    pub provider_ref: Option<String>,
    /// When the authorization lapses, if it is not captured before.
    pub capture_before: Option<Timestamp>,
    /// URL of the page on which the customer confirms.
    pub action_url: Option<String>,
    /// All requests made of the provider.
    pub requests: BTreeMap<RequestId, Request>,
    /// Whether a void was requested and no capture since: money that is captured now goes back, whatever became of the
    /// void.
    pub given_up: bool,
}

impl Payment {
    /// The requests that have no outcome yet, the oldest first.
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

    /// Whether the outcome of a request is marked as unknown.
    pub fn has_unknown(&self) -> bool {
        self.requests.values().any(|request| request.state == RequestState::Unknown)
    }

    /// Amount authorized at the provider and neither captured nor voided, as far as is known.
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

    /// Amount that was captured and is neither refunded nor being refunded.
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

    /// Books an amount that the provider did of a request. The request has succeeded when nothing is missing; until
    /// then a request whose outcome was unknown is open again.
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

    /// Closes the open requests of a kind, because their subject has ended.
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

    /// What captured at once was also authorized: captured + voided stays within authorized.
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

    /// An authorization whose outcome is unknown stays open when we give up waiting: only the provider closes that.
    fn expire(&mut self, e: &PaymentExpired) {
        if self.is_live() {
            self.status = Status::Expired;
        }
        self.action_url = None;
        self.close(RequestKind::Void); // Nothing is authorized, which is what the void asked for.
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

    /// The missing part of an open refund is not pending any more; a refund that had failed was not pending.
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
                self.close(RequestKind::Void); // Nothing is authorized, which is what the void asked for.
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
