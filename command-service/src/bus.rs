//! The way in for every command, from clients, sagas and the provider's driver: to the owner of its stream.

use std::any::Any;
use std::sync::Arc;

use domain::payment::{ProviderResult, ResultSource};
use domain::{Aggregate, Timestamp, order, payment, product, shipment, stock};
use event_store::{Direction, EventStore, Position, RecordedEvent, StreamName};
use service_kit::{Clock, Tasks};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::decision::Request;
use crate::pipeline::{Pipeline, Shared};
use crate::provider::Wake;
use crate::provider::wake::Cause;
use crate::snapshot::{unavailable, unreadable};

/// Who sends a command, which decides how it is bounded and remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: passes the semaphore for outsiders and is remembered by its key.
    Client,
    /// A saga, the provider's driver or a webhook: skips the semaphore, and is recognised by what it names
    /// (a reservation, a request), so it takes no room in the stream's window of keys.
    Machine,
}

/// What comes with a command.
#[derive(Debug, Clone)]
pub struct CommandMeta {
    /// Derived: the same command again has the same id.
    pub command_id: Uuid,
    /// SHA-256 (hex) of the canonical parsed body of a client's command; machines give none.
    pub command_hash: Option<String>,
    /// The request that began it all; the command's own id where nothing is known of it.
    pub correlation_id: Uuid,
    /// What it follows from; the command's own id for a client's command.
    pub causation_id: Uuid,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Who asks: a principal, `saga:<type>`, `provider:<name>`.
    pub actor: String,
    /// Client or machine.
    pub origin: Origin,
    /// Refused when the clock shows a later time, or the stream's latest event is later.
    pub not_after: Option<Timestamp>,
    /// The deadline for the stream's latest event where that is ahead of the clock; no earlier than `not_after`.
    pub stream_not_after: Option<Timestamp>,
    /// Refused unless the stream's last event has this version.
    pub if_match: Option<u64>,
}

impl CommandMeta {
    /// What comes with a command of a saga, the driver or a webhook, with no deadline and no trace.
    pub fn machine(command_id: Uuid, correlation_id: Uuid, causation_id: Uuid, actor: impl Into<String>) -> Self {
        Self {
            command_id,
            command_hash: None,
            correlation_id,
            causation_id,
            traceparent: None,
            actor: actor.into(),
            origin: Origin::Machine,
            not_after: None,
            stream_not_after: None,
            if_match: None,
        }
    }
}

/// The answer to a command that was carried out, or whose wish was already so. It is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The version of the stream's last event after the command; `None`: the stream has no events.
    pub version: Option<u64>,
    /// The position up to which a reader must be to see it.
    pub position: Position,
    /// Whether this is the first answer again.
    pub replayed: bool,
    /// Whether it appended events (the first time).
    pub changed: bool,
}

/// Why there is no good answer to a command. What a rejection was decided on is durable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The answer is no.
    #[error("{detail}")]
    Rejected {
        /// The refusal's stable name, `domain::Rejected::code`.
        code: &'static str,
        /// What happened, for people.
        detail: String,
        /// Whether this is the first answer again.
        replayed: bool,
    },
    /// `If-Match` names another version than the stream is at.
    #[error("the stream is at version {actual:?}, not {expected}")]
    PreconditionFailed {
        /// What the client believes.
        expected: u64,
        /// What is so; `None`: there are no events.
        actual: Option<u64>,
    },
    /// The key was used before, with another body.
    #[error("this idempotency key was used before with another body; use a new key for a new request")]
    KeyReused,
    /// The same command is being carried out at this moment.
    #[error("the same request is still being carried out; ask again in a moment")]
    InFlight,
    /// Too much is waiting.
    #[error("{detail}; nothing was done, try again in a moment")]
    Busy {
        /// What is full.
        detail: &'static str,
    },
    /// There is no room for it for a while.
    #[error("{detail}; nothing was done")]
    Full {
        /// What is full.
        detail: String,
        /// After how many seconds there may be room again.
        retry_after_s: u32,
    },
    /// The log is damaged. It does not pass by itself.
    #[error("{detail}")]
    Damaged {
        /// What is known of it, for people.
        detail: String,
    },
    /// The command came after its deadline.
    #[error("the command came after its deadline of {not_after}: the clock shows {now}{}", of_stream(stream_time))]
    TooLate {
        /// The deadline.
        not_after: Timestamp,
        /// What the clock showed.
        now: Timestamp,
        /// The time of the stream's latest event; `None`: it has no events.
        stream_time: Option<Timestamp>,
    },
    /// The log did not answer; whether the command was carried out will be known when it is sent again.
    #[error("{detail}; send the same request again")]
    Unavailable {
        /// What happened, for people.
        detail: String,
    },
}

