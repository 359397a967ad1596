//! Drains the inbox: what a provider told that fitted nothing of ours is tried again, at the start, when something new
//! comes, and every minute. What fits by then is recorded in its payment, and the inbox stream says so; what never fits
//! stays, where people see it.
//!
//! *Invariant:* a result counts as recorded only when the payment has it. A process that dies between the two appends
//! tries it again: the payment knows the result already, and only the second append is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::derive;
use event_store::{
    Append, AppendError, Delivery, EventStore, Expected, Filter, Metadata, NewEvent, Position, ReadError,
    RecordedEvent, StreamName,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{Clock, Tasks};

use super::intake::{Fit, Intake, IntakeError, ProviderEventReceived};

/// How long what does not fit waits until it is tried again: nobody is waiting for it by then.
const AGAIN: Duration = Duration::from_secs(60);
/// How long to wait after the log could not be read: its own recovery takes as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Open entries kept in memory, some 1 kB each. What is beyond is looked at after the next start.
const OPEN_MAX: usize = 10_000;

/// The event that ends an entry of the inbox: the payment has the result. Category `provider_inbox`, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderEventRecorded {
    /// The payment that has it.
    pub payment_id: domain::ids::PaymentId,
    /// The request that it is about.
    pub request_id: domain::ids::RequestId,
}

/// The open entries of the inbox. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    open: Arc<Mutex<BTreeMap<StreamName, ProviderEventReceived>>>,
}

impl Inbox {
    /// What fits nothing so far, at most `limit`, and how many there are.
    pub fn open(&self, limit: usize) -> (Vec<ProviderEventReceived>, usize) {
        let open = self.open.lock();
        (open.values().take(limit).cloned().collect(), open.len())
    }

    /// Starts to drain it. It ends when `tasks` stops.
    pub(super) fn start(&self, intake: Intake, store: Arc<dyn EventStore>, clock: Clock, tasks: &Tasks) {
        let (inbox, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("provider-inbox", async move {
            let drain = Drain { inbox, intake, store, clock };
            let mut after = Position::START;
            loop {
                tokio::select! {
                    // What is under way when this is dropped is tried again at the next start.
                    () = stopping.cancelled() => return,
                    result = drain.run(&mut after) => if let Err(error) = result {
                        tracing::warn!(%error, "the provider's inbox is read again");
                    },
                }
                tokio::select! { () = stopping.cancelled() => return, () = tokio::time::sleep(PAUSE) => {} }
            }
        });
    }

    /// Takes in an event of an inbox stream.
    fn fold(&self, event: &RecordedEvent) {
        let mut open = self.open.lock();
        match &*event.event_type {
            "ProviderEventReceived" if open.len() < OPEN_MAX => match serde_json::from_str(event.data.get()) {
                Ok(received) => _ = open.insert(event.stream.clone(), received),
                Err(error) => tracing::error!(stream = %event.stream, %error, "an event of the inbox cannot be read"),
            },
            "ProviderEventReceived" => tracing::error!(stream = %event.stream, "the inbox is too full to try it"),
            "ProviderEventRecorded" => _ = open.remove(&event.stream),
            _ => {} // A newer program's.
        }
        metrics::gauge!("backstitch_provider_inbox_open").set(open.len() as f64);
    }
}

struct Drain {
    inbox: Inbox,
    intake: Intake,
    store: Arc<dyn EventStore>,
    clock: Clock,
}

impl Drain {
    /// Follows the inbox until the log cannot be read or ends.
    async fn run(&self, after: &mut Position) -> Result<(), ReadError> {
        let mut feed = self.store.subscribe(*after, Filter::categories(["provider_inbox"])).await?;
        let mut caught_up = false;
        // One timer over all deliveries: on a busy log they come faster than it ends.
        let mut again = Box::pin(self.clock.sleep(AGAIN));
        loop {
            tokio::select! {
                biased;
                () = &mut again => {
                    again = Box::pin(self.clock.sleep(AGAIN));
                    self.try_all().await;
                }
                delivery = feed.next() => match delivery {
                    Some(Ok(Delivery::Events { events, up_to })) => {
                        events.iter().for_each(|event| self.inbox.fold(event));
                        *after = up_to;
                        if caught_up && events.iter().any(|event| &*event.event_type == "ProviderEventReceived") {
                            self.try_all().await;
                        }
                    }
                    Some(Ok(Delivery::CaughtUp)) => {
                        caught_up = true;
                        self.try_all().await;
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Tries all that is open once more.
    async fn try_all(&self) {
        let open: Vec<_> = self.inbox.open.lock().clone().into_iter().collect();
        for (stream, received) in open {
            if let Err(error) = self.try_one(&stream, &received).await {
                tracing::warn!(%stream, %error, "an entry of the provider's inbox is tried again later");
                return; // The next would fare no better.
            }
        }
    }

    async fn try_one(&self, stream: &StreamName, received: &ProviderEventReceived) -> Result<(), IntakeError> {
        match self.intake.judge(&received.event).await? {
            Fit::Nothing(_) => Ok(()),
            Fit::Recorded => self.recorded(stream, received).await,
        }
    }

    /// Says that the payment has it. The feed brings that back, which takes it off the list.
    async fn recorded(&self, stream: &StreamName, received: &ProviderEventReceived) -> Result<(), IntakeError> {
        let key = received.event.key;
        let recorded = ProviderEventRecorded { payment_id: key.payment_id, request_id: key.request_id };
        let data = serde_json::value::to_raw_value(&recorded).expect("a struct of two ids serialises");
        let id = derive(&["provider-event-recorded", stream.as_str()]);
        let metadata = Metadata {
            partition_key: stream.to_string(),
            correlation_id: id,
            causation_id: id,
            command_id: id,
            command_hash: None,
            traceparent: None,
            actor: format!("provider:{}", received.provider),
            occurred_at: self.clock.now(),
        };
        let event_type = "ProviderEventRecorded".into();
        let new = NewEvent { id, event_type, schema_version: 1, data, metadata: Arc::new(metadata) };
        let append = Append { stream: stream.clone(), expected: Expected::at(Some(0)), events: vec![new] };
        let ticket = match self.store.append(append).await {
            Ok(ticket) => ticket,
            Err(AppendError::Conflict { .. }) => return Ok(()), // It says so already.
            Err(error) => return Err(IntakeError::Unavailable(error.to_string())),
        };
        ticket.durable().await.map_err(|error| IntakeError::Unavailable(error.to_string()))?;
        // Durable from here.
        tracing::info!(%stream, key = %key, "a webhook that fitted nothing is in its payment now");
        Ok(())
    }
}
