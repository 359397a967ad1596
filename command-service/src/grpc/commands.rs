//! `Commands`: from a request to the bus and back.

use std::sync::Arc;

use domain::order::pricing::PricingPolicy;
use domain::{order, product, shipment, stock};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::proto::command_reply::Answer;
use super::proto::commands_server::Commands;
use super::proto::{Accepted, CommandReply, CommandRequest, Rejected};
use super::{request, status};
use crate::bus::{CommandMeta, Origin};
use crate::contexts::{Context, Contexts};
use crate::preconditions::{self, Unmet, is_payment_method};
use crate::pricing::{self, Unpriced, Wish};
use crate::{CommandBus, Reply, SendError};

/// Carries out what other processes ask.
pub(super) struct CommandsService {
    bus: CommandBus,
    pricing: Arc<PricingPolicy>,
    contexts: Contexts,
    free: Semaphore,
}

impl CommandsService {
    /// At most `at_once` commands are under way.
    pub fn new(bus: CommandBus, pricing: Arc<PricingPolicy>, contexts: Contexts, at_once: usize) -> Self {
        Self { bus, pricing, contexts, free: Semaphore::new(at_once) }
    }

    async fn execute(&self, request: &CommandRequest) -> Result<CommandReply, Status> {
        // Dropped by a caller that waits no longer, the command is carried out or not: sent again, it is answered.
        let _permit = self.free.try_acquire().map_err(|_| status::busy("too many commands are being carried out"))?;
        let (command, meta) = request::read(request)?;
        let context = Context::of(&command);
        if !self.contexts.has(context) {
            return Err(status::misdirected(context, &self.contexts));
        }
        if meta.origin == Origin::Client {
            if !is_for_clients(&command) {
                return Err(status::denied(command.name()));
            }
            match preconditions::check(&self.bus, &command).await {
                Ok(()) => {}
                Err(Unmet::Missing(detail)) => return Ok(rejected("not-found", detail, false)),
                Err(Unmet::Send(error)) => return answer(Err(error)),
            }
            if let domain::Command::Order { command: order::Command::PlaceOrder(placed), .. } = &command
                && let Some(reply) = self.not_ours(placed, &meta).await?
            {
                return Ok(reply);
            }
        }
        let span = tracing::info_span!("command", name = command.name(), correlation_id = %meta.correlation_id);
        answer(self.bus.send(command, meta).instrument(span).await)
    }

    /// Prices are ours: what a client's order says of them must be what they are, or what they were when this very
    /// request was answered before. The answer, if they are not.
    async fn not_ours(&self, order: &order::PlaceOrder, meta: &CommandMeta) -> Result<Option<CommandReply>, Status> {
        let (code, detail) = match is_priced(&self.bus, &self.pricing, order).await {
            Ok(true) if is_payment_method(&order.payment_method) => return Ok(None),
            Ok(true) => {
                let detail = "a payment method has 1 to 100 printable ASCII characters without spaces";
                ("payment-method-length", detail.to_owned())
            }
            Ok(false) => {
                let detail = "the order has other prices than its products; look them up and order again";
                ("price-changed", detail.to_owned())
            }
            Err(Unpriced::NotNow(error)) => return answer(Err(error)).map(Some),
            Err(why) => (why.code().unwrap_or("price-changed"), why.to_string()),
        };
        let stream = order.order_id.stream().parse().map_err(|error| status::invalid("body", error))?;
        match self.bus.recall::<order::Order>(&stream, meta).await {
            Ok(Some(reply)) => answer(Ok(reply)).map(Some),
            Ok(None) => Ok(Some(rejected(code, detail, false))),
            Err(error) => answer(Err(error)).map(Some),
        }
    }
}

#[tonic::async_trait]
impl Commands for CommandsService {
    async fn execute(&self, request: Request<CommandRequest>) -> Result<Response<CommandReply>, Status> {
        let answered = self.execute(request.get_ref()).await;
        let code = answered.as_ref().map_or_else(|status| status.code(), |_| tonic::Code::Ok);
        metrics::counter!("backstitch_grpc_calls_total", "method" => "Execute", "code" => format!("{code:?}"))
            .increment(1);
        answered.map(Response::new)
    }
}

fn answer(sent: Result<Reply, SendError>) -> Result<CommandReply, Status> {
    match sent {
        Ok(Reply { version, position, replayed, changed }) => {
            let accepted = Accepted { version, position: position.0, replayed, changed };
            Ok(CommandReply { answer: Some(Answer::Accepted(accepted)) })
        }
        Err(error) => match (status::of(&error), error) {
            (Some(status), _) => Err(status),
            (None, SendError::Rejected { code, detail, replayed }) => Ok(rejected(code, detail, replayed)),
            (None, error) => Err(status::unavailable(error)),
        },
    }
}

fn rejected(code: &str, detail: String, replayed: bool) -> CommandReply {
    let rejected = Rejected { code: code.to_owned(), detail, replayed };
    CommandReply { answer: Some(Answer::Rejected(rejected)) }
}

/// What clients may send: what they may over HTTP, but for the end of a risk review, which people send.
fn is_for_clients(command: &domain::Command) -> bool {
    use order::Command as O;
    use product::Command as P;
    use shipment::Command as H;
    use stock::Command as S;
    match command {
        domain::Command::Order { command, .. } => {
            matches!(
                command,
                O::PlaceOrder(_) | O::RequestOrderCancellation(_) | O::HoldOrder(_) | O::ReleaseOrderHold(_)
            )
        }
        domain::Command::Payment { .. } => false,
        domain::Command::Stock { command, .. } => {
            matches!(command, S::ReceiveStock(_) | S::AdjustStock(_) | S::RestockItems(_))
        }
        domain::Command::Shipment { command, .. } => {
            matches!(
                command,
                H::MarkShipmentReady(_) | H::DeliverShipment(_) | H::ReportShipmentLost(_) | H::CancelShipment(_)
            )
        }
        domain::Command::Product { command, .. } => matches!(
            command,
            P::CreateProduct(_) | P::ChangeProductPrice(_) | P::ActivateProduct(_) | P::DiscontinueProduct(_)
        ),
    }
}

/// Whether an order has the prices and totals that it would have if it were placed now.
///
/// # Errors
/// [`Unpriced`]: it could not be placed now.
async fn is_priced(bus: &CommandBus, policy: &PricingPolicy, order: &order::PlaceOrder) -> Result<bool, Unpriced> {
    let wish = |line: &order::OrderLine| Wish { item: line.item.clone(), quantity: line.quantity };
    let wishes: Vec<Wish> = order.lines.iter().map(wish).collect();
    let (lines, totals) = pricing::price(bus, policy, &wishes, Some(order.totals.total.currency)).await?;
    Ok(lines == order.lines && totals == order.totals)
}