fn of_stream(time: &Option<Timestamp>) -> String {
    time.map(|time| format!(", the stream's latest event is of {time}")).unwrap_or_default()
}

impl SendError {
    /// The same, as the first answer again.
    pub(crate) fn again(self) -> Self {
        match self {
            Self::Rejected { code, detail, .. } => Self::Rejected { code, detail, replayed: true },
            Self::PreconditionFailed { .. }
            | Self::KeyReused
            | Self::InFlight
            | Self::Busy { .. }
            | Self::Full { .. }
            | Self::Damaged { .. }
            | Self::TooLate { .. }
            | Self::Unavailable { .. } => self,
        }
    }
}

/// A state and where it stands.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The state; `Default` where the stream has no events.
    pub state: Arc<A>,
    /// The version of the last event in it; `None`: no events.
    pub version: Option<u64>,
    /// The position of the last event in it.
    pub position: Position,
}

/// Commands of clients that are under way at once: a few times what two cores and one disk carry in a commit's time.
/// What a saga or the driver sends does not count, so that work begun is ended even when the door is crowded.
const CLIENTS_MAX: usize = 1_024;

/// Seconds after which a client asks again where the disk is nearly full, or the write-ahead log too large: an operator sees
/// to it, which takes minutes.
const AFTER_SHORTAGE_S: u32 = 30;

/// Takes commands to the owner of their stream. Cheap to clone.
#[derive(Clone)]
pub struct CommandBus {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    clients: Semaphore,
    wake: Wake,
    orders: Pipeline<order::Order>,
    payments: Pipeline<payment::Payment>,
    stock: Pipeline<stock::StockItem>,
    shipments: Pipeline<shipment::Shipment>,
    products: Pipeline<product::Product>,
}

impl CommandBus {
    /// A bus over `store`. `wake` tells the provider's driver of payments that have a request to carry out.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, tasks: Tasks, wake: Wake) -> Self {
        for outcome in OUTCOMES {
            metrics::counter!("backstitch_commands_total", "command" => "PlaceOrder", "outcome" => *outcome)
                .increment(0);
        }
        let shared = Arc::new(Shared::new(store, clock, tasks));
        let inner = Inner {
            clients: Semaphore::new(CLIENTS_MAX),
            wake,
            orders: Pipeline::new(shared.clone()),
            payments: Pipeline::new(shared.clone()),
            stock: Pipeline::new(shared.clone()),
            shipments: Pipeline::new(shared.clone()),
            products: Pipeline::new(shared.clone()),
            shared,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sends a command and waits until its answer is durable. Sending it again under the same id is safe.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, command: domain::Command, meta: CommandMeta) -> Result<Reply, SendError> {
        let _permit = match meta.origin {
            Origin::Client => Some(
                self.inner
                    .clients
                    .try_acquire()
                    .map_err(|_| SendError::Busy { detail: "too many commands are being carried out" })?,
            ),
            Origin::Machine => None,
        };
        if meta.origin == Origin::Client
            && let Some(why) = self.inner.shared.store.refuses_clients()
        {
            metrics::counter!("backstitch_commands_refused_for_room_total").increment(1);
            return Err(SendError::Full { detail: why.to_string(), retry_after_s: AFTER_SHORTAGE_S });
        }
        let (name, stream) = (command.name(), stream_name(&command)?);
        if let Some(hash) = &meta.command_hash
            && let Some(remembered) = self.inner.shared.answers.find(meta.command_id, hash)
        {
            return self.confirmed(&stream, &command, &meta, remembered).await;
        }
        let answer = self.dispatch(stream, &command, &meta).await;
        metrics::counter!("backstitch_commands_total", "command" => name, "outcome" => outcome(&answer)).increment(1);
        match &answer {
            Ok(reply) => {
                self.wake_for(&command, reply.changed, &meta);
                tell(&command, reply, &meta);
            }
            Err(SendError::Unavailable { detail }) => {
                tracing::warn!(command = name, stream = command.stream(), correlation_id = %meta.correlation_id, detail, "a command has no answer");
            }
            Err(_) => {}
        }
        answer
    }

