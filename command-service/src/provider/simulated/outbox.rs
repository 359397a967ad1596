//! Sends the webhooks that the simulated provider owes, and lets happen what is due by itself.
//!
//! A webhook stands in the ledger from the moment its cause does, until it was accepted or given up: it survives a
//! restart. Delivery is at least once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use service_kit::{Pauses, Tasks};

use super::bank::Webhook;
use super::record::Record;
use super::{Simulator, signature};

/// Webhooks under way at once: as many as the receiver's appends share one sync anyway.
const SENDING_MAX: usize = 32;

/// Deliveries of one webhook that are tried before it is given up: with the delays below some 25 minutes. Real
/// providers go on for days; a receiver that was away for longer asks with `fetch`.
const ATTEMPTS_MAX: u32 = 12;

/// The delays after failures.
const DELAYS: Pauses = Pauses::doubling(Duration::from_secs(1), Duration::from_secs(300));

/// How long to wait before a ledger that cannot be written is tried again: an operator frees space in seconds.
const UNWRITABLE_PAUSE: Duration = Duration::from_secs(1);

/// Takes a webhook to its receiver: headers and body. `Err` says what was seen, and it is sent again later.
pub type Deliver =
    Arc<dyn Fn(HeaderMap, Bytes) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync + 'static>;

impl Simulator {
    /// Starts the task that sends webhooks and lets customers act.
    pub fn start(&self, deliver: Deliver, tasks: &Tasks) {
        let (simulator, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("simulated-provider-outbox", async move {
            tokio::select! {
                () = stopping.cancelled() => {} // What is under way is still owed, and sent again after the start.
                () = simulator.run(deliver) => {}
            }
        });
    }

    async fn run(self, deliver: Deliver) {
        let mut sending = FuturesUnordered::new();
        loop {
            let writable = self.let_happen().await;
            while writable && sending.len() < SENDING_MAX {
                let now = self.inner.clock.now();
                let Some(webhook) = self.engine().next_webhook(now) else { break };
                sending.push(self.send(webhook, &deliver));
            }
            // With all places taken the next one due must wait for a place, not for its time.
            let next = match writable {
                true if sending.len() < SENDING_MAX => self.engine().next_due(),
                true => None,
                false => Some(self.inner.clock.now() + UNWRITABLE_PAUSE),
            };
            tokio::select! {
                Some(()) = sending.next(), if !sending.is_empty() => {}
                () = self.inner.owed.notified() => {}
                () = async {
                    match next {
                        Some(due) => self.inner.clock.sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    /// Whether the ledger took it. If not, nothing more happens until it does.
    pub(super) async fn let_happen(&self) -> bool {
        if self.recovered().await.is_err() {
            return false; // Logged there.
        }
        let mark = {
            let mut engine = self.engine();
            let records = engine.tick(self.inner.clock.now());
            self.push(&records)
        };
        self.settle(mark).await.is_ok()
    }

    /// Delivers a webhook as often as its script says; once all were accepted it is no longer owed.
    async fn send(&self, webhook: Webhook, deliver: &Deliver) {
        if let Err(error) = self.durable().await {
            return self.failed(webhook, &error.to_string()); // Nobody hears of what a crash could still undo.
        }
        let body = Bytes::from(serde_json::to_vec(&webhook.event).unwrap_or_default());
        for _ in 0..webhook.copies {
            let now = self.inner.clock.now();
            let headers = signature::sign(&self.inner.secret, &webhook.event.event_id, &body, now);
            if let Err(reason) = deliver(headers, body.clone()).await {
                return self.failed(webhook, &reason);
            }
        }
        self.paid(webhook.event.event_id, webhook.copies);
    }

    fn failed(&self, webhook: Webhook, reason: &str) {
        let attempts = webhook.attempts + 1;
        if attempts >= ATTEMPTS_MAX {
            tracing::warn!(webhook = webhook.event.event_id, reason, "a webhook is given up");
            return self.paid(webhook.event.event_id, 0);
        }
        let delay = DELAYS.after(attempts);
        tracing::info!(webhook = webhook.event.event_id, attempts, reason, "a webhook is sent again later");
        let mut engine = self.engine();
        let due = self.inner.clock.now() + delay.mul_f64(0.75 + engine.chance() / 2.0);
        engine.owe_again(Webhook { attempts, ..webhook }, due);
    }

    /// Not synced by itself: after a crash the webhook is sent once more, which its receiver recognizes.
    fn paid(&self, event_id: String, accepted: u32) {
        let mut engine = self.engine();
        engine.sent(&event_id, accepted);
        self.push(&[Record::Paid { event_id, delivered: accepted > 0 }]);
        drop(engine);
        self.inner.paid.send_modify(|count| *count += 1); // Its receivers take the engine's lock themselves.
    }
}
