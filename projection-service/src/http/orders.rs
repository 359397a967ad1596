//! `GET /v1/orders`, `/v1/orders/{id or number}`, its timeline, and a customer's orders.

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::Sku;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{
    FulfilmentStatus, HoldReasonWord, LogPosition, MomentText, OneOf, OrderPath, OrderStatus, PageQuery, PaymentStatus,
    SagaState, SkuText, TimeZoneText, Until, Words as _,
};
use tokio::time::timeout_at;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Money, Refusals, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, Reader, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::range::RANGE;
use super::stale::{self, Stale};
use super::wanted::Wanted;
use crate::Handle;
use crate::projections::{order_timeline, orders, payments, saga_view, shipments};

/// What an order's answer is made of.
const PARTS: &[&str] = &[orders::NAME, payments::NAME, shipments::NAME, saga_view::NAME];
const LISTED: &[&str] = &[orders::NAME, payments::NAME, shipments::NAME];

const SHOW: &str = "
select row_to_json(t) from (
  select d.id, d.number, d.customer_id, d.status, d.payment_status, d.fulfilment_status, lower(d.held_reason) as held_reason,
    (select coalesce(json_agg(lower(h.reason) order by h.nth), '[]')
      from jsonb_array_elements_text(d.held_reasons) with ordinality as h(reason, nth)) as held_reasons,
    d.reason, d.customer_reason,
    json_build_object('amount', d.subtotal, 'currency', d.currency) as subtotal,
    json_build_object('amount', d.discount, 'currency', d.currency) as discount,
    json_build_object('amount', d.tax, 'currency', d.currency) as tax,
    json_build_object('amount', d.shipping, 'currency', d.currency) as shipping,
    json_build_object('amount', d.total, 'currency', d.currency) as total,
    json_build_object('amount', d.authorized, 'currency', d.currency) as authorized,
    json_build_object('amount', d.captured, 'currency', d.currency) as captured,
    json_build_object('amount', d.refunded, 'currency', d.currency) as refunded,
    (select coalesce(json_agg(json_build_object('line', l.line, 'sku', l.sku, 'location', l.location, 'name', l.name,
        'quantity', l.quantity,
        'unit_price', json_build_object('amount', l.unit_price, 'currency', l.currency),
        'net', json_build_object('amount', l.net, 'currency', l.currency),
        'discount_share', json_build_object('amount', l.discount_share, 'currency', l.currency),
        'tax_share', json_build_object('amount', l.tax_share, 'currency', l.currency)) order by l.line), '[]')
      from order_lines l where l.order_id = d.id) as lines,
    d.item_count, d.tags, d.placed_at, d.confirmed_at, d.shipped_at, d.completed_at, d.cancelled_at, d.payment_id,
    d.failure_code as payment_failure, d.action_url, d.shipment_id, d.saga_id as saga, d.saga_state, d.settled,
    d.needs_attention,
    d.stream_version as version, d.updated_at
  from order_details d where d.id = $1) t";

/// A list of orders: `$page` finds the ids of a page, and what belongs to its orders follows.
macro_rules! list_of {
    ($page:literal) => {
        concat!(
            $page,
            "
select row_to_json(t) from (
  select o.id, o.number, o.customer_id, o.status, o.payment_status, o.fulfilment_status, lower(o.held_reason) as held_reason,
    (select coalesce(json_agg(lower(h.reason) order by h.nth), '[]')
      from jsonb_array_elements_text(o.held_reasons) with ordinality as h(reason, nth)) as held_reasons,
    o.reason, o.customer_reason,
    json_build_object('amount', o.total, 'currency', o.currency) as total, o.item_count, o.tags, o.placed_at,
    o.stream_version as version, o.updated_at
  from page p cross join lateral (select * from order_list o where o.id = p.id offset 0) o
  order by p.placed_at desc, p.id desc) t"
        )
    };
}

