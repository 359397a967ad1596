//! What a client's command must find before it is sent, the same for every edge. The rules of the domain cannot say it:
//! a saga may cancel what was never planned, and goods may be received before anybody looks at the catalog.
//!
//! *Invariant:* what is looked at here never becomes untrue again (a shipment stays planned, a product stays created),
//! so looking first and sending afterwards is safe.

use domain::ids::OrderId;
use domain::order::MAX_PAYMENT_METHOD_CHARS;
use domain::product::Product;
use domain::shipment::{self, Shipment};
use domain::stock;

use crate::{CommandBus, SendError};

/// Why a client's command is not sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Unmet {
    /// There is no such thing; what is missing, and how it comes into being.
    Missing(String),
    /// Whether there is one cannot be said now.
    Send(SendError),
}

/// Looks whether a client's command may be sent.
///
/// # Errors
/// [`Unmet`].
pub(crate) async fn check(bus: &CommandBus, command: &domain::Command) -> Result<(), Unmet> {
    match command {
        domain::Command::Shipment { command: shipment::Command::CancelShipment(asked), .. } => {
            let planned = order_of(bus, command).await?;
            if planned == asked.order_id {
                Ok(())
            } else {
                Err(Unmet::Missing(format!("the shipment is not one of order {}; it is of {planned}", asked.order_id)))
            }
        }
        domain::Command::Shipment { .. } => order_of(bus, command).await.map(|_| ()),
        domain::Command::Stock { id, command: stock::Command::ReceiveStock(_) } => {
            let product = load::<Product>(bus, &id.sku.product_stream()).await?;
            if product.exists() {
                return Ok(());
            }
            let sku = &id.sku;
            let body = format!(r#"{{"sku":"{sku}","name":"…","price":{{"amount":1999,"currency":"EUR"}}}}"#);
            Err(Unmet::Missing(format!("there is no product `{sku}`; create it first: POST /v1/products {body}")))
        }
        domain::Command::Stock { .. }
        | domain::Command::Order { .. }
        | domain::Command::Payment { .. }
        | domain::Command::Product { .. } => Ok(()),
    }
}

/// Whether a text can be a card's token at a payment provider: 1 to 100 printable ASCII characters without spaces.
pub(crate) fn is_payment_method(text: &str) -> bool {
    (1..=MAX_PAYMENT_METHOD_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The order of a shipment that a command is for.
///
/// # Errors
/// [`Unmet`]; `Missing` where the shipment was never planned.
pub(crate) async fn order_of(bus: &CommandBus, command: &domain::Command) -> Result<OrderId, Unmet> {
    let stream = command.stream();
    let shipment = load::<Shipment>(bus, &stream).await?;
    let id = stream.strip_prefix("shipment-").unwrap_or(&stream);
    let missing = || Unmet::Missing(format!("there is no shipment {id}; one is planned when its order is confirmed"));
    shipment.order_id.filter(|_| shipment.status != shipment::Status::None).ok_or_else(missing)
}

async fn load<A: domain::Aggregate>(bus: &CommandBus, stream: &str) -> Result<std::sync::Arc<A>, Unmet> {
    let name = stream.parse().map_err(|_| Unmet::Missing(format!("there is no stream `{stream}`")))?;
    Ok(bus.load::<A>(&name).await.map_err(Unmet::Send)?.state)
}
