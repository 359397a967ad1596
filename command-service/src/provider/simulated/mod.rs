//! A payment provider for trying things out: scripted behaviors, a ledger of its own, signed webhooks.
//!
//! The same engine and ledger run in three ways: within this process, as a process of its own (`server`, called through
//! `client`), and *instant* (nothing on disk, no delays, no webhooks) for benches.
//!
//! *Invariant:* nothing is answered before the records it stands on are synced, so that a `kill -9` of anybody leaves the
//! bank's word as it was given.

mod bank;
pub mod client;
mod engine;
mod judge;
pub mod ledger;
pub mod outbox;
pub mod page;
mod record;
pub mod script;
pub mod server;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use async_trait::async_trait;
use axum::http::HeaderMap;
use domain::Timestamp;
use domain::ids::PaymentId;
use service_kit::Clock;
use tokio::sync::{Notify, watch};

use self::bank::{Bank, Later};
use self::engine::{Engine, Reply, Rules};
use self::ledger::{Ledger, LedgerError, Mark};
use self::record::{Call, Record};
use super::config::{SimulatedConfig, WebhookSecrets};
use super::port::{
    Answer, Authorize, Capabilities, Capture, Lookup, PaymentProvider, ProviderError, ProviderEvent, Refund, Void,
    WebhookError,
};
use super::signature;
use super::statement::{Page, Statement};

/// How the provider calls itself.
pub const NAME: &str = "simulated";

/// How long an answer waits for its webhook to be taken first (`tok_webhook_first`): a receiver that is down must not
/// hold it for ever.
const WEBHOOK_FIRST_WAIT: Duration = Duration::from_secs(5);

/// The simulated provider. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Simulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Mutex<Engine>,
    ledger: Option<Ledger>,
    clock: Clock,
    secret: WebhookSecrets,
    withheld: Duration,
    auth_ttl: Duration,
    /// Wakes the outbox: something new is owed, or is due by itself later.
    owed: Notify,
    /// Counts the webhooks that are done with.
    paid: watch::Sender<u64>,
}

/// What happens to a payment from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The customer confirms.
    Approve,
    /// The customer gives up.
    Abandon,
    /// The customer confirms, or an expired authorization succeeds after all, and the money is taken at once.
    Charge,
    /// The hold runs out.
    Lapse,
}

/// Whether a payment waits for its customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Customer {
    /// It does: the customer approves or abandons it.
    Awaited,
    /// It did, or never needed to.
    Done,
}

impl Action {
    /// The action of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "approve" => Some(Self::Approve),
            "abandon" => Some(Self::Abandon),
            "charge" => Some(Self::Charge),
            "lapse" => Some(Self::Lapse),
            _ => None,
        }
    }
}

