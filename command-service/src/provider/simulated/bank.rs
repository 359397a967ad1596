//! The simulated provider's books: a fold of its records, and nothing else. Judging is `engine.rs`'s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use domain::Timestamp;
use domain::ids::{OrderId, PaymentId, RequestId};
use domain::money::Currency;
use domain::payment::ProviderResult;

use super::record::{Call, Fingerprint, Kind, Record};
use super::script::Behaviour;
use crate::provider::port::{ProviderEvent, RequestKey};
use crate::provider::statement::{Entry, EntryState, Page, Statement, Totals};

/// Payments remembered where nothing is kept on disk (benches): some 100 MB at most, and two minutes at 1 000 orders a
/// second, so that no payment is forgotten before its capture.
const REMEMBERED_MAX: usize = 131_072;

/// Payments after which an operator is told what they take: where a ledger is kept, none is ever forgotten, since refunds may
/// come at any time and the account must be whole. At about 1 kB each that is 250 MB more every time.
const MANY: u64 = 250_000;

/// One request, as it was taken.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub id: RequestId,
    pub fingerprint: Fingerprint,
    pub kind: Kind,
    /// Minor units that it is about.
    pub asked: i64,
    /// What became of it last; `None` while the provider is at it.
    pub result: Option<ProviderResult>,
    pub effects: u32,
}

/// One payment.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub order_id: OrderId,
    pub currency: Option<Currency>,
    pub behaviour: Behaviour,
    pub state: EntryState,
    pub authorized: i64,
    pub captured: i64,
    pub voided: i64,
    pub refunded: i64,
    pub capture_before: Option<Timestamp>,
    pub requests: Vec<Request>,
}

impl Account {
    fn new(order_id: OrderId) -> Self {
        Self {
            order_id,
            currency: None,
            behaviour: Behaviour::Approve,
            state: EntryState::Pending,
            authorized: 0,
            captured: 0,
            voided: 0,
            refunded: 0,
            capture_before: None,
            requests: Vec::new(),
        }
    }

    pub(super) fn request(&self, id: RequestId) -> Option<&Request> {
        self.requests.iter().find(|request| request.id == id)
    }

    /// Whether a refund that is asked for now is taken and fails later.
    pub(super) fn refund_fails(&self) -> bool {
        let failed = |request: &Request| matches!(request.result, Some(ProviderResult::RefundFailed { .. }));
        self.behaviour == Behaviour::RefundFails
            || (self.behaviour == Behaviour::RefundFailsOnce && !self.requests.iter().any(failed))
    }

    /// Minor units held and neither taken nor let go.
    pub(super) fn held(&self) -> i64 {
        self.authorized - self.captured - self.voided
    }

    /// Minor units of refunds under way.
    pub(super) fn refunds_pending(&self) -> i64 {
        let pending = |request: &&Request| request.kind == Kind::Refund && request.result.is_none();
        self.requests.iter().filter(pending).map(|request| request.asked).sum()
    }
}

/// What a payment does by itself after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Later {
    /// The customer confirms.
    Approve,
    /// The customer gives up.
    Expire,
    /// The expired authorization succeeds after all.
    SucceedLate,
    /// It succeeds, waiting or expired, and the money is taken at once.
    Charge,
    /// The hold runs out.
    Lapse,
    /// The refund under way fails.
    FailRefund,
}

/// A webhook that is owed.
#[derive(Debug, Clone)]
pub(super) struct Webhook {
    pub event: ProviderEvent,
    pub copies: u32,
    pub attempts: u32,
}

/// What is known of an order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OrderFacts {
    pub authorizations: usize,
    pub failed_captures: u32,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Bank {
    /// How long customers and refunds take.
    pub delay: Duration,
    /// Nothing takes time, nothing is kept on disk, and the oldest payments are forgotten.
    pub instant: bool,
    pub accounts: BTreeMap<PaymentId, Account>,
    arrivals: VecDeque<PaymentId>,
    pub orders: HashMap<OrderId, OrderFacts>,
    /// What is due when; the number keeps two of one moment apart.
    pub agenda: BTreeMap<(Timestamp, u64), (RequestKey, Later)>,
    pub outbox: BTreeMap<(Timestamp, u64), Webhook>,
    sequence: u64,
    totals: BTreeMap<Currency, Totals>,
    payments: u64,
    effects: u64,
    max_effects_per_key: u32,
    pub key_conflicts: u64,
    pub webhooks_delivered: u64,
}

