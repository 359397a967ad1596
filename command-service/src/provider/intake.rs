//! Takes in the results that the provider sends by itself. Each is verified, matched by our request id, appended, then
//! acknowledged.
//!
//! *Invariant:* nothing is acknowledged before it is durable: in the payment, or, where no payment or request of ours
//! fits, in `provider_inbox-<provider>@<event id>`, which `inbox.rs` drains. Never "processed" and forgotten.
//! Duplicates append nothing: the payment's own state knows the result, the inbox has one stream an event.

use std::sync::Arc;

use axum::http::HeaderMap;
use domain::ids::derive;
use domain::payment::{Command, Payment, RecordProviderResult, ResultSource};
use event_store::{Append, AppendError, Direction, EventStore, Expected, Metadata, NewEvent, StreamName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::Clock;
use uuid::Uuid;

use super::driver::result_command_id;
use super::port::{PaymentProvider, ProviderEvent, WebhookError};
use crate::{CommandBus, CommandMeta, SendError};

/// The longest name of an event: with the stream's prefix it must fit a stream's name (250 bytes).
const EVENT_ID_MAX: usize = 128;

/// The event of the inbox: a result that fits no request of ours. Category `provider_inbox`, version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderEventReceived {
    /// Name of the provider that reported the result.
    pub provider: String,
    /// What the provider reported.
    pub event: ProviderEvent,
    /// The reason why it is in the inbox: `no-such-payment`, or the payment's refusal.
    pub because: String,
}

/// Whether a result of the provider fits a request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// The payment has recorded the result, durably.
    Recorded,
    /// The result fits no request; the value is the reason.
    Nothing(&'static str),
}

/// The reason why a webhook is not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The webhook is not authentic, or cannot be read.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The result could not be made durable now: the provider sends it again.
    #[error("the webhook cannot be taken in at the moment: {0}")]
    Unavailable(String),
}

/// The intake. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    bus: CommandBus,
    store: Arc<dyn EventStore>,
    provider: Arc<dyn PaymentProvider>,
    clock: Clock,
}

impl Intake {
    /// An intake for what `provider` tells.
    pub fn new(bus: CommandBus, store: Arc<dyn EventStore>, provider: Arc<dyn PaymentProvider>, clock: Clock) -> Self {
        Self { bus, store, provider, clock }
    }

    /// Takes in a webhook, the bytes as they came. All that it says is durable afterwards; how many events that were.
    ///
    /// # Errors
    /// [`IntakeError`]; only `Unavailable` is worth sending again.
    pub async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Result<usize, IntakeError> {
        let events = self.provider.verify_webhook(body, headers, self.clock.now())?;
        for event in &events {
            // Dropped in between, the provider sends all of it again.
            self.take(event).await?;
        }
        Ok(events.len())
    }

    async fn take(&self, event: &ProviderEvent) -> Result<(), IntakeError> {
        let readable = event.event_id.bytes().all(|byte| byte.is_ascii_graphic());
        if !readable || !(1..=EVENT_ID_MAX).contains(&event.event_id.len()) {
            let what = format!("`event_id` has 1 to {EVENT_ID_MAX} printable ASCII characters");
            return Err(WebhookError::Malformed(what).into());
        }
        match self.judge(event).await? {
            Fit::Recorded => Ok(()),
            Fit::Nothing(because) => self.keep(event, because).await,
        }
    }

