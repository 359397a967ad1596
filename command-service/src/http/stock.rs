//! `/v1/stock`: what lies where.

use axum::extract::State;
use domain::ids::{OrderId, StockId};
use domain::quantity::Quantity;
use domain::stock::{AdjustStock, Command, ReceiveStock, RestockItems};
use serde::{Deserialize, Serialize};
use service_kit::api::ReasonText;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::extract::{About, Body, CommandHeaders, Of};
use super::problems::{Refusal, Refusals, refused, unmet};
use super::reply::{Answer, CommandReply};
use super::schema::{StockDelta, StockPath};
use crate::preconditions;

pub(super) fn router() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(receive)).routes(routes!(adjust)).routes(routes!(restock))
}

/// Goods that came in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStockBody {
    /// The number of pieces.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000, example = 10)]
    pub quantity: Quantity,
}

/// What a count found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustStockBody {
    /// The pieces to add, or to take away where negative; not 0.
    #[schema(value_type = StockDelta, inline)]
    pub delta: i64,
    /// The reason, for the audit: 1 to 200 characters.
    #[schema(value_type = ReasonText, inline)]
    pub reason: String,
}

/// Shipped pieces that came back and are sellable.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestockBody {
    /// The id of the order that they were shipped for.
    #[schema(value_type = Uuid)]
    pub order_id: OrderId,
    /// The number of pieces.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000, example = 10)]
    pub quantity: Quantity,
}

/// Goods came in.
#[utoipa::path(post, path = "/v1/stock/{sku}/{location}/receive", tag = "stock", operation_id = "receiveStock",
    params(StockPath, CommandHeaders), request_body = ReceiveStockBody,
    responses((status = 200, description = "The pieces are on hand.", body = CommandReply), Refusals))]
async fn receive(
    State(state): State<HttpState>,
    Of(item): Of<StockId>,
    about: About,
    body: Body<ReceiveStockBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = Command::ReceiveStock(ReceiveStock { item: item.clone(), quantity: body.value.quantity });
    send(&state, item, command, &about, body.hash).await
}

/// A count found more or fewer pieces than were known.
#[utoipa::path(post, path = "/v1/stock/{sku}/{location}/adjust", tag = "stock", operation_id = "adjustStock",
    params(StockPath, CommandHeaders), request_body = AdjustStockBody,
    responses((status = 200, description = "The count is corrected.", body = CommandReply), Refusals))]
async fn adjust(
    State(state): State<HttpState>,
    Of(item): Of<StockId>,
    about: About,
    body: Body<AdjustStockBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let AdjustStockBody { delta, reason } = body.value;
    send(&state, item, Command::AdjustStock(AdjustStock { delta, reason }), &about, body.hash).await
}

/// Shipped pieces came back and are sellable.
#[utoipa::path(post, path = "/v1/stock/{sku}/{location}/restock", tag = "stock", operation_id = "restockItems",
    params(StockPath, CommandHeaders), request_body = RestockBody,
    responses((status = 200, description = "The pieces are on hand.", body = CommandReply), Refusals))]
async fn restock(
    State(state): State<HttpState>,
    Of(item): Of<StockId>,
    about: About,
    body: Body<RestockBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let RestockBody { order_id, quantity } = body.value;
    send(&state, item, Command::RestockItems(RestockItems { order_id, quantity }), &about, body.hash).await
}

async fn send(
    state: &HttpState,
    item: StockId,
    command: Command,
    about: &About,
    hash: String,
) -> Result<Answer<CommandReply>, Refusal> {
    let id = item.to_string();
    let command = domain::Command::Stock { id: item, command };
    preconditions::check(&state.bus, &command).await.map_err(unmet)?;
    let reply = state.bus.send(command, about.meta(hash)).await;
    reply.map(|reply| Answer::done(id, reply)).map_err(refused)
}
