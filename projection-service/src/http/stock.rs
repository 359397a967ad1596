//! `GET /v1/stock`, `/v1/stock/{sku}/{location}`, `/v1/reservations`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::{Location, Sku};
use event_store::StreamName;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{LocationText, OneOf, PageQuery, ReservationState, SkuText, TimeSpanText, Words as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::stale::{self, Stale};
use crate::Handle;
use crate::projections::stock;
use projection_engine::dead_letters::Letter;

/// At or below so many available pieces an item is low, until items have a threshold of their own.
const LOW_STOCK: i64 = 5;

const LIST: &str = "
select row_to_json(t) from (
  select s.sku, s.location, s.on_hand, s.reserved, s.committed, s.available, s.available <= $6 as low_stock, s.received,
    s.adjusted, s.shipped, s.restocked, s.stream_version as version, s.updated_at
  from stock_levels s
  where (s.sku, s.location) > ($1, $2) and ($3::text is null or s.sku = $3) and ($4::text is null or s.location = $4)
    and ($5::bigint is null or s.available <= $5)
  order by s.sku, s.location limit $7) t";

const SHOW: &str = "
select row_to_json(t) from (
  select s.sku, s.location, s.on_hand, s.reserved, s.committed, s.available, s.available <= $3 as low_stock, s.received,
    s.adjusted, s.shipped, s.restocked, s.stream_version as version, s.updated_at
  from stock_levels s where s.sku = $1 and s.location = $2) t";

const RESERVATIONS: &str = "
select row_to_json(t) from (
  select r.reservation_id, r.order_id, r.sku, r.location, r.quantity, r.state, r.expires_at, r.ended_at, r.reason,
    r.updated_at
  from reservations r
  where r.reservation_id > coalesce($1, '00000000-0000-0000-0000-000000000000'::uuid)
    and ($2::uuid is null or r.order_id = $2) and ($3::text is null or r.sku = $3)
    and ($4::text is null or r.location = $4) and ($5::text is null or r.state = $5)
    and ($6::timestamptz is null or (r.state = 'reserved' and r.expires_at < $6))
  order by r.reservation_id limit $7) t";

/// The stock of an item at a location, in pieces.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StockLevel {
    /// The SKU of the product.
    #[schema(example = "TSHIRT-M")]
    pub sku: String,
    /// The location of the stock.
    #[schema(example = "main")]
    pub location: String,
    /// The number of pieces in the warehouse, the reserved ones included.
    #[schema(example = 10)]
    pub on_hand: i64,
    /// The pieces of these that are reserved for orders that are not confirmed yet.
    #[schema(example = 2)]
    pub reserved: i64,
    /// The pieces of these that are reserved for confirmed orders.
    #[schema(example = 1)]
    pub committed: i64,
    /// The pieces that can be ordered.
    #[schema(example = 7)]
    pub available: i64,
    /// Whether at most 5 pieces are available.
    pub low_stock: bool,
    /// The pieces that ever came in.
    pub received: i64,
    /// The sum of all corrections.
    pub adjusted: i64,
    /// The pieces that ever left.
    pub shipped: i64,
    /// The pieces that ever came back.
    pub restocked: i64,
    /// The version of the item's stream.
    pub version: u64,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Its parked streams: it does not reflect them beyond where they stand; not given where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// A reservation: pieces of an item held for an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reservation {
    /// The id of the reservation.
    pub reservation_id: Uuid,
    /// The id of the order that the pieces are reserved for.
    pub order_id: Uuid,
    /// The SKU of the reserved product.
    #[schema(example = "TSHIRT-M")]
    pub sku: String,
    /// The location of the stock.
    #[schema(example = "main")]
    pub location: String,
    /// The number of pieces; 0 if the reservation was given up before it was made.
    pub quantity: i64,
    /// The state of the reservation.
    #[schema(value_type = ReservationState)]
    pub state: String,
    /// The moment when it expires, while it is `reserved`.
    pub expires_at: Option<DateTime<Utc>>,
    /// The moment when the reservation ended; null while it is open.
    pub ended_at: Option<DateTime<Utc>>,
    /// The reason for which it was released.
    pub reason: Option<String>,
    /// The moment when it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Stock levels, by SKU and location.
#[utoipa::path(get, path = "/v1/stock", tag = "stock", operation_id = "listStock",
    params(ConsistencyHeaders, ("sku" = inline(Option<SkuText>), Query, description = "Only those of this SKU"), ("location" = inline(Option<LocationText>), Query, description = "Only those at this location"),
        ("low" = Option<String>, Query, pattern = "^(true|false|[0-9]{1,13})$", description = "`true`: only items with at most 5 available pieces; a number: only items with at most so many"),
        PageQuery),
    responses((status = 200, description = "A page of stock levels, by SKU and location.", body = Page<StockLevel>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<StockLevel>>, Problem> {
    params.only(&["sku", "location", "low", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let (sku, location) = cursor::decode::<String, String>(&params, "stock")?.unzip();
    let low = match params.raw("low") {
        Some("true") => Some(LOW_STOCK),
        Some("false") | None => None,
        Some(_) => params.get::<i64>("low")?,
    };
    let (sku_only, location_only) = item(&params)?;
    let query = json::<StockLevel>(LIST)
        .bind(sku.unwrap_or_default())
        .bind(location.unwrap_or_default())
        .bind(sku_only.clone())
        .bind(location_only.clone())
        .bind(low)
        .bind(LOW_STOCK)
        .bind(look_up(limit));
    let reader = consistency.reader(&handle, &[stock::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |level: &StockLevel| [level.sku.clone(), level.location.clone()];
    let page = Page::of(found, limit, |level| cursor::encode("stock", &key(level)));
    let page = page.stale(reader.stale(of_item(sku_only, location_only)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}

/// The item and the place that a list is narrowed down to.
fn item(params: &Params) -> Result<(Option<String>, Option<String>), Problem> {
    let sku = params.get::<Sku>("sku")?.map(String::from);
    Ok((sku, params.get::<Location>("location")?.map(String::from)))
}

/// Whether a parked stream is of such an item.
fn of_item(sku: Option<String>, location: Option<String>) -> impl Fn(&StreamName, &Letter) -> bool {
    move |stream, _| {
        let (of, at) = stream.id().split_once('@').unwrap_or_default();
        sku.as_ref().is_none_or(|sku| sku == of) && location.as_ref().is_none_or(|location| location == at)
    }
}

/// What there is of an item at a place.
#[utoipa::path(get, path = "/v1/stock/{sku}/{location}", tag = "stock", operation_id = "showStock",
    params(("sku" = inline(SkuText), Path, description = "The product's SKU"), ("location" = inline(LocationText), Path, description = "The location of the stock"), ConsistencyHeaders),
    responses((status = 200, description = "The stock level of the item at the location.", body = StockLevel), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<StockLevel>, Problem> {
    params.only(&[])?;
    let (sku, location): (Sku, Location) = (names.get("sku")?, names.get("location")?);
    let reader = consistency.reader(&handle, &[stock::NAME]).await?;
    let query = json::<StockLevel>(SHOW).bind(sku.as_str()).bind(location.as_str()).bind(LOW_STOCK);
    let level = reader.one(query).await?;
    let missing = || Problem::not_found(format_args!("there has never been any `{sku}` at `{location}`"));
    let mut level = level.ok_or_else(missing)?;
    level.stale = reader.stale(stale::stream(format!("stock-{sku}@{location}")));
    let version = level.version;
    Ok(Answer::at(reader.position, level).version(version).waited(consistency.applied_s()))
}

/// Reservations.
#[utoipa::path(get, path = "/v1/reservations", tag = "stock", operation_id = "listReservations",
    params(ConsistencyHeaders, ("order_id" = Option<Uuid>, Query, description = "Only those of this order"), ("sku" = inline(Option<SkuText>), Query, description = "Only those of this SKU"),
        ("location" = inline(Option<LocationText>), Query, description = "Only those at this location"), ("state" = inline(Option<OneOf<ReservationState>>), Query, description = "Only those in this state"),
        ("expiring_within" = inline(Option<TimeSpanText>), Query, description = "Only those that lapse within a time span such as `5m`"),
        PageQuery),
    responses((status = 200, description = "A page of reservations.", body = Page<Reservation>), Refusals))]
pub async fn reservations(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Reservation>>, Problem> {
    params.only(&["order_id", "sku", "location", "state", "expiring_within", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let after = cursor::decode::<Uuid, Uuid>(&params, "reservations")?;
    let before = params.duration("expiring_within")?.map(|within| handle.clock.now() + within);
    let (sku_only, location_only) = item(&params)?;
    let query = json::<Reservation>(RESERVATIONS)
        .bind(after.map(|(after, _)| after))
        .bind(params.get::<Uuid>("order_id")?)
        .bind(sku_only.clone())
        .bind(location_only.clone())
        .bind(params.one_of("state", ReservationState::WORDS)?)
        .bind(before)
        .bind(look_up(limit));
    let reader = consistency.reader(&handle, &[stock::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |reservation: &Reservation| [reservation.reservation_id, reservation.order_id].map(|id| id.to_string());
    let page = Page::of(found, limit, |reservation| cursor::encode("reservations", &key(reservation)));
    let page = page.stale(reader.stale(of_item(sku_only, location_only)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}
