//! A command service in small, over a real store: one stream after the other, real rules, a bank that approves at once
//! (or does as the card's token says).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::ids::PaymentId;
use domain::order::Order;
use domain::payment::{self, OpenRequest, Payment, ProviderResult, RecordProviderResult, RequestKind, ResultSource};
use domain::saga::LateBy;
use domain::shipment::Shipment;
use domain::stock::StockItem;
use domain::{Aggregate, Command, Rejected};
use event_store::{Append, AppendError, Direction, EventStore, Expected, Metadata, NewEvent, StreamName};
use parking_lot::Mutex;
use saga_orchestrator::{CommandPort, Dispatch, Outcome};
use service_kit::Clock;
use uuid::Uuid;

pub struct MiniBus {
    pub store: Arc<dyn EventStore>,
    pub clock: Clock,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Whether no saga's command gets an answer.
    pub away: AtomicBool,
    /// How many commands of sagas were carried out or refused.
    pub dispatched: AtomicUsize,
    /// What the bank has booked, by request: one request moves money once.
    pub ledger: Mutex<BTreeMap<Uuid, (RequestKind, i64)>>,
}

/// What stands around a command.
#[derive(Clone)]
pub struct About {
    command_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
}

impl About {
    pub fn client(command_id: Uuid) -> Self {
        Self { command_id, correlation_id: command_id, causation_id: command_id }
    }
}

impl MiniBus {
    pub fn new(store: Arc<dyn EventStore>, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            locks: Mutex::default(),
            away: AtomicBool::new(false),
            dispatched: AtomicUsize::new(0),
            ledger: Mutex::default(),
        })
    }

    pub async fn send(&self, command: Command, about: About) -> Outcome {
        let stream = command.stream();
        match command {
            Command::Order { command, .. } => self.decide::<Order>(&stream, &command, &about).await.0,
            Command::Shipment { command, .. } => self.decide::<Shipment>(&stream, &command, &about).await.0,
            Command::Stock { command, .. } => self.decide::<StockItem>(&stream, &command, &about).await.0,
            Command::Payment { id, command } => self.pay(id, &stream, &command, &about).await,
            Command::Product { .. } => panic!("no saga asks anything of a product"),
        }
    }

    async fn pay(&self, id: PaymentId, stream: &str, command: &payment::Command, about: &About) -> Outcome {
        let (outcome, state) = self.decide::<Payment>(stream, command, about).await;
        let Some(state) = state else { return outcome };
        for request in state.open_requests() {
            let Some(result) = self.bank(&state, &request) else { continue };
            let record = RecordProviderResult {
                request_id: request.request_id,
                result,
                provider_ref: None,
                source: ResultSource::Response,
            };
            let about = About { command_id: Uuid::new_v5(&request.request_id.0, b"result"), ..about.clone() };
            let command = payment::Command::RecordProviderResult(record);
            let (result, _) = self.decide::<Payment>(&id.stream(), &command, &about).await;
            if result != Outcome::Done {
                return result;
            }
        }
        outcome
    }

    fn bank(&self, payment: &Payment, request: &OpenRequest) -> Option<ProviderResult> {
        let amount = request.amount;
        if payment.payment_method.as_str() != "tok_decline" {
            let mut ledger = self.ledger.lock();
            ledger.insert(request.request_id.0, (request.kind, amount.amount));
        }
        let capture_before = self.clock.now() + Duration::from_secs(7 * 86_400);
        match (request.kind, payment.payment_method.as_str()) {
            (RequestKind::Authorization, "tok_decline") => Some(ProviderResult::Declined { code: "no".into() }),
            (RequestKind::Authorization, "tok_3ds_abandon") => {
                Some(ProviderResult::ActionRequired { action_url: "https://bank.example/".into() })
            }
            (RequestKind::Authorization, _) => Some(ProviderResult::Authorized { amount, capture_before }),
            (RequestKind::Capture, _) => Some(ProviderResult::Captured { amount }),
            (RequestKind::Void, _) => Some(ProviderResult::Voided),
            (RequestKind::Refund, _) => Some(ProviderResult::Refunded { amount }),
        }
    }

    async fn decide<A: Aggregate>(&self, name: &str, command: &A::Command, about: &About) -> (Outcome, Option<A>) {
        let lock = {
            let mut locks = self.locks.lock();
            locks.entry(name.to_owned()).or_default().clone()
        };
        let _one_after_the_other = lock.lock().await;
        let stream: StreamName = name.parse().unwrap();
        let (mut state, mut version) = (A::default(), None);
        loop {
            let from = version.map_or(0, |version| version + 1);
            let events = self.store.read_stream(&stream, from, Direction::Forward, 10_000).await.unwrap();
            for event in &events {
                state.evolve(&A::decode(&event.event_type, event.schema_version, event.data.get()).unwrap());
                version = Some(event.version);
            }
            if events.len() < 10_000 {
                break;
            }
        }
        let events = match state.decide(command, self.clock.now()) {
            Ok(events) => events,
            Err(no) => return (Outcome::Rejected { code: no.code().into(), detail: no.to_string() }, None),
        };
        if events.is_empty() {
            return (Outcome::Done, Some(state));
        }
        events.iter().for_each(|event| state.evolve(event));
        let metadata = Arc::new(Metadata {
            partition_key: state.partition_key().unwrap_or_else(|| name.to_owned()),
            correlation_id: about.correlation_id,
            causation_id: about.causation_id,
            command_id: about.command_id,
            command_hash: None,
            traceparent: None,
            actor: "test".to_owned(),
            occurred_at: self.clock.now(),
        });
        let new = |(index, event): (usize, &A::Event)| {
            let encoded = A::encode(event);
            NewEvent {
                id: domain::ids::event_id(about.command_id, index, encoded.data.get()),
                event_type: encoded.event_type.into(),
                schema_version: encoded.schema_version,
                data: encoded.data,
                metadata: metadata.clone(),
            }
        };
        let append =
            Append { stream, expected: Expected::at(version), events: events.iter().enumerate().map(new).collect() };
        let durable = match self.store.append(append).await {
            Ok(ticket) => ticket.durable().await.map(|_| ()),
            Err(error) => Err(error),
        };
        match durable {
            Ok(()) => (Outcome::Done, Some(state)),
            Err(AppendError::Refused { reason, .. }) => panic!("{reason}"),
            Err(error) => (Outcome::Unavailable { detail: error.to_string(), retry_after: None }, None),
        }
    }
}

#[async_trait]
impl CommandPort for MiniBus {
    async fn dispatch(&self, dispatch: Dispatch) -> Outcome {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        if now > dispatch.not_after {
            return Outcome::TooLate(LateBy { now, stream_time: None });
        }
        if self.away.load(Ordering::Relaxed) {
            return Outcome::Unavailable { detail: "nobody there".to_owned(), retry_after: None };
        }
        let about = About {
            command_id: dispatch.command_id,
            correlation_id: dispatch.correlation_id,
            causation_id: dispatch.causation_id,
        };
        self.send(serde_json::from_str(dispatch.body.get()).unwrap(), about).await
    }
}