impl Simulator {
    /// A provider with its ledger on disk. `action_base` is where customers confirm, such as `http://127.0.0.1:7401`.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(
        ledger: &Path,
        config: &SimulatedConfig,
        secret: WebhookSecrets,
        action_base: &str,
        clock: Clock,
    ) -> Result<Self, LedgerError> {
        let mut bank = Bank::new(Duration::from_millis(config.delay_ms), false);
        let ledger = Ledger::open(ledger, |record| bank.apply(record))?;
        let base = action_base.trim_end_matches('/').to_owned();
        Ok(Self::build(bank, Some(ledger), config, secret, base, clock))
    }

    /// A provider that does everything at once and keeps nothing: for benches.
    pub fn instant(config: &SimulatedConfig, clock: Clock) -> Self {
        Self::build(Bank::new(Duration::ZERO, true), None, config, WebhookSecrets::random(), String::new(), clock)
    }

    fn build(
        bank: Bank,
        ledger: Option<Ledger>,
        config: &SimulatedConfig,
        secret: WebhookSecrets,
        action_base: String,
        clock: Clock,
    ) -> Self {
        let rules = Rules {
            instant: ledger.is_none(),
            webhook_delay: Duration::from_millis(config.webhook_delay_ms),
            delay: Duration::from_millis(config.delay_ms),
            auth_ttl: Duration::from_secs(config.auth_ttl_s),
            action_base,
        };
        let (withheld, auth_ttl) = (Duration::from_millis(config.withheld_ms), rules.auth_ttl);
        let engine = Mutex::new(Engine::new(bank, rules, config.seed));
        let (owed, paid) = (Notify::new(), watch::channel(0).0);
        Self { inner: Arc::new(Inner { engine, ledger, clock, secret, withheld, auth_ttl, owed, paid }) }
    }

    /// Carries out a call, once per key.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, ProviderError> {
        self.recovered().await?;
        let (mark, reply) = {
            let mut engine = self.engine();
            let (records, reply) = engine.call(&call, self.inner.clock.now());
            (self.push(&records), reply)
        };
        match mark {
            Some(_) => self.settle(mark).await?,
            // What was decided before may not be on the disk yet, if that call failed.
            None => self.durable().await?,
        }
        match reply {
            Reply::Answer(answer) => Ok(answer),
            Reply::AfterWebhook(answer, event_id) => {
                self.delivered(&event_id).await;
                Ok(answer)
            }
            Reply::Withheld => {
                self.inner.clock.sleep(self.inner.withheld).await;
                Err(ProviderError::Unknown { detail: "the answer was withheld".to_owned() })
            }
            Reply::Failed => Err(failed()),
            Reply::Refused(code, detail) => Err(ProviderError::Refused { code: code.to_owned(), detail }),
        }
    }

    /// Lets something happen from outside. Whether it fitted how the payment stands.
    ///
    /// # Errors
    /// [`ProviderError::Transient`] when the ledger cannot be written.
    pub async fn act(&self, payment: PaymentId, action: Action) -> Result<bool, ProviderError> {
        self.recovered().await?;
        let mark = {
            let later = match action {
                Action::Approve => Later::Approve,
                Action::Abandon => Later::Expire,
                Action::Charge => Later::Charge,
                Action::Lapse => Later::Lapse,
            };
            let mut engine = self.engine();
            let Some(records) = engine.act(payment, later, self.inner.clock.now()) else {
                return Ok(false);
            };
            self.push(&records)
        };
        self.settle(mark).await?;
        Ok(true)
    }

    /// Whether a payment waits for its customer; `None`: there is no such payment.
    pub fn customer(&self, payment: PaymentId) -> Option<Customer> {
        self.engine().customer(payment)
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        // Held for microseconds and never over an await; what a panic leaves is a fold of whole records.
        self.inner.engine.lock()
    }

    /// Queues the records for the ledger and wakes the outbox, which delivers nothing before it is on the disk. The caller holds
    /// the engine's lock, so that lines stand in the order of the decisions. The wake-up must not wait for the disk: the request
    /// that decided may be dropped by then, since its client has left, and what it owes would wait for the next request.
    fn push(&self, records: &[Record]) -> Option<Mark> {
        if records.is_empty() {
            return None;
        }
        let mark = self.inner.ledger.as_ref().map(|ledger| ledger.push(records));
        self.inner.owed.notify_one();
        mark
    }

    /// Waits until a line is on the disk.
    async fn settle(&self, mark: Option<Mark>) -> Result<(), ProviderError> {
        let (Some(ledger), Some(mark)) = (&self.inner.ledger, mark) else { return Ok(()) };
        ledger.synced(mark).await.map_err(unwritable)
    }

    /// Whether the ledger has all that was decided; nothing more may be decided otherwise.
    async fn recovered(&self) -> Result<(), ProviderError> {
        let Some(ledger) = &self.inner.ledger else { return Ok(()) };
        ledger.recovered().await.map_err(unwritable)
    }

    /// Waits until all that was decided so far is on the disk: another's call may still be writing what this one read.
    async fn durable(&self) -> Result<(), ProviderError> {
        let Some(ledger) = &self.inner.ledger else { return Ok(()) };
        ledger.synced(ledger.last()).await.map_err(unwritable)
    }

    /// Waits until a webhook has been accepted or given up, within bounds.
    async fn delivered(&self, event_id: &str) {
        let mut paid = self.inner.paid.subscribe();
        let accepted = paid.wait_for(|_| !self.engine().owes(event_id));
        tokio::select! {
            _ = accepted => {}
            () = self.inner.clock.sleep(WEBHOOK_FIRST_WAIT) => {}
        }
    }
}

fn unwritable(error: LedgerError) -> ProviderError {
    tracing::error!(%error, "the simulated provider's ledger cannot be written");
    ProviderError::Transient { detail: error.to_string(), retry_after: None }
}

fn failed() -> ProviderError {
    ProviderError::Transient { detail: "500, as the script says".to_owned(), retry_after: None }
}

/// Believes and reads a webhook of the simulated provider.
pub(super) fn read_webhook(
    secret: &WebhookSecrets,
    body: &[u8],
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Vec<ProviderEvent>, WebhookError> {
    signature::verify(secret, headers, body, now)?;
    let event = serde_json::from_slice(body).map_err(|error| WebhookError::Malformed(error.to_string()))?;
    Ok(vec![event])
}

#[async_trait]
impl PaymentProvider for Simulator {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(self.inner.auth_ttl)
    }

    async fn authorize(&self, request: &Authorize) -> Result<Answer, ProviderError> {
        self.call(Call::Authorize(request.clone())).await
    }

    async fn capture(&self, request: &Capture) -> Result<Answer, ProviderError> {
        self.call(Call::Capture(request.clone())).await
    }

    async fn void(&self, request: &Void) -> Result<Answer, ProviderError> {
        self.call(Call::Void(request.clone())).await
    }

    async fn refund(&self, request: &Refund) -> Result<Answer, ProviderError> {
        self.call(Call::Refund(request.clone())).await
    }

    async fn fetch(&self, lookup: &Lookup) -> Result<Option<Answer>, ProviderError> {
        let found = self.engine().fetch(lookup);
        self.durable().await?;
        found.map_err(|_| failed())
    }

    fn verify_webhook(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError> {
        read_webhook(&self.inner.secret, body, headers, now)
    }

    async fn statement(&self, page: &Page) -> Result<Statement, ProviderError> {
        let statement = self.engine().statement(page);
        self.durable().await?;
        Ok(statement)
    }
}

/// One capture a hold, in full or less; refunds in parts.
fn capabilities(auth_ttl: Duration) -> Capabilities {
    Capabilities { partial_capture: true, multi_capture: false, partial_refund: true, auth_ttl_s: auth_ttl.as_secs() }
}
