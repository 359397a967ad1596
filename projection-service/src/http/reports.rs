//! `GET /v1/reports/sales-by-day`.

use axum::extract::State;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{DayText, PageQuery, TimeZoneText};
use utoipa::ToSchema;

use super::answer::{Answer, Money, Refusals};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, look_up};
use super::params::Params;
use super::range::{Day, RANGE};
use super::stale;
use crate::Handle;
use crate::projections::{orders, payments, sales_by_day as sales};

const LIST: &str = "
select row_to_json(t) from (
  select s.day, s.currency, s.orders, s.units, json_build_object('amount', s.gross, 'currency', s.currency) as gross,
    json_build_object('amount', s.discounts, 'currency', s.currency) as discounts,
    json_build_object('amount', s.tax, 'currency', s.currency) as tax,
    json_build_object('amount', s.shipping, 'currency', s.currency) as shipping,
    json_build_object('amount', s.captured, 'currency', s.currency) as captured,
    json_build_object('amount', s.refunded, 'currency', s.currency) as refunded,
    json_build_object('amount', s.captured - s.refunded, 'currency', s.currency) as net, s.cancelled, s.rejected
  from sales_by_day s
  where (s.day, s.currency) < (coalesce($1, 'infinity'::date), $2)
    and ($3::date is null or s.day >= $3) and ($4::date is null or s.day <= $4)
  order by s.day desc, s.currency desc limit $5) t";

/// The same over the orders and payments themselves, for days in another time zone: $3 to $5 are the days and where each
/// begins and ends.
const LIST_IN_ZONE: &str = "
select row_to_json(t) from (
  select d.day, o.currency, count(*) filter (where o.sold) as orders,
    coalesce(sum(o.item_count) filter (where o.sold), 0)::bigint as units,
    json_build_object('amount', coalesce(sum(o.subtotal) filter (where o.sold), 0)::bigint, 'currency', o.currency) as gross,
    json_build_object('amount', coalesce(sum(o.discount) filter (where o.sold), 0)::bigint, 'currency', o.currency) as discounts,
    json_build_object('amount', coalesce(sum(o.tax) filter (where o.sold), 0)::bigint, 'currency', o.currency) as tax,
    json_build_object('amount', coalesce(sum(o.shipping) filter (where o.sold), 0)::bigint, 'currency', o.currency) as shipping,
    json_build_object('amount', coalesce(sum(p.captured), 0)::bigint, 'currency', o.currency) as captured, json_build_object('amount', coalesce(sum(p.refunded), 0)::bigint, 'currency', o.currency) as refunded,
    json_build_object('amount', coalesce(sum(p.captured - p.refunded), 0)::bigint, 'currency', o.currency) as net,
    count(*) filter (where o.status = 'cancelled') as cancelled, count(*) filter (where not o.sold) as rejected
  from unnest($3::date[], $4::timestamptz[], $5::timestamptz[]) as d(day, begins, ends)
  join lateral (
    select o.*, o.status <> 'rejected' as sold from orders o where o.placed_at >= d.begins and o.placed_at < d.ends) o on true
  left join lateral (
    select sum(p.captured) as captured, sum(p.refunded) as refunded from payments p where p.order_id = o.id) p on true
  where (d.day, o.currency) < (coalesce($1, 'infinity'::date), $2)
  group by d.day, o.currency order by d.day desc, o.currency desc limit $6) t";

/// The most days of a report in another time zone than UTC, which is made from the orders themselves.
const DAYS_IN_ZONE: usize = 31;

/// The sales of a day in a currency, by the day on which the orders were placed.
///
/// Days are those of `tz`; UTC if it is not given. Rejected orders are counted in `rejected` and nowhere else. Cancelled
/// orders are counted in `cancelled`, and their amounts stay in the sums.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SalesOfDay {
    /// The day on which the orders were placed.
    pub day: NaiveDate,
    /// The currency, an ISO 4217 code.
    #[schema(example = "EUR")]
    pub currency: String,
    /// The number of orders placed and not rejected.
    pub orders: i64,
    /// The number of pieces in these orders.
    pub units: i64,
    /// Gross sales: the value of the lines before discounts, without tax and shipping.
    pub gross: Money,
    /// Discounts on the lines.
    pub discounts: Money,
    /// Tax on lines and shipping.
    pub tax: Money,
    /// The cost of shipping, without tax.
    pub shipping: Money,
    /// The amount captured, also where a capture succeeded after the end of its payment.
    pub captured: Money,
    /// The amount refunded so far.
    pub refunded: Money,
    /// The amount that stays with the shop: `captured` − `refunded`.
    pub net: Money,
    /// The number of orders that were cancelled.
    pub cancelled: i64,
    /// The number of orders that were rejected.
    pub rejected: i64,
}

/// Sales by day, newest first.
#[utoipa::path(get, path = "/v1/reports/sales-by-day", tag = "reports", operation_id = "salesByDay",
    params(ConsistencyHeaders, ("from" = inline(Option<DayText>), Query, description = "The first day; it is included"),
        ("to" = inline(Option<DayText>), Query, description = "The last day; it is included"),
        ("tz" = inline(Option<TimeZoneText>), Query, description = "The time zone of the days; UTC if not given. In another zone than UTC, `from` and `to` are needed, at most 31 days"),
        PageQuery),
    responses((status = 200, description = "A page of days, the newest first.", body = Page<SalesOfDay>), Refusals))]
pub async fn sales_by_day(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<SalesOfDay>>, Problem> {
    params.only(&["from", "to", "tz", "limit", "cursor"])?;
    let limit = params.limit(MOST, MOST)?;
    let (day, currency) = cursor::decode::<NaiveDate, String>(&params, "sales-by-day")?.unzip();
    let currency = currency.unwrap_or_default();
    let (reader, query) = if params.zone()? == Tz::UTC {
        params.range(RANGE)?; // Refuses what is no range.
        let query = json::<SalesOfDay>(LIST).bind(day).bind(currency).bind(params.day("from")?).bind(params.day("to")?);
        (consistency.reader(&handle, &[sales::NAME]).await?, query)
    } else {
        let days = params.days(DAYS_IN_ZONE)?;
        let column = |of: fn(&Day) -> DateTime<Utc>| days.iter().map(of).collect::<Vec<_>>();
        let dates: Vec<NaiveDate> = days.iter().map(|day| day.date).collect();
        let query = json::<SalesOfDay>(LIST_IN_ZONE).bind(day).bind(currency).bind(dates);
        let query = query.bind(column(|day| day.begins)).bind(column(|day| day.ends));
        (consistency.reader(&handle, &[orders::NAME, payments::NAME]).await?.heavy(), query)
    };
    let found = reader.list(query.bind(look_up(limit))).await?;
    let key = |sales: &SalesOfDay| [sales.day.to_string(), sales.currency.clone()];
    let page = Page::of(found, limit, |sales| cursor::encode("sales-by-day", &key(sales)));
    let page = page.stale(reader.stale(stale::any)); // A sum is over all streams.
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}
