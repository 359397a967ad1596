//! `GET /v1/reports/sales-by-day`.

use axum::extract::State;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{MomentText, PageQuery};
use utoipa::ToSchema;

use super::answer::{Answer, Money, Refusals};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, look_up};
use super::params::Params;
use super::stale;
use crate::Handle;
use crate::projections::sales_by_day as sales;

const LIST: &str = "
select row_to_json(t) from (
  select s.day, s.currency, s.orders, s.units, json_build_object('amount', s.gross, 'currency', s.currency) as gross,
    json_build_object('amount', s.discounts, 'currency', s.currency) as discounts,
    json_build_object('amount', s.tax, 'currency', s.currency) as tax,
    json_build_object('amount', s.shipping, 'currency', s.currency) as shipping,
    json_build_object('amount', s.captured, 'currency', s.currency) as captured,
    json_build_object('amount', s.refunded, 'currency', s.currency) as refunded,
    json_build_object('amount', s.captured - s.refunded, 'currency', s.currency) as net, s.cancelled
  from sales_by_day s
  where (s.day, s.currency) < (coalesce($1, 'infinity'::date), $2)
    and ($3::date is null or s.day >= $3) and ($4::date is null or s.day <= $4)
  order by s.day desc, s.currency desc limit $5) t";

/// The sales of a UTC day in a currency, by the day on which the orders were placed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SalesOfDay {
    /// The UTC day.
    pub day: NaiveDate,
    /// The currency, an ISO 4217 code.
    #[schema(example = "EUR")]
    pub currency: String,
    /// Orders placed.
    pub orders: i64,
    /// Pieces ordered.
    pub units: i64,
    /// Net value of the lines.
    pub gross: Money,
    /// The discounts.
    pub discounts: Money,
    /// The tax.
    pub tax: Money,
    /// The net price of shipping.
    pub shipping: Money,
    /// The money taken.
    pub captured: Money,
    /// The money given back.
    pub refunded: Money,
    /// `captured` − `refunded`.
    pub net: Money,
    /// Orders that were cancelled or rejected.
    pub cancelled: i64,
}

/// Sales by day, newest first.
#[utoipa::path(get, path = "/v1/reports/sales-by-day", tag = "reports", operation_id = "salesByDay",
    params(ConsistencyHeaders, ("from" = inline(Option<MomentText>), Query, description = "The first day"),
        ("to" = inline(Option<MomentText>), Query, description = "The last day"),
        PageQuery),
    responses((status = 200, description = "A page of days, the newest first.", body = Page<SalesOfDay>), Refusals))]
pub async fn sales_by_day(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<SalesOfDay>>, Problem> {
    params.only(&["from", "to", "limit", "cursor"])?;
    let limit = params.limit(MOST, MOST)?;
    let (day, currency) = cursor::decode::<NaiveDate, String>(&params, "sales-by-day")?.unzip();
    let bound = |name| params.moment(name).map(|moment| moment.map(|moment| moment.date_naive()));
    let query = json::<SalesOfDay>(LIST)
        .bind(day)
        .bind(currency.unwrap_or_default())
        .bind(bound("from")?)
        .bind(bound("to")?)
        .bind(look_up(limit));
    let reader = consistency.reader(&handle, &[sales::NAME]).await?;
    let found = reader.list(query).await?;
    let key = |sales: &SalesOfDay| [sales.day.to_string(), sales.currency.clone()];
    let page = Page::of(found, limit, |sales| cursor::encode("sales-by-day", &key(sales)));
    let page = page.stale(reader.stale(stale::any)); // A sum is over all streams.
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}
