//! `/v1/products`: the catalogue.

use axum::extract::State;
use domain::ids::Sku;
use domain::money::Money;
use domain::product::{ActivateProduct, ChangeProductPrice, Command, CreateProduct, DiscontinueProduct};
use serde::{Deserialize, Serialize};
use service_kit::api::{NewSkuText, ProductNameText};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::extract::{About, Body, CommandHeaders, Of};
use super::problems::{Refusal, Refusals, refused};
use super::reply::{Answer, CommandReply};
use super::schema::{Nothing, Price, ProductPath};

pub(super) fn router() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(change_price))
        .routes(routes!(activate))
        .routes(routes!(discontinue))
}

/// A product to take into the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProductBody {
    /// The product's stock keeping unit, its name for ever: 1 to 64 of `A-Z a-z 0-9 . _ -`, but neither `.` nor `..`.
    #[schema(value_type = NewSkuText, inline)]
    pub sku: Sku,
    /// The product's name, for people: 1 to 200 characters.
    #[schema(value_type = ProductNameText, inline)]
    pub name: String,
    /// Net price of one piece.
    #[schema(value_type = Price)]
    pub price: Money,
    /// Whether it can be ordered at once; `true` where it is not given.
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}

/// The new price of a product.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePriceBody {
    /// Net price of one piece, in the product's currency.
    #[schema(value_type = Price)]
    pub price: Money,
}

/// Takes a product into the catalogue.
#[utoipa::path(post, path = "/v1/products", tag = "products", operation_id = "createProduct", params(CommandHeaders),
    request_body = CreateProductBody,
    responses((status = 201, description = "The product is in the catalogue; `Location` is its path.", body = CommandReply), Refusals))]
async fn create(
    State(state): State<HttpState>,
    about: About,
    body: Body<CreateProductBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let CreateProductBody { sku, name, price, active } = body.value;
    let command = Command::CreateProduct(CreateProduct { sku: sku.clone(), name, price, active });
    let reply = send(&state, &sku, command, &about, body.hash).await?;
    Ok(Answer::created(format!("/v1/products/{sku}"), reply, CommandReply::new(&sku, &reply)))
}

/// Changes the net price; orders already placed keep theirs.
#[utoipa::path(post, path = "/v1/products/{sku}/price", tag = "products", operation_id = "changeProductPrice",
    params(ProductPath, CommandHeaders), request_body = ChangePriceBody,
    responses((status = 200, description = "The price is changed.", body = CommandReply), Refusals))]
async fn change_price(
    State(state): State<HttpState>,
    Of(sku): Of<Sku>,
    about: About,
    body: Body<ChangePriceBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = Command::ChangeProductPrice(ChangeProductPrice { price: body.value.price });
    send(&state, &sku, command, &about, body.hash).await.map(|reply| Answer::done(&sku, reply))
}

/// Makes the product orderable.
#[utoipa::path(post, path = "/v1/products/{sku}/activate", tag = "products", operation_id = "activateProduct",
    params(ProductPath, CommandHeaders),
    responses((status = 200, description = "The product can be ordered.", body = CommandReply), Refusals))]
async fn activate(
    State(state): State<HttpState>,
    Of(sku): Of<Sku>,
    about: About,
    body: Body<Nothing>,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = Command::ActivateProduct(ActivateProduct {});
    send(&state, &sku, command, &about, body.hash).await.map(|reply| Answer::done(&sku, reply))
}

/// Takes the product off sale; orders already placed are not touched.
#[utoipa::path(post, path = "/v1/products/{sku}/discontinue", tag = "products", operation_id = "discontinueProduct",
    params(ProductPath, CommandHeaders),
    responses((status = 200, description = "The product can no longer be ordered.", body = CommandReply), Refusals))]
async fn discontinue(
    State(state): State<HttpState>,
    Of(sku): Of<Sku>,
    about: About,
    body: Body<Nothing>,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = Command::DiscontinueProduct(DiscontinueProduct {});
    send(&state, &sku, command, &about, body.hash).await.map(|reply| Answer::done(&sku, reply))
}

async fn send(
    state: &HttpState,
    sku: &Sku,
    command: Command,
    about: &About,
    hash: String,
) -> Result<crate::Reply, Refusal> {
    let command = domain::Command::Product { id: sku.clone(), command };
    state.bus.send(command, about.meta(hash)).await.map_err(refused)
}
