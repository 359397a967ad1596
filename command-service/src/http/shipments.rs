//! `/v1/shipments`: what the warehouse and the carrier tell us.

use axum::extract::State;
use domain::ids::ShipmentId;
use domain::shipment::{CancelShipment, Command, DeliverShipment, MarkShipmentReady, ReportShipmentLost, Shipment};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::ReasonText;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::extract::{About, Body, CommandHeaders, Of};
use super::problems::{Refusal, Refusals, refused};
use super::reply::{Answer, CommandReply};
use super::schema::{Nothing, ShipmentIdPath};

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
    let stream = id.stream().parse().map_err(Problem::invalid)?;
    // A saga may cancel what was never planned, a person may not: whose it is never changes, so looking first is safe.
    let shipment = state.bus.load::<Shipment>(&stream).await.map_err(refused)?.state;
    let Some(order_id) = shipment.order_id else {
        return Err(Problem::not_found(format_args!("there is no shipment {id}")).into());
    };
    let command = Command::CancelShipment(CancelShipment { order_id, reason: body.value.reason });
    send(&state, id, command, &about, body.hash).await
}

async fn send(
    state: &HttpState,
    id: ShipmentId,
    command: Command,
    about: &About,
    hash: String,
) -> Result<Answer<CommandReply>, Refusal> {
    let reply = state.bus.send(domain::Command::Shipment { id, command }, about.meta(hash)).await;
    reply.map(|reply| Answer::done(id, reply)).map_err(refused)
}