    /// The state of a stream with all that is queued for it, once that is durable.
    ///
    /// # Errors
    /// [`SendError::Unavailable`], [`SendError::Busy`].
    pub async fn load<A: Aggregate>(&self, stream: &StreamName) -> Result<Loaded<A>, SendError> {
        self.pipeline::<A>()?.load(stream).await
    }

    /// The answer to a client's command that appended, if it was sent before.
    ///
    /// # Errors
    /// [`SendError::KeyReused`], [`SendError::InFlight`], [`SendError::Unavailable`], [`SendError::Busy`].
    pub(crate) async fn recall<A: Aggregate>(
        &self,
        stream: &StreamName,
        meta: &CommandMeta,
    ) -> Result<Option<Reply>, SendError> {
        self.pipeline::<A>()?.recall(stream, meta).await
    }

    /// The stream's first event, if it has any.
    ///
    /// # Errors
    /// [`SendError::Unavailable`].
    pub(crate) async fn first_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, SendError> {
        let read = self.inner.shared.store.read_stream(stream, 0, Direction::Forward, 1).await;
        read.map(|events| events.into_iter().next()).map_err(unreadable)
    }

    fn pipeline<A: Aggregate>(&self) -> Result<&Pipeline<A>, SendError> {
        let inner = &self.inner;
        let pipelines: [&dyn Any; 5] =
            [&inner.orders, &inner.payments, &inner.stock, &inner.shipments, &inner.products];
        let found = pipelines.into_iter().find_map(|pipeline| pipeline.downcast_ref::<Pipeline<A>>());
        found.ok_or_else(|| unavailable(format_args!("streams of `{}` are not served here", A::CATEGORY)))
    }

    /// A remembered answer, unless the command was carried out since: where others write the log, too, another replica
    /// may have done so, and then its success is the answer. The caller keeps its permit while the stream is read.
    async fn confirmed(
        &self,
        stream: &StreamName,
        command: &domain::Command,
        meta: &CommandMeta,
        remembered: Result<Reply, SendError>,
    ) -> Result<Reply, SendError> {
        if !self.inner.shared.store.is_shared() {
            return remembered;
        }
        let inner = &self.inner;
        let done = match command {
            domain::Command::Order { .. } => inner.orders.recall(stream, meta).await,
            domain::Command::Payment { .. } => inner.payments.recall(stream, meta).await,
            domain::Command::Stock { .. } => inner.stock.recall(stream, meta).await,
            domain::Command::Shipment { .. } => inner.shipments.recall(stream, meta).await,
            domain::Command::Product { .. } => inner.products.recall(stream, meta).await,
        };
        match done? {
            Some(reply) => Ok(reply),
            None => remembered,
        }
    }

    async fn dispatch(
        &self,
        stream: StreamName,
        command: &domain::Command,
        meta: &CommandMeta,
    ) -> Result<Reply, SendError> {
        use domain::Command as C;
        let inner = &self.inner;
        match command {
            C::Order { command, .. } => {
                let begins = matches!(command, order::Command::PlaceOrder(_));
                inner.orders.send(Request { stream, command, meta, begins }).await
            }
            C::Payment { command, .. } => {
                let begins = matches!(command, payment::Command::RequestPaymentAuthorization(_));
                inner.payments.send(Request { stream, command, meta, begins }).await
            }
            C::Stock { command, .. } => inner.stock.send(Request { stream, command, meta, begins: false }).await,
            C::Shipment { command, .. } => {
                let begins = matches!(command, shipment::Command::PlanShipment(_));
                inner.shipments.send(Request { stream, command, meta, begins }).await
            }
            C::Product { command, .. } => {
                let begins = matches!(command, product::Command::CreateProduct(_));
                inner.products.send(Request { stream, command, meta, begins }).await
            }
        }
    }