impl Bank {
    pub(super) fn new(delay: Duration, instant: bool) -> Self {
        Self { delay, instant, ..Self::default() }
    }

    /// Folds a record. What is written down is true: this judges nothing.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Opened { .. } => {}
            Record::Taken { call, token, at } => self.taken(call, token.as_deref(), *at),
            Record::Became { key, result, at } => self.became(*key, result, *at),
            Record::Owed { event, copies, due } => {
                self.owe(Webhook { event: event.clone(), copies: *copies, attempts: 0 }, *due);
            }
            Record::Paid { event_id, .. } => self.outbox.retain(|_, webhook| webhook.event.event_id != *event_id),
        }
    }

    /// Puts a webhook into the outbox, new or to be tried again.
    pub(super) fn owe(&mut self, webhook: Webhook, due: Timestamp) {
        self.sequence += 1;
        self.outbox.insert((due, self.sequence), webhook);
    }

    fn plan(&mut self, at: Timestamp, key: RequestKey, later: Later) {
        self.sequence += 1;
        self.agenda.insert((at + self.delay, self.sequence), (key, later));
    }

    fn taken(&mut self, call: &Call, token: Option<&str>, at: Timestamp) {
        let key = call.key();
        if !self.accounts.contains_key(&key.payment_id) {
            self.payments += 1;
            if self.instant {
                self.arrivals.push_back(key.payment_id);
                self.forget();
            } else if self.payments.is_multiple_of(MANY) {
                let (payments, mb) = (self.payments, self.payments / 1_000);
                tracing::warn!(
                    payments,
                    mb,
                    "the simulated provider keeps every payment in memory; it is meant for trials"
                );
            }
        }
        let account = self.accounts.entry(key.payment_id).or_insert_with(|| Account::new(call.order_id()));
        if let (Call::Authorize(_), Some(token)) = (call, token) {
            // Ledgers up to 0.2.0 have tokens of every name, which were approved.
            account.behaviour = Behaviour::of(token).unwrap_or(Behaviour::Approve);
        }
        account.currency = account.currency.or(call.amount().map(|amount| amount.currency));
        let (kind, fingerprint) = (call.kind(), call.fingerprint());
        let asked = call.amount().map_or(0, |amount| amount.amount);
        account.requests.push(Request { id: key.request_id, fingerprint, kind, asked, result: None, effects: 0 });
        let fails = kind == Kind::Refund && account.refund_fails();
        if kind == Kind::Authorize {
            self.orders.entry(call.order_id()).or_default().authorizations += 1;
        }
        if fails && !self.instant {
            self.plan(at, key, Later::FailRefund);
        }
    }

    /// Called only where nothing is kept on disk: a bench must not grow without bound.
    fn forget(&mut self) {
        while self.arrivals.len() > REMEMBERED_MAX {
            let Some(oldest) = self.arrivals.pop_front() else { return };
            if let Some(account) = self.accounts.remove(&oldest) {
                self.orders.remove(&account.order_id);
            }
        }
    }

    fn became(&mut self, key: RequestKey, result: &ProviderResult, at: Timestamp) {
        let Some(account) = self.accounts.get_mut(&key.payment_id) else { return };
        let totals = self.totals.entry(account.currency.unwrap_or_default()).or_default();
        let held = account.held();
        let mut moved = false;
        match result {
            ProviderResult::ActionRequired { .. } => account.state = EntryState::ActionRequired,
            ProviderResult::Authorized { amount, capture_before } => {
                account.state = EntryState::Authorized;
                account.authorized += amount.amount;
                totals.authorized += amount.amount;
                account.capture_before = Some(*capture_before);
                moved = true;
            }
            ProviderResult::Declined { .. } => account.state = EntryState::Declined,
            ProviderResult::Expired => {
                account.state = EntryState::Expired;
                account.voided += held;
                totals.voided += held;
            }
            ProviderResult::Captured { amount } => {
                account.state = EntryState::Captured;
                // What is taken at once was held, too.
                let at_once = (amount.amount - held).max(0);
                account.authorized += at_once;
                totals.authorized += at_once;
                account.captured += amount.amount;
                totals.captured += amount.amount;
                // One capture a hold: what it leaves over is let go.
                let left = (held - amount.amount).max(0);
                account.voided += left;
                totals.voided += left;
                moved = true;
            }
            ProviderResult::CaptureFailed { .. } => {
                self.orders.entry(account.order_id).or_default().failed_captures += 1;
            }
            ProviderResult::Voided => {
                account.state = EntryState::Voided;
                account.voided += held;
                totals.voided += held;
                moved = held > 0;
            }
            ProviderResult::VoidFailed { .. } | ProviderResult::RefundFailed { .. } => {}
            ProviderResult::Refunded { amount } => {
                account.refunded += amount.amount;
                totals.refunded += amount.amount;
                if account.refunded == account.captured {
                    account.state = EntryState::Refunded;
                }
                moved = true;
            }
        }
        let behaviour = account.behaviour.clone();
        if let Some(request) = account.requests.iter_mut().find(|request| request.id == key.request_id) {
            request.result = Some(result.clone());
            if moved {
                request.effects += 1;
                self.effects += 1;
                self.max_effects_per_key = self.max_effects_per_key.max(request.effects);
            }
        }
        self.plan_after(key, result, &behaviour, at);
    }

    /// What the script does next by itself; planned by the fold, so that a restart plans it again.
    fn plan_after(&mut self, key: RequestKey, result: &ProviderResult, behaviour: &Behaviour, at: Timestamp) {
        let waits = matches!(result, ProviderResult::ActionRequired { .. });
        match behaviour {
            Behaviour::ThreeDsApprove { manual: false } | Behaviour::ReorderedWebhooks if waits => {
                self.plan(at, key, Later::Approve);
            }
            Behaviour::ThreeDsAbandon { never: false } | Behaviour::LateSuccess if waits => {
                self.plan(at, key, Later::Expire);
            }
            Behaviour::LateSuccess if *result == ProviderResult::Expired => self.plan(at, key, Later::SucceedLate),
            Behaviour::Approve
            | Behaviour::Decline { .. }
            | Behaviour::ThreeDsApprove { .. }
            | Behaviour::ThreeDsAbandon { .. }
            | Behaviour::TimeoutCharged { .. }
            | Behaviour::TimeoutNotCharged
            | Behaviour::Errors { .. }
            | Behaviour::WebhookFirst
            | Behaviour::DuplicateWebhooks { .. }
            | Behaviour::ReorderedWebhooks
            | Behaviour::LostWebhook
            | Behaviour::LateSuccess
            | Behaviour::CaptureFails
            | Behaviour::CaptureFailsOnce
            | Behaviour::CaptureShort
            | Behaviour::CaptureTimeout
            | Behaviour::RefundFails
            | Behaviour::RefundFailsOnce => {}
        }
    }

    /// The books as others may read them.
    pub(super) fn statement(&self, page: &Page) -> Statement {
        let after = page.after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut rest = self.accounts.range((after, std::ops::Bound::Unbounded));
        let entries = rest.by_ref().take(page.size()).map(|(id, account)| entry(*id, account)).collect();
        Statement {
            totals: self.totals.iter().map(|(currency, totals)| (currency.to_string(), *totals)).collect(),
            payments: self.payments,
            effects: self.effects,
            max_effects_per_key: self.max_effects_per_key,
            key_conflicts: self.key_conflicts,
            webhooks_owed: self.outbox.len() as u64,
            webhooks_delivered: self.webhooks_delivered,
            entries,
            has_more: rest.next().is_some(),
        }
    }
}

fn entry(payment_id: PaymentId, account: &Account) -> Entry {
    let key = |request: &Request| RequestKey { payment_id, request_id: request.id }.to_string();
    Entry {
        payment_id,
        order_id: account.order_id,
        state: account.state,
        currency: account.currency,
        authorized: account.authorized,
        captured: account.captured,
        voided: account.voided,
        refunded: account.refunded,
        effects: account.requests.iter().map(|request| (key(request), request.effects)).collect(),
    }
}
