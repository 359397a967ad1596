//! `/v1/shipments`: what the warehouse and the carrier tell us.

use axum::extract::State;
use domain::ids::{OrderId, ShipmentId};
use domain::shipment::{
    CancelShipment, Command, DeliverShipment, MAX_REASON_CHARS, MarkShipmentReady, ReportShipmentLost,
};
use serde::{Deserialize, Serialize};
use service_kit::api::ReasonText;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::extract::{About, Body, CommandHeaders, Of, check_text};
use super::problems::{Refusal, Refusals, refused, unmet};
use super::reply::{Answer, CommandReply};
use super::schema::{Nothing, ShipmentIdPath};
use crate::preconditions;

pub(super) fn router() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(ready)).routes(routes!(deliver)).routes(routes!(lost)).routes(routes!(cancel))
}

/// Why a shipment ends otherwise than it should.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShipmentReason {
    /// The reason, for people: 1 to 200 characters.
    #[schema(value_type = ReasonText, inline)]
    pub reason: String,
}

/// Reports that a shipment is packed.
#[utoipa::path(post, path = "/v1/shipments/{id}/ready", tag = "shipments", operation_id = "markShipmentReady",
    params(ShipmentIdPath, CommandHeaders),
    responses((status = 200, description = "The shipment is packed.", body = CommandReply), Refusals))]
async fn ready(
    State(state): State<HttpState>,
    Of(id): Of<ShipmentId>,
    about: About,
    body: Body<Nothing>,
) -> Result<Answer<CommandReply>, Refusal> {
    send(&state, id, Command::MarkShipmentReady(MarkShipmentReady {}), &about, body.hash).await
}

/// Reports that a shipment has arrived.
#[utoipa::path(post, path = "/v1/shipments/{id}/deliver", tag = "shipments", operation_id = "deliverShipment",
    params(ShipmentIdPath, CommandHeaders),
    responses((status = 200, description = "The shipment is delivered.", body = CommandReply), Refusals))]
async fn deliver(
    State(state): State<HttpState>,
    Of(id): Of<ShipmentId>,
    about: About,
    body: Body<Nothing>,
) -> Result<Answer<CommandReply>, Refusal> {
    send(&state, id, Command::DeliverShipment(DeliverShipment {}), &about, body.hash).await
}

/// Reports that a shipment is lost.
#[utoipa::path(post, path = "/v1/shipments/{id}/lost", tag = "shipments", operation_id = "reportShipmentLost",
    params(ShipmentIdPath, CommandHeaders), request_body = ShipmentReason,
    responses((status = 200, description = "The shipment is recorded as lost.", body = CommandReply), Refusals))]
async fn lost(
    State(state): State<HttpState>,
    Of(id): Of<ShipmentId>,
    about: About,
    body: Body<ShipmentReason>,
) -> Result<Answer<CommandReply>, Refusal> {
    check_text("/reason", &body.value.reason, MAX_REASON_CHARS)?;
    let command = Command::ReportShipmentLost(ReportShipmentLost { reason: body.value.reason });
    send(&state, id, command, &about, body.hash).await
}

/// Cancels a shipment that the warehouse cannot send.
#[utoipa::path(post, path = "/v1/shipments/{id}/cancel", tag = "shipments", operation_id = "cancelShipment",
    params(ShipmentIdPath, CommandHeaders), request_body = ShipmentReason,
    responses((status = 200, description = "The shipment is cancelled.", body = CommandReply), Refusals))]
async fn cancel(
    State(state): State<HttpState>,
    Of(id): Of<ShipmentId>,
    about: About,
    body: Body<ShipmentReason>,
) -> Result<Answer<CommandReply>, Refusal> {
    check_text("/reason", &body.value.reason, MAX_REASON_CHARS)?;
    let reason = body.value.reason;
    let cancel = |order_id| Command::CancelShipment(CancelShipment { order_id, reason: reason.clone() });
    let anyone = domain::Command::Shipment { id, command: cancel(OrderId::default()) };
    let command = cancel(preconditions::order_of(&state.bus, &anyone).await.map_err(unmet)?);
    send(&state, id, command, &about, body.hash).await
}

async fn send(
    state: &HttpState,
    id: ShipmentId,
    command: Command,
    about: &About,
    hash: String,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = domain::Command::Shipment { id, command };
    preconditions::check(&state.bus, &command).await.map_err(unmet)?;
    let reply = state.bus.send(command, about.meta(hash)).await;
    reply.map(|reply| Answer::done(id, reply)).map_err(refused)
}