    /// Tells the driver of a request to the provider that is durable, whether it is new or came again: the command sent
    /// again is how a call is made good that a crash prevented.
    fn wake_for(&self, command: &domain::Command, changed: bool, meta: &CommandMeta) {
        use payment::Command as P;
        let domain::Command::Payment { id, command } = command else { return };
        match command {
            P::RequestPaymentAuthorization(_)
            | P::RequestPaymentCapture(_)
            | P::RequestPaymentVoid(_)
            | P::RequestPaymentRefund(_) => {}
            // The driver's own mark is news; what is said again is a wish that the outcome be pursued.
            P::MarkPaymentOutcomeUnknown(_) if !changed => {}
            // Money that a webhook tells of may be less than was asked for: then the provider is asked.
            P::RecordProviderResult(c) if changed && c.source == ResultSource::Webhook && tells_amount(&c.result) => {}
            P::MarkPaymentOutcomeUnknown(_) | P::RecordProviderResult(_) | P::ExpirePayment(_) => return,
        }
        let cause = Cause {
            correlation_id: meta.correlation_id,
            causation_id: meta.command_id,
            traceparent: meta.traceparent.clone(),
        };
        self.inner.wake.wake(*id, cause);
    }
}

fn tells_amount(result: &ProviderResult) -> bool {
    match result {
        ProviderResult::Authorized { .. } | ProviderResult::Captured { .. } | ProviderResult::Refunded { .. } => true,
        ProviderResult::ActionRequired { .. }
        | ProviderResult::Declined { .. }
        | ProviderResult::Expired
        | ProviderResult::CaptureFailed { .. }
        | ProviderResult::Voided
        | ProviderResult::VoidFailed { .. }
        | ProviderResult::RefundFailed { .. } => false,
    }
}

fn stream_name(command: &domain::Command) -> Result<StreamName, SendError> {
    command.stream().parse().map_err(|error| unavailable(format_args!("the command has no stream: {error}")))
}

/// One line for each order that is placed, so that a server which works does not look like one that hangs.
fn tell(command: &domain::Command, reply: &Reply, meta: &CommandMeta) {
    if let domain::Command::Order { id, command: domain::order::Command::PlaceOrder(order) } = command
        && reply.changed
        && !reply.replayed
    {
        tracing::info!(
            order.id = %id, order.number = %id.number(), total = %order.totals.total, lines = order.lines.len(),
            position = reply.position.0, correlation_id = %meta.correlation_id, "an order was placed"
        );
    }
}

/// How commands can end, as `backstitch_commands_total` names it.
pub const OUTCOMES: &[&str] = &[
    "replayed",
    "done",
    "already_so",
    "rejected",
    "precondition_failed",
    "key_reused",
    "in_flight",
    "busy",
    "full",
    "damaged",
    "too_late",
    "unavailable",
];

fn outcome(answer: &Result<Reply, SendError>) -> &'static str {
    match answer {
        Ok(Reply { replayed: true, .. }) => "replayed",
        Ok(Reply { changed: true, .. }) => "done",
        Ok(_) => "already_so",
        Err(SendError::Rejected { .. }) => "rejected",
        Err(SendError::PreconditionFailed { .. }) => "precondition_failed",
        Err(SendError::KeyReused) => "key_reused",
        Err(SendError::InFlight) => "in_flight",
        Err(SendError::Busy { .. }) => "busy",
        Err(SendError::Full { .. }) => "full",
        Err(SendError::Damaged { .. }) => "damaged",
        Err(SendError::TooLate { .. }) => "too_late",
        Err(SendError::Unavailable { .. }) => "unavailable",
    }
}
