//! `GET /v1/products`, `/v1/products/{sku}`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::Sku;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{OneOf, PageQuery, ProductStatus, SkuText, Words as _};
use utoipa::ToSchema;

use super::answer::{Answer, Money, Refusals, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::stale::{self, Stale};
use crate::Handle;
use crate::projections::products;

const LIST: &str = "
select row_to_json(t) from (
  select p.sku, p.name, json_build_object('amount', p.price, 'currency', p.currency) as price, p.status, p.created_at,
    p.stream_version as version, p.updated_at
  from products p where p.sku > $1 and ($2::text is null or p.status = $2)
  order by p.sku limit $3) t";

const SHOW: &str = "
select row_to_json(t) from (
  select p.sku, p.name, json_build_object('amount', p.price, 'currency', p.currency) as price, p.status, p.created_at,
    p.stream_version as version, p.updated_at
  from products p where p.sku = $1) t";

/// A product of the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Product {
    /// The SKU of the product.
    #[schema(example = "TSHIRT-M")]
    pub sku: String,
    /// The product's name, for people.
    #[schema(example = "T-shirt, M")]
    pub name: String,
    /// The net price of one piece.
    pub price: Money,
    /// The status of the product.
    #[schema(value_type = ProductStatus)]
    pub status: String,
    /// The moment when it was added to the catalogue.
    pub created_at: Option<DateTime<Utc>>,
    /// The version of its stream.
    pub version: u64,
    /// The moment when it last changed.
    pub updated_at: DateTime<Utc>,
    /// Its parked streams: it does not reflect them beyond where they stand; not given where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// Products, by SKU.
#[utoipa::path(get, path = "/v1/products", tag = "products", operation_id = "listProducts",
    params(ConsistencyHeaders, ("status" = inline(Option<OneOf<ProductStatus>>), Query, description = "Only those with this status"),
        PageQuery),
    responses((status = 200, description = "A page of products, by SKU.", body = Page<Product>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Product>>, Problem> {
    params.only(&["status", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let after = cursor::decode::<String, String>(&params, "products")?.map(|(sku, _)| sku).unwrap_or_default();
    let query =
        json::<Product>(LIST).bind(after).bind(params.one_of("status", ProductStatus::WORDS)?).bind(look_up(limit));
    let reader = consistency.reader(&handle, &[products::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |product: &Product| [product.sku.clone(), String::new()];
    let page = Page::of(found, limit, |product| cursor::encode("products", &key(product)));
    let page = page.stale(reader.stale(stale::any));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}

/// A product.
#[utoipa::path(get, path = "/v1/products/{sku}", tag = "products", operation_id = "showProduct",
    params(("sku" = inline(SkuText), Path, description = "The product's SKU"), ConsistencyHeaders), responses((status = 200, description = "The product.", body = Product), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Product>, Problem> {
    params.only(&[])?;
    let sku: Sku = names.get("sku")?;
    let reader = consistency.reader(&handle, &[products::NAME]).await?;
    let product = reader.one(json::<Product>(SHOW).bind(sku.as_str())).await?;
    let mut product = product.ok_or_else(|| Problem::not_found(format_args!("there is no product `{sku}`")))?;
    product.stale = reader.stale(stale::stream(sku.product_stream()));
    let version = product.version;
    Ok(Answer::at(reader.position, product).version(version).waited(consistency.applied_s()))
}