// The page is found first, in the orders alone; payments and shipments are then looked up for its orders and for no others.
// In one step Postgres may join them for every order that fits and sort afterwards: it does so while it has no statistics of
// the table, and where it takes filters for rarer than they are together. `offset 0` keeps it from merging both steps.
const LIST: &str = list_of!("
with page as materialized (
  select o.id, o.placed_at from orders o
  where o.placed_at is not null
    and (o.placed_at, o.id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    and ($3::text is null or o.status = $3) and ($4::uuid is null or o.customer_id = $4)
    and $5::text is null
    and ($6::boolean is null or (o.held_reason is not null) = $6)
    and ($7::timestamptz is null or o.placed_at >= $7) and ($8::timestamptz is null or o.placed_at < $8)
    and ($9::bigint is null or o.total >= $9) and ($10::bigint is null or o.total <= $10)
  order by o.placed_at desc, o.id desc limit $11)");

/// As [`LIST`], along the lines of one SKU: they are found in the list's order, however many or few there are.
const LIST_OF_SKU: &str = list_of!(
    "
with page as materialized (
  select l.order_id as id, l.placed_at from (
    select distinct l.placed_at, l.order_id from order_lines l
    where l.sku = $5 and (l.placed_at, l.order_id)
        < (coalesce($1, 'infinity'::timestamptz), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
      and ($7::timestamptz is null or l.placed_at >= $7) and ($8::timestamptz is null or l.placed_at < $8)
    order by l.placed_at desc, l.order_id desc) l
  join orders o on o.id = l.order_id
  where o.placed_at is not null
    and ($3::text is null or o.status = $3) and ($4::uuid is null or o.customer_id = $4)
    and ($6::boolean is null or (o.held_reason is not null) = $6)
    and ($9::bigint is null or o.total >= $9) and ($10::bigint is null or o.total <= $10)
  order by l.placed_at desc, l.order_id desc limit $11)"
);

const TIMELINE: &str = "
select row_to_json(t) from (
  select t.position, t.stream, t.version, t.event_id, t.event_type as type, t.actor, t.correlation_id, t.causation_id, t.command_id,
    t.trace_id, t.summary, t.occurred_at
  from order_timeline t where t.order_id = $1 and t.position > coalesce($2, 0)
  order by t.position limit $3) t";

// All columns are in `orders_by_customer_and_status`: the index is read, and the table only where rows changed lately.
const LIFETIME: &str = "
select row_to_json(t) from (
  select count(*) as orders, json_build_object('amount', sum(total)::bigint, 'currency', currency) as total
  from orders
  where customer_id = $1 and placed_at is not null and status not in ('cancelled', 'rejected') group by currency order by currency) t";

/// An order with its lines, payments and shipments.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Order {
    /// The id of the order.
    pub id: Uuid,
    /// The order's number, for people: 12 characters without I, L, O and U.
    #[schema(example = "4QX9K2M7R1TB")]
    pub number: String,
    /// The id of its customer.
    pub customer_id: Uuid,
    /// The status of the order.
    #[schema(value_type = OrderStatus)]
    pub status: String,
    /// The status of its money. With several payments the latest authorization decides.
    #[schema(value_type = PaymentStatus)]
    pub payment_status: String,
    /// The status of its goods.
    #[schema(value_type = FulfilmentStatus)]
    pub fulfilment_status: String,
    /// The oldest reason for which it must not be dispatched; null: it may.
    #[schema(value_type = Option<HoldReasonWord>)]
    pub held_reason: Option<String>,
    /// All reasons for which it must not be dispatched, the oldest first.
    #[schema(value_type = Vec<HoldReasonWord>)]
    pub held_reasons: Vec<String>,
    /// The reason for which it is being cancelled, was cancelled or was rejected: a stable word such as
    /// `customer_request`, `payment_declined` or `capture_failed`.
    pub reason: Option<String>,
    /// The words of the customer who asked for the cancellation.
    pub customer_reason: Option<String>,
    /// The net value of the lines.
    pub subtotal: Money,
    /// The discount, taken off the subtotal.
    pub discount: Money,
    /// The tax on lines and shipping.
    pub tax: Money,
    /// The net price of shipping.
    pub shipping: Money,
    /// The sum that the customer pays.
    pub total: Money,
    /// The money held by the payment that decides.
    pub authorized: Money,
    /// The money taken, over all payments.
    pub captured: Money,
    /// The money given back, over all payments.
    pub refunded: Money,
    /// The lines, in the order in which they were placed.
    pub lines: Vec<Line>,
    /// The number of pieces over all lines.
    #[schema(example = 3)]
    pub item_count: i64,
    /// The labels that it was placed with.
    pub tags: Vec<String>,
    /// The moment when it was placed.
    pub placed_at: DateTime<Utc>,
    /// The moment when it was confirmed: stock and money are held.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The moment when its goods left the house.
    pub shipped_at: Option<DateTime<Utc>>,
    /// The moment when it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// The moment when it was cancelled or rejected.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// The id of the payment that decides.
    pub payment_id: Option<Uuid>,
    /// The provider's reason, if the payment failed.
    pub payment_failure: Option<String>,
    /// The page where the customer must confirm the payment.
    pub action_url: Option<String>,
    /// The id of its shipment.
    pub shipment_id: Option<Uuid>,
    /// The id of the saga that carries it: `/v1/sagas/{saga}`.
    pub saga: Option<String>,
    /// The state of that saga.
    #[schema(value_type = Option<SagaState>)]
    pub saga_state: Option<String>,
    /// Whether nothing happens any more until somebody outside acts.
    pub settled: bool,
    /// Whether that somebody is a person of the shop: a saga of the order stands still and its money or goods wait for a
    /// decision. `GET /v1/sagas/{saga}/why` says what is wrong and what can be done.
    pub needs_attention: bool,
    /// The version of the order's stream; also the `ETag`.
    pub version: u64,
    /// The position that the answer reflects; also `X-Position`.
    #[schema(value_type = LogPosition)]
    #[serde(default)]
    pub position: u64,
    /// The moment when it last changed.
    pub updated_at: DateTime<Utc>,
    /// The parked streams of it, its payments, shipments and sagas; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// A line of an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderLine)]
pub struct Line {
    /// The line's number, from 1.
    #[schema(example = 1)]
    pub line: i32,
    /// The SKU of the product that was ordered.
    #[schema(example = "TSHIRT-M")]
    pub sku: String,
    /// The location that it is shipped from.
    #[schema(example = "main")]
    pub location: String,
    /// The product's name when the order was placed.
    #[schema(example = "T-shirt, M")]
    pub name: String,
    /// The number of pieces.
    #[schema(example = 2)]
    pub quantity: i64,
    /// The net price of one piece when the order was placed.
    pub unit_price: Money,
    /// The net price of the line.
    pub net: Money,
    /// The line's share of the discount.
    pub discount_share: Money,
    /// The line's share of the tax.
    pub tax_share: Money,
}

/// An order in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ListedOrder {
    /// The id of the order.
    pub id: Uuid,
    /// The order's number, for people: 12 characters without I, L, O and U.
    #[schema(example = "4QX9K2M7R1TB")]
    pub number: String,
    /// The id of its customer.
    pub customer_id: Uuid,
    /// The status of the order.
    #[schema(value_type = OrderStatus)]
    pub status: String,
    /// The status of its money. With several payments the latest authorization decides.
    #[schema(value_type = PaymentStatus)]
    pub payment_status: String,
    /// The status of its goods.
    #[schema(value_type = FulfilmentStatus)]
    pub fulfilment_status: String,
    /// The reason for which it must not be dispatched; null: it may.
    #[schema(value_type = Option<HoldReasonWord>)]
    pub held_reason: Option<String>,
    /// All reasons for which it must not be dispatched, the oldest first.
    #[schema(value_type = Vec<HoldReasonWord>)]
    pub held_reasons: Vec<String>,
    /// The reason for which it is being cancelled, was cancelled or was rejected, as a stable word.
    pub reason: Option<String>,
    /// The words of the customer who asked for the cancellation.
    pub customer_reason: Option<String>,
    /// The sum that the customer pays.
    pub total: Money,
    /// The number of pieces over all lines.
    #[schema(example = 3)]
    pub item_count: i64,
    /// The labels that it was placed with.
    pub tags: Vec<String>,
    /// The moment when it was placed.
    pub placed_at: DateTime<Utc>,
    /// The version of the order's stream.
    pub version: u64,
    /// The moment when it last changed.
    pub updated_at: DateTime<Utc>,
}

/// An event in the timeline of an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderTimelineEntry)]
pub struct TimelineEntry {
    /// The event's position in the log.
    #[schema(value_type = LogPosition)]
    pub position: u64,
    /// The name of the event's stream.
    #[schema(example = "stock-TSHIRT-M@main")]
    pub stream: String,
    /// The event's version in its stream.
    pub version: u64,
    /// The id of the event.
    pub event_id: Uuid,
    /// The type of the event.
    #[schema(example = "StockReserved")]
    pub r#type: String,
    /// The person, saga or provider that asked for it.
    #[schema(example = "saga:order_fulfilment")]
    pub actor: String,
    /// The id of the client's request from which everything follows.
    pub correlation_id: Uuid,
    /// The id of the command or event that it follows from.
    pub causation_id: Uuid,
    /// The id of the command that made it.
    pub command_id: Uuid,
    /// The W3C trace that it belongs to.
    pub trace_id: Option<String>,
    /// The event in a few words.
    pub summary: String,
    /// The moment when it occurred.
    pub occurred_at: DateTime<Utc>,
}

/// A customer's orders, newest first, and their sums.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CustomerOrders {
    /// The page of the list of orders.
    #[serde(flatten)]
    pub page: Page<ListedOrder>,
    /// The sums over all orders that were not cancelled or rejected, by currency.
    pub lifetime: Vec<Lifetime>,
}

/// The number and the sum of a customer's orders in a currency.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = CustomerTotal)]
pub struct Lifetime {
    /// The number of orders in this currency.
    pub orders: i64,
    /// The sum of their totals.
    pub total: Money,
}

/// Orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", operation_id = "listOrders",
    params(ConsistencyHeaders,
        ("status" = inline(Option<OneOf<OrderStatus>>), Query, description = "Only those with this status"),
        ("customer_id" = Option<Uuid>, Query, description = "Only this customer's"),
        ("customer" = Option<Uuid>, Query, deprecated, description = "The name of `customer_id` before 0.3"),
        ("sku" = inline(Option<SkuText>), Query, description = "Only orders with a line of this SKU"),
        ("held" = Option<bool>, Query, description = "Only held ones, or only others"),
        ("from" = inline(Option<MomentText>), Query, description = "The first day or moment of placing; it is included"),
        ("to" = inline(Option<MomentText>), Query, description = "The last day or moment; it is included: `from=2026-11-21&to=2026-11-21` is that whole day"),
        ("tz" = inline(Option<TimeZoneText>), Query, description = "The time zone of days; UTC if not given"),
        ("min_total" = Option<i64>, Query, description = "In minor units"),
        ("max_total" = Option<i64>, Query, description = "In minor units"),
        PageQuery),
    responses((status = 200, description = "A page of orders, the newest first.", body = Page<ListedOrder>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<ListedOrder>>, Problem> {
    params.only(&[
        "status",
        "customer_id",
        "customer",
        "sku",
        "held",
        "from",
        "to",
        "tz",
        "min_total",
        "max_total",
        "limit",
        "cursor",
    ])?;
    let (customer, customer_of_old) = (params.get::<Uuid>("customer_id")?, params.get::<Uuid>("customer")?);
    let customer = customer.or(customer_of_old);
    let reader_of = consistency.reader(&handle, LISTED);
    page_of_orders(&params, customer, reader_of).await
}

/// A customer's orders, newest first, and what they come to.
#[utoipa::path(get, path = "/v1/customers/{id}/orders", tag = "orders", operation_id = "listCustomerOrders",
    params(("id" = Uuid, Path, description = "The customer's id"), ConsistencyHeaders, PageQuery),
    responses((status = 200, description = "A page of the customer's orders, and the sums over all of them.", body = CustomerOrders), Refusals))]
pub async fn of_customer(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<CustomerOrders>, Problem> {
    params.only(&["limit", "cursor"])?;
    let customer: Uuid = names.get("id")?;
    let page = page_of_orders(&params, Some(customer), consistency.reader(&handle, LISTED)).await?;
    let lifetime = Reader::new(&handle, LISTED, None).await?.list(json(LIFETIME).bind(customer)).await?;
    let Answer { body: page, position, .. } = page;
    Ok(Answer::at(position, CustomerOrders { page, lifetime }).waited(consistency.applied_s()))
}

async fn page_of_orders(
    params: &Params,
    customer: Option<Uuid>,
    reader: impl Future<Output = Result<Reader, Problem>>,
) -> Result<Answer<Page<ListedOrder>>, Problem> {
    let limit = params.limit(USUAL, MOST)?;
    let (placed_at, id) = cursor::decode::<DateTime<Utc>, Uuid>(params, "orders")?.unzip();
    let (from, until) = params.range(RANGE)?;
    let sku = params.get::<Sku>("sku")?.map(String::from);
    let query = json::<ListedOrder>(if sku.is_some() { LIST_OF_SKU } else { LIST })
        .bind(placed_at)
        .bind(id)
        .bind(params.one_of("status", OrderStatus::WORDS)?)
        .bind(customer)
        .bind(sku)
        .bind(params.get::<bool>("held")?)
        .bind(from)
        .bind(until)
        .bind(params.get::<i64>("min_total")?)
        .bind(params.get::<i64>("max_total")?)
        .bind(look_up(limit));
    let reader = reader.await?;
    let found = reader.list(query).await?;
    let key = |order: &ListedOrder| [order.placed_at.to_rfc3339(), order.id.to_string()];
    let page = Page::of(found, limit, |order| cursor::encode("orders", &key(order)));
    Ok(Answer::at(reader.position, page.stale(reader.stale(stale::any))))
}

/// An order, by its id or its number.
#[utoipa::path(get, path = "/v1/orders/{id}", tag = "orders", operation_id = "showOrder",
    params(("id" = inline(OrderPath), Path, description = "The order's id, or its number"), ConsistencyHeaders,
        ("until" = inline(Option<OneOf<Until>>), Query, description = "`settled`: answer when nothing happens any more until \
            somebody outside acts, or `Prefer: wait` is over (then `settled` is false)")),
    responses((status = 200, description = "The order.", body = Order), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Order>, Problem> {
    params.only(&["until"])?;
    let until_settled = params.one_of("until", &["settled"])?.is_some();
    let wanted = Wanted::parse(&names)?;
    // All of its parts have the order as their partition key.
    let partition = wanted.known().map(|id| handle.engine.replica().partition_of(&id.to_string()));
    let mut reader = consistency.reader_of(&handle, PARTS, partition).await?;
    let deadline = consistency.deadline();
    let id = wanted.id(&reader).await?;
    // Registered before the first look: what settles after it wakes us.
    let watch = match (until_settled, id) {
        (true, Some(id)) => handle.progress.watch(id),
        (true, None) | (false, _) => None,
    };
    loop {
        let settles = watch.as_ref().map(|watch| watch.wake.notified());
        let mut settles = std::pin::pin!(settles);
        if let Some(settles) = settles.as_mut().as_pin_mut() {
            settles.enable();
        }
        let (order, stale) = match id {
            Some(id) => (reader.one(json::<Order>(SHOW).bind(id)).await?, reader.stale(stale::of_order(id))),
            None => (None, Vec::new()),
        };
        // Where a part of it stands still, it may never settle: that is the answer then.
        let waits = until_settled && stale.is_empty() && !order.as_ref().is_some_and(|order| order.settled);
        if let (true, Some(settles)) = (waits, settles.as_pin_mut())
            && timeout_at(deadline, settles).await.is_ok()
        {
            reader = Reader::new(&handle, PARTS, partition).await?.waiting();
            continue;
        }
        let waited_s = if until_settled { consistency.waited_s() } else { consistency.applied_s() };
        let mut order = order.ok_or_else(|| wanted.missing(&reader))?;
        (order.position, order.stale) = (reader.position.0, stale);
        return Ok(Answer::at(reader.position, order.clone()).version(order.version).waited(waited_s));
    }
}

/// What happened to an order, oldest first.
#[utoipa::path(get, path = "/v1/orders/{id}/timeline", tag = "orders", operation_id = "showOrderTimeline",
    params(("id" = inline(OrderPath), Path, description = "The order's id, or its number"), ConsistencyHeaders,
        PageQuery),
    responses((status = 200, description = "A page of the order's events, the oldest first.", body = Page<TimelineEntry>), RefusalsOfOne))]
pub async fn timeline(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<TimelineEntry>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(MOST, MOST)?;
    let after = cursor::decode::<i64, Uuid>(&params, "timeline")?;
    let wanted = Wanted::parse(&names)?;
    let reader = consistency.reader(&handle, &[orders::NAME, order_timeline::NAME]).await?;
    let Some(id) = wanted.id(&reader).await? else { return Err(wanted.missing(&reader)) };
    let query = json::<TimelineEntry>(TIMELINE).bind(id).bind(after.map(|(after, _)| after)).bind(look_up(limit));
    let found = reader.list(query).await?;
    if found.is_empty() && after.is_none() {
        return Err(wanted.missing(&reader));
    }
    let key = |entry: &TimelineEntry| [entry.position.to_string(), entry.event_id.to_string()];
    let page = Page::of(found, limit, |entry| cursor::encode("timeline", &key(entry)));
    let page = page.stale(reader.stale(stale::of_timeline(id)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}
