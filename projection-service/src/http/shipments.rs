//! `GET /v1/shipments`, `/v1/shipments/{id}`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{OneOf, PageQuery, ShipmentStatus, Words as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::stale::{self, Stale};
use crate::Handle;
use crate::projections::shipments;

const LIST: &str = "
select row_to_json(t) from (
  select s.id, s.order_id, s.status, s.lines, s.reason, s.began_at, s.planned_at, s.ready_at, s.dispatched_at,
    s.ended_at, s.stream_version as version, s.updated_at
  from shipments s
  where (s.began_at, s.id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    and ($3::uuid is null or s.order_id = $3) and ($4::text is null or s.status = $4)
  order by s.began_at desc, s.id desc limit $5) t";

const SHOW: &str = "
select row_to_json(t) from (
  select s.id, s.order_id, s.status, s.lines, s.reason, s.began_at, s.planned_at, s.ready_at, s.dispatched_at,
    s.ended_at, s.stream_version as version, s.updated_at
  from shipments s where s.id = $1) t";

/// A shipment with its lines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Shipment {
    /// The id of the shipment.
    pub id: Uuid,
    /// The id of its order.
    pub order_id: Uuid,
    /// The status of the shipment.
    #[schema(value_type = ShipmentStatus)]
    pub status: String,
    /// The lines to pack.
    pub lines: Vec<ShipmentLine>,
    /// The reason for which it was lost or cancelled.
    pub reason: Option<String>,
    /// The moment of its first event.
    pub began_at: DateTime<Utc>,
    /// The moment when it was planned.
    pub planned_at: Option<DateTime<Utc>>,
    /// The moment when the warehouse had packed it.
    pub ready_at: Option<DateTime<Utc>>,
    /// The moment when it left the house.
    pub dispatched_at: Option<DateTime<Utc>>,
    /// The moment when it was delivered, lost or cancelled.
    pub ended_at: Option<DateTime<Utc>>,
    /// The version of its stream.
    pub version: u64,
    /// The moment when it last changed.
    pub updated_at: DateTime<Utc>,
    /// Its parked streams: it does not reflect them beyond where they stand; not given where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// The pieces of one item to pack.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ShipmentLine {
    /// The SKU of the product.
    #[schema(example = "TSHIRT-M")]
    pub sku: String,
    /// The location that it is shipped from.
    #[schema(example = "main")]
    pub location: String,
    /// The number of pieces.
    #[schema(example = 2)]
    pub quantity: i64,
}

/// Shipments, newest first.
#[utoipa::path(get, path = "/v1/shipments", tag = "shipments", operation_id = "listShipments",
    params(ConsistencyHeaders, ("order_id" = Option<Uuid>, Query, description = "Only those of this order"),
        ("status" = inline(Option<OneOf<ShipmentStatus>>), Query, description = "Only those with this status"),
        PageQuery),
    responses((status = 200, description = "A page of shipments, the newest first.", body = Page<Shipment>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Shipment>>, Problem> {
    params.only(&["order_id", "status", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let (began_at, id) = cursor::decode::<DateTime<Utc>, Uuid>(&params, "shipments")?.unzip();
    let order_id = params.get::<Uuid>("order_id")?;
    let query = json::<Shipment>(LIST)
        .bind(began_at)
        .bind(id)
        .bind(order_id)
        .bind(params.one_of("status", ShipmentStatus::WORDS)?)
        .bind(look_up(limit));
    let reader = consistency.reader(&handle, &[shipments::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |shipment: &Shipment| [shipment.began_at.to_rfc3339(), shipment.id.to_string()];
    let page = Page::of(found, limit, |shipment| cursor::encode("shipments", &key(shipment)));
    let page = page.stale(reader.stale(stale::of_order_or_any(order_id)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}

/// A shipment.
#[utoipa::path(get, path = "/v1/shipments/{id}", tag = "shipments", operation_id = "showShipment",
    params(("id" = Uuid, Path, description = "The shipment's id"), ConsistencyHeaders), responses((status = 200, description = "The shipment.", body = Shipment), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Shipment>, Problem> {
    params.only(&[])?;
    let id: Uuid = names.get("id")?;
    let reader = consistency.reader(&handle, &[shipments::NAME]).await?;
    let shipment = reader.one(json::<Shipment>(SHOW).bind(id)).await?;
    let mut shipment = shipment.ok_or_else(|| Problem::not_found(format_args!("there is no shipment `{id}`")))?;
    shipment.stale = reader.stale(stale::stream(format!("shipment-{id}")));
    let version = shipment.version;
    Ok(Answer::at(reader.position, shipment).version(version).waited(consistency.applied_s()))
}
