//! The way in for every command, from clients, sagas and the provider's driver: to the owner of its stream.

use std::sync::Arc;

use command_engine::{CommandEngine, OUTCOMES, Request};
use domain::ids::NAMESPACE;
use domain::payment::{ProviderResult, ResultSource};
use domain::{Aggregate, order, payment, product, shipment, stock};
use event_store::{EventStore, RecordedEvent, StreamName};
use service_kit::{Clock, Tasks};

use crate::provider::Wake;
use crate::provider::wake::Cause;

pub use command_engine::{CommandMeta, Loaded, Origin, Reply, SendError};

/// Takes commands to the owner of their stream. Cheap to clone.
#[derive(Clone)]
pub struct CommandBus {
    inner: Arc<Inner>,
}

struct Inner {
    engine: CommandEngine,
    wake: Wake,
}

impl CommandBus {
    /// A bus over `store`. `wake` tells the provider's driver of payments that have a request to carry out.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, tasks: Tasks, wake: Wake) -> Self {
        for outcome in OUTCOMES {
            metrics::counter!("backstitch_commands_total", "command" => "PlaceOrder", "outcome" => *outcome)
                .increment(0);
        }
        let engine = CommandEngine::new(store, clock, tasks, NAMESPACE)
            .with::<order::Order>()
            .with::<payment::Payment>()
            .with::<stock::StockItem>()
            .with::<shipment::Shipment>()
            .with::<product::Product>();
        Self { inner: Arc::new(Inner { engine, wake }) }
    }

    /// Sends a command and waits until its answer is durable. Sending it again under the same id is safe.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, command: domain::Command, meta: CommandMeta) -> Result<Reply, SendError> {
        let answer = self.dispatch(&command, &meta).await;
        if let Ok(reply) = &answer {
            self.wake_for(&command, reply.changed, &meta);
            tell(&command, reply, &meta);
        }
        answer
    }

    /// The state of a stream with all that is queued for it, once that is durable.
    ///
    /// # Errors
    /// [`SendError::Unavailable`], [`SendError::Busy`].
    pub async fn load<A: Aggregate>(&self, stream: &StreamName) -> Result<Loaded<A>, SendError> {
        self.inner.engine.load(stream).await
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
        self.inner.engine.recall::<A>(stream, meta).await
    }

    /// The stream's first event, if it has any.
    ///
    /// # Errors
    /// [`SendError::Unavailable`].
    pub(crate) async fn first_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, SendError> {
        self.inner.engine.first_event(stream).await
    }

    async fn dispatch(&self, command: &domain::Command, meta: &CommandMeta) -> Result<Reply, SendError> {
        use domain::Command as C;
        match command {
            C::Order { command: body, .. } => {
                let begins = matches!(body, order::Command::PlaceOrder(_));
                self.dispatch_to::<order::Order>(command, body, meta, begins).await
            }
            C::Payment { command: body, .. } => {
                let begins = matches!(body, payment::Command::RequestPaymentAuthorization(_));
                self.dispatch_to::<payment::Payment>(command, body, meta, begins).await
            }
            C::Stock { command: body, .. } => self.dispatch_to::<stock::StockItem>(command, body, meta, false).await,
            C::Shipment { command: body, .. } => {
                let begins = matches!(body, shipment::Command::PlanShipment(_));
                self.dispatch_to::<shipment::Shipment>(command, body, meta, begins).await
            }
            C::Product { command: body, .. } => {
                let begins = matches!(body, product::Command::CreateProduct(_));
                self.dispatch_to::<product::Product>(command, body, meta, begins).await
            }
        }
    }

    async fn dispatch_to<A: Aggregate>(
        &self,
        command: &domain::Command,
        body: &A::Command,
        meta: &CommandMeta,
        begins: bool,
    ) -> Result<Reply, SendError> {
        let request = Request { name: command.name(), stream: stream_name(command)?, command: body, meta, begins };
        self.inner.engine.send::<A>(request).await
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
    let no_stream = |error| SendError::unavailable(format_args!("the command has no stream: {error}"));
    command.stream().parse().map_err(no_stream)
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
