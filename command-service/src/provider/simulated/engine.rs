//! The simulated provider's rules: what to answer to a call and what to write down. Pure but for its own seeded
//! numbers; the caller writes the records before the answer leaves.
//!
//! *Invariant:* one key, one body, one effect. *Invariant:* captured + voided ≤ authorized, one capture a hold,
//! refunded ≤ captured. *Invariant:* a payment that was voided before it came is refused when it comes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::Timestamp;
use domain::ids::{PaymentId, derive};
use domain::money::Money;
use domain::payment::ProviderResult;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Customer;
use super::bank::{Account, Bank, Later, Webhook};
use super::judge;
use super::record::{Call, Kind, Record, key_of, provider_ref};
use super::script::{Behaviour, token};
use crate::provider::port::{Answer, Authorize, Lookup, ProviderEvent, RequestKey};
use crate::provider::statement::{EntryState, Page, Statement};

/// Keys whose failing first calls are counted. Only scripts that fail on purpose come in here; beyond that the counts
/// begin anew, which makes such a script fail a few times more.
const CONTACTS_MAX: usize = 65_536;

/// How the provider takes its time.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Nothing takes time and there are no webhooks.
    pub instant: bool,
    /// How long until a webhook is sent, at least; up to twice of it by chance.
    pub webhook_delay: Duration,
    /// How long customers, refunds and lateness take.
    pub delay: Duration,
    /// How long a hold lasts.
    pub auth_ttl: Duration,
    /// Where customers confirm, without a slash at its end.
    pub action_base: String,
}

/// What leaves when the records are durable.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// This.
    Answer(Answer),
    /// This, when the webhook was delivered.
    AfterWebhook(Answer, String),
    /// Nothing, for longer than anybody waits.
    Withheld,
    /// 500: again later.
    Failed,
    /// A fault of the caller.
    Refused(&'static str, String),
}

/// The provider's mind.
#[derive(Debug)]
pub(super) struct Engine {
    pub bank: Bank,
    rules: Rules,
    contacts: HashMap<RequestKey, u32>,
    /// Ids of webhooks under way; bounded by the sender's places.
    sending: HashSet<String>,
    rng: StdRng,
}

impl Engine {
    pub(super) fn new(bank: Bank, rules: Rules, seed: u64) -> Self {
        Self { bank, rules, contacts: HashMap::new(), sending: HashSet::new(), rng: StdRng::seed_from_u64(seed) }
    }

    /// Decides on a call and folds what it decides; the records are to be written before the reply leaves.
    pub(super) fn call(&mut self, call: &Call, now: Timestamp) -> (Vec<Record>, Reply) {
        let key = call.key();
        let known = self.bank.accounts.get(&key.payment_id);
        if let Some(request) = known.and_then(|account| account.request(key.request_id)) {
            if request.fingerprint != call.fingerprint() {
                self.bank.key_conflicts += 1;
                let detail = format!("the key {key} was used before with another body");
                return (vec![], Reply::Refused("idempotency_key_reused", detail));
            }
            let answer = Answer { provider_ref: provider_ref(key), result: request.result.clone() };
            return if self.is_down(key) { (vec![], Reply::Failed) } else { (vec![], Reply::Answer(answer)) };
        }
        let mut records = Vec::new();
        let reply = match call {
            Call::Authorize(authorize) => self.authorize(authorize, now, &mut records),
            Call::Capture(_) | Call::Void(_) | Call::Refund(_) => self.follow(call, now, &mut records),
        };
        (records, reply)
    }

    /// What is known of a request. `Err`: the script says that not even this works now.
    pub(super) fn fetch(&mut self, lookup: &Lookup) -> Result<Option<Answer>, Reply> {
        let key = match lookup {
            Lookup::Key(key) => Some(*key),
            Lookup::ProviderRef(text) => key_of(text),
        };
        let Some(key) = key else { return Ok(None) };
        let known = self.bank.accounts.get(&key.payment_id).and_then(|account| account.request(key.request_id));
        let answer = known.map(|request| Answer { provider_ref: provider_ref(key), result: request.result.clone() });
        if answer.is_some() && self.is_down(key) { Err(Reply::Failed) } else { Ok(answer) }
    }

    /// Whether a payment waits for its customer; `None`: there is no such payment.
    pub(super) fn customer(&self, payment: PaymentId) -> Option<Customer> {
        let account = self.bank.accounts.get(&payment)?;
        Some(if account.state == EntryState::ActionRequired { Customer::Awaited } else { Customer::Done })
    }