    /// Records what the provider told in its payment, if it fits there.
    pub(super) async fn judge(&self, event: &ProviderEvent) -> Result<Fit, IntakeError> {
        let id = event.key.payment_id;
        let stream: StreamName = id.stream().parse().expect("`payment-<uuid>` is a stream's name");
        let known = self.bus.load::<Payment>(&stream).await.map_err(unavailable)?;
        if !known.state.requests.contains_key(&event.key.request_id) {
            let because = if known.version.is_none() { "no-such-payment" } else { "unknown-request" };
            return Ok(Fit::Nothing(because));
        }
        let command = Command::RecordProviderResult(RecordProviderResult {
            request_id: event.key.request_id,
            result: event.result.clone(),
            provider_ref: Some(event.provider_ref.clone()),
            source: ResultSource::Webhook,
        });
        let command_id = result_command_id(event.key.request_id, &event.result);
        let (correlation_id, traceparent) = self.story_of(&stream, command_id).await?;
        let meta = CommandMeta {
            traceparent,
            ..CommandMeta::machine(command_id, correlation_id, cause(self.provider.name(), event), self.actor())
        };
        match self.bus.send(domain::Command::Payment { id, command }, meta).await {
            Ok(_) => Ok(Fit::Recorded),
            Err(SendError::Rejected { code, detail, .. }) => {
                tracing::warn!(payment.id = %id, webhook = event.event_id, detail, "a webhook does not fit its payment");
                Ok(Fit::Nothing(code))
            }
            Err(
                error @ (SendError::PreconditionFailed { .. }
                | SendError::KeyReused
                | SendError::InFlight
                | SendError::Busy { .. }
                | SendError::Full { .. }
                | SendError::Damaged { .. }
                | SendError::TooLate { .. }
                | SendError::Unavailable { .. }),
            ) => Err(unavailable(error)),
        }
    }

    /// The request that began the payment, so that what follows from the webhook belongs to the same story.
    async fn story_of(&self, stream: &StreamName, otherwise: Uuid) -> Result<(Uuid, Option<String>), IntakeError> {
        let first = self.store.read_stream(stream, 0, Direction::Forward, 1).await;
        let first = first.map_err(|error| IntakeError::Unavailable(error.to_string()))?;
        let found = first.first().map(|event| (event.metadata.correlation_id, event.metadata.traceparent.clone()));
        Ok(found.unwrap_or((otherwise, None)))
    }

    /// Keeps what fits nothing of ours. The same event again finds itself there.
    async fn keep(&self, event: &ProviderEvent, because: &str) -> Result<(), IntakeError> {
        let provider = self.provider.name();
        let stream: StreamName = format!("provider_inbox-{provider}@{}", event.event_id)
            .parse()
            .map_err(|_| WebhookError::Malformed("`event_id` makes no stream's name".to_owned()))?;
        let id = cause(provider, event);
        let payload =
            ProviderEventReceived { provider: provider.to_owned(), event: event.clone(), because: because.to_owned() };
        let data = serde_json::value::to_raw_value(&payload)
            .expect("an event is a struct of strings, numbers and times, which serialises");
        let metadata = Metadata {
            partition_key: stream.to_string(),
            correlation_id: id,
            causation_id: id,
            command_id: id,
            command_hash: None,
            traceparent: None,
            actor: self.actor(),
            occurred_at: self.clock.now(),
        };
        let event_type = "ProviderEventReceived".into();
        let new = NewEvent { id, event_type, schema_version: 1, data, metadata: Arc::new(metadata) };
        let append = Append { stream, expected: Expected::NoStream, events: vec![new] };
        let ticket = match self.store.append(append).await {
            Ok(ticket) => ticket,
            // The same event id was used for something else: it stands there already, and this cannot be told apart.
            Err(AppendError::Conflict { .. }) => return Ok(()),
            Err(error) => return Err(IntakeError::Unavailable(error.to_string())),
        };
        ticket.durable().await.map_err(|error| IntakeError::Unavailable(error.to_string()))?;
        // Durable from here.
        tracing::warn!(webhook = event.event_id, key = %event.key, because, "a webhook fits no request, it is kept");
        metrics::counter!("backstitch_provider_inbox_total").increment(1);
        Ok(())
    }

    fn actor(&self) -> String {
        format!("provider:{}", self.provider.name())
    }
}

/// What a provider's event is known by in our metadata.
fn cause(provider: &str, event: &ProviderEvent) -> Uuid {
    derive(&["provider-event", provider, &event.event_id])
}

fn unavailable(error: SendError) -> IntakeError {
    IntakeError::Unavailable(error.to_string())
}