    /// Somebody outside acts. `None`: it does not fit how the payment stands.
    pub(super) fn act(&mut self, payment: PaymentId, later: Later, now: Timestamp) -> Option<Vec<Record>> {
        let account = self.bank.accounts.get(&payment)?;
        let request = account.requests.iter().find(|request| request.kind == Kind::Authorize)?;
        let key = RequestKey { payment_id: payment, request_id: request.id };
        let records = self.happen(key, later, now);
        (!records.is_empty()).then_some(records)
    }

    /// What has become due by itself, folded; to be written.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(first) = self.bank.agenda.first_entry() {
            if first.key().0 > now {
                break;
            }
            let (key, later) = first.remove();
            records.extend(self.happen(key, later, now));
        }
        records
    }

    /// The next webhook that is due, out of the outbox: the caller delivers it, then `sent` or `owe_again`.
    pub(super) fn next_webhook(&mut self, now: Timestamp) -> Option<Webhook> {
        let first = self.bank.outbox.first_entry()?;
        let webhook = (first.key().0 <= now).then(|| first.remove())?;
        self.sending.insert(webhook.event.event_id.clone());
        Some(webhook)
    }

    /// A webhook of `next_webhook` failed and is owed again.
    pub(super) fn owe_again(&mut self, webhook: Webhook, due: Timestamp) {
        self.sending.remove(&webhook.event.event_id);
        self.bank.owe(webhook, due);
    }

    /// A webhook of `next_webhook` is done with: so many deliveries were accepted.
    pub(super) fn sent(&mut self, event_id: &str, accepted: u32) {
        self.sending.remove(event_id);
        self.bank.webhooks_delivered += u64::from(accepted);
    }

    pub(super) fn statement(&self, page: &Page) -> Statement {
        let mut statement = self.bank.statement(page);
        statement.webhooks_owed += self.sending.len() as u64;
        statement
    }

    /// Whether a webhook is still to be delivered.
    pub(super) fn owes(&self, event_id: &str) -> bool {
        self.sending.contains(event_id) || self.bank.outbox.values().any(|webhook| webhook.event.event_id == event_id)
    }

    /// When something is due next, of webhooks and of what happens by itself.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let due = |first: Option<&(Timestamp, u64)>| first.map(|key| key.0);
        let (webhook, later) = (due(self.bank.outbox.keys().next()), due(self.bank.agenda.keys().next()));
        webhook.into_iter().chain(later).min()
    }

    /// A number from 0 to 1, from the seed.
    pub(super) fn chance(&mut self) -> f64 {
        self.rng.random()
    }

    fn authorize(&mut self, call: &Authorize, now: Timestamp, records: &mut Vec<Record>) -> Reply {
        let key = call.key;
        let nth = self.bank.orders.get(&call.order_id).map_or(0, |order| order.authorizations);
        let token = token(&call.payment_method, &call.tags, nth).to_owned();
        let known = Behaviour::of(&token);
        let unknown = known.is_none().then_some("unknown_token");
        let scripted = known.unwrap_or(Behaviour::Approve);
        let behaviour = if self.rules.instant { scripted.at_once() } else { scripted };
        if let Some(reply) = self.fails_first(key, &behaviour) {
            return reply;
        }
        let refusal = judge::authorization(&self.bank, call).or(unknown);
        self.take(&Call::Authorize(call.clone()), Some(token), now, records);
        let action_required = || {
            let action_url = format!("{}/actions/{}", self.rules.action_base, key.payment_id);
            ProviderResult::ActionRequired { action_url }
        };
        let authorized =
            || ProviderResult::Authorized { amount: call.amount, capture_before: now + self.rules.auth_ttl };
        let result = match (&refusal, &behaviour) {
            (Some(code), _) => ProviderResult::Declined { code: (*code).to_owned() },
            (None, Behaviour::Decline { code }) => ProviderResult::Declined { code: code.clone() },
            (None, Behaviour::ThreeDsAbandon { .. }) if self.rules.instant => ProviderResult::Expired,
            (
                None,
                Behaviour::ThreeDsApprove { .. }
                | Behaviour::ThreeDsAbandon { .. }
                | Behaviour::ReorderedWebhooks
                | Behaviour::LateSuccess,
            ) => action_required(),
            (
                None,
                Behaviour::Approve
                | Behaviour::TimeoutCharged { .. }
                | Behaviour::TimeoutNotCharged
                | Behaviour::Errors { .. }
                | Behaviour::WebhookFirst
                | Behaviour::DuplicateWebhooks { .. }
                | Behaviour::LostWebhook
                | Behaviour::CaptureFails
                | Behaviour::CaptureFailsOnce
                | Behaviour::CaptureShort
                | Behaviour::CaptureTimeout
                | Behaviour::RefundFails
                | Behaviour::RefundFailsOnce,
            ) => authorized(),
        };
        let event_id = self.became(key, result.clone(), now, records);
        let answer = Answer { provider_ref: provider_ref(key), result: Some(result) };
        if refusal.is_some() {
            Reply::Answer(answer)
        } else if matches!(behaviour, Behaviour::TimeoutCharged { .. }) {
            self.contact(key);
            Reply::Withheld
        } else if behaviour == Behaviour::LostWebhook {
            Reply::Answer(Answer { result: None, ..answer })
        } else if behaviour == Behaviour::WebhookFirst {
            Reply::AfterWebhook(answer, event_id)
        } else {
            Reply::Answer(answer)
        }
    }

    /// Scripts that fail before anything is done.
    fn fails_first(&mut self, key: RequestKey, behaviour: &Behaviour) -> Option<Reply> {
        if *behaviour == Behaviour::TimeoutNotCharged {
            return (self.contact(key) == 1).then_some(Reply::Withheld);
        }
        if let Behaviour::Errors { times } = *behaviour {
            return (self.contact(key) <= times).then_some(Reply::Failed);
        }
        None
    }

    /// Captures, voids and refunds.
    fn follow(&mut self, call: &Call, now: Timestamp, records: &mut Vec<Record>) -> Reply {
        let key = call.key();
        self.lapse(key.payment_id, now, records);
        let result = match call {
            Call::Authorize(_) => None, // Has its own way, see `call`.
            Call::Capture(capture) => Some(judge::capture(&self.bank, key.payment_id, capture.amount)),
            Call::Void(_) => Some(self.void(key.payment_id)),
            Call::Refund(refund) => judge::refund(&self.bank, key.payment_id, refund.amount),
        };
        self.take(call, None, now, records);
        if let Some(result) = result.clone() {
            self.became(key, result, now, records);
        }
        let captured = matches!(result, Some(ProviderResult::Captured { .. }));
        if captured && self.behaves(key.payment_id, &Behaviour::CaptureTimeout) && !self.rules.instant {
            return Reply::Withheld;
        }
        Reply::Answer(Answer { provider_ref: provider_ref(key), result })
    }

    /// An authorization that still waits for its customer is over with it: what it waits in is no longer its state.
    fn void(&self, payment: PaymentId) -> ProviderResult {
        let captured = self.bank.accounts.get(&payment).is_some_and(|account| account.captured > 0);
        if captured {
            ProviderResult::VoidFailed { code: "already_captured".to_owned() }
        } else {
            ProviderResult::Voided
        }
    }

    /// A hold that has run out is let go, as soon as anybody asks for it.
    fn lapse(&mut self, payment: PaymentId, now: Timestamp, records: &mut Vec<Record>) {
        let Some(account) = self.bank.accounts.get(&payment) else { return };
        let over = account.state == EntryState::Authorized && account.capture_before.is_some_and(|end| now >= end);
        let request = account.requests.iter().find(|request| request.kind == Kind::Authorize).filter(|_| over);
        if let Some(request_id) = request.map(|request| request.id) {
            let key = RequestKey { payment_id: payment, request_id };
            self.became(key, ProviderResult::Expired, now, records);
        }
    }

    /// What a payment does by itself, if it still can.
    fn happen(&mut self, key: RequestKey, later: Later, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(account) = self.bank.accounts.get(&key.payment_id) else { return records };
        let Some(request) = account.request(key.request_id) else { return records };
        let waits = account.state == EntryState::ActionRequired;
        let over = account.state == EntryState::Expired && account.authorized == 0;
        let amount = self.amount_of(account, key);
        let authorized = ProviderResult::Authorized { amount, capture_before: now + self.rules.auth_ttl };
        let result = match later {
            Later::Approve if waits => Some(authorized),
            Later::Expire if waits => Some(ProviderResult::Expired),
            Later::SucceedLate if over => Some(authorized),
            Later::Charge if waits || over => Some(ProviderResult::Captured { amount }),
            Later::Lapse if account.state == EntryState::Authorized => Some(ProviderResult::Expired),
            Later::FailRefund if request.result.is_none() => {
                Some(ProviderResult::RefundFailed { code: "refund_rejected".to_owned() })
            }
            Later::Approve | Later::Expire | Later::SucceedLate | Later::Charge | Later::Lapse | Later::FailRefund => {
                None
            }
        };
        if let Some(result) = result {
            self.became(key, result, now, &mut records);
        }
        records
    }

    fn behaves(&self, payment: PaymentId, behaviour: &Behaviour) -> bool {
        self.bank.accounts.get(&payment).is_some_and(|account| account.behaviour == *behaviour)
    }

    fn amount_of(&self, account: &Account, key: RequestKey) -> Money {
        let asked = account.request(key.request_id).map_or(0, |request| request.asked);
        Money::new(asked, account.currency.unwrap_or_default())
    }

    fn take(&mut self, call: &Call, token: Option<String>, now: Timestamp, records: &mut Vec<Record>) {
        self.write(Record::Taken { call: call.clone(), token, at: now }, records);
    }

    /// Writes what became of a request, and the webhook that it owes. Returns the webhook's event id.
    fn became(&mut self, key: RequestKey, result: ProviderResult, now: Timestamp, records: &mut Vec<Record>) -> String {
        self.write(Record::Became { key, result: result.clone(), at: now }, records);
        let said = serde_json::to_string(&result).unwrap_or_default();
        let event_id = format!("evt_{}", derive(&["provider-event", &key.to_string(), &said]).simple());
        let Some(account) = self.bank.accounts.get(&key.payment_id).filter(|_| !self.rules.instant) else {
            return event_id;
        };
        let (copies, order_id) = (account.behaviour.copies(), account.order_id);
        let delay = webhook_delay(&self.rules, &account.behaviour, &result, self.rng.random());
        if let Some(delay) = delay {
            let event = ProviderEvent {
                event_id: event_id.clone(),
                key,
                order_id,
                provider_ref: provider_ref(key),
                result,
                at: now,
            };
            self.write(Record::Owed { event, copies, due: now + delay }, records);
        }
        event_id
    }

    fn write(&mut self, record: Record, records: &mut Vec<Record>) {
        self.bank.apply(&record);
        records.push(record);
    }

    /// Counts a call or question about a key whose script fails; from 1.
    fn contact(&mut self, key: RequestKey) -> u32 {
        if self.contacts.len() >= CONTACTS_MAX {
            self.contacts.clear();
        }
        let count = self.contacts.entry(key).or_default();
        *count += 1;
        *count
    }

    /// Whether the script says that the provider cannot be asked about this key now.
    fn is_down(&mut self, key: RequestKey) -> bool {
        let down = self.bank.accounts.get(&key.payment_id).and_then(|account| {
            if let Behaviour::TimeoutCharged { down } = account.behaviour { Some(down) } else { None }
        });
        // The first contact was the call that was not answered.
        down.is_some_and(|down| down > 0 && !self.rules.instant && self.contact(key) <= down + 1)
    }
}

/// After how long the webhook is sent; `None`: never. `chance` is from 0 to 1.
fn webhook_delay(rules: &Rules, behaviour: &Behaviour, result: &ProviderResult, chance: f64) -> Option<Duration> {
    let authorized = matches!(result, ProviderResult::Authorized { .. });
    let captured = matches!(result, ProviderResult::Captured { .. });
    let silent = matches!(behaviour, Behaviour::TimeoutCharged { .. } | Behaviour::LostWebhook);
    let waits = matches!(result, ProviderResult::ActionRequired { .. });
    if (authorized && silent) || (captured && *behaviour == Behaviour::CaptureTimeout) {
        None // These scripts never tell of it by themselves.
    } else if authorized && *behaviour == Behaviour::WebhookFirst {
        Some(Duration::ZERO)
    } else if waits && *behaviour == Behaviour::ReorderedWebhooks {
        // The older news comes after the newer, which becomes due after one delay and at most two webhook delays.
        Some(rules.delay * 2 + rules.webhook_delay * 4)
    } else {
        Some(rules.webhook_delay.mul_f64(1.0 + chance))
    }
}
