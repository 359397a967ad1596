//! `GET /v1/orders`, `/v1/orders/{id or number}`, its timeline, and a customer's orders.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use tokio::time::timeout_at;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Money, Refusals, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, Reader, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::stale::{self, Stale};
use super::wanted::Wanted;
use crate::Handle;
use crate::projections::{order_timeline, orders, payments, saga_view, shipments};

/// What an order's answer is made of.
const PARTS: &[&str] = &[orders::NAME, payments::NAME, shipments::NAME, saga_view::NAME];
const LISTED: &[&str] = &[orders::NAME, payments::NAME, shipments::NAME];
/// The words of the status axis (domain.md §1).
const STATUSES: &[&str] =
    &["pending", "confirmed", "dispatching", "shipped", "completed", "cancel_pending", "cancelled", "rejected"];

const SHOW: &str = "
select row_to_json(t) from (
  select d.id, d.number, d.customer_id, d.status, d.payment_status, d.fulfilment_status, d.held_reason, d.reason,
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
    d.stream_version as version, d.updated_at
  from order_details d where d.id = $1) t";

const LIST: &str = "
select row_to_json(t) from (
  select o.id, o.number, o.customer_id, o.status, o.payment_status, o.fulfilment_status, o.held_reason, o.reason,
    json_build_object('amount', o.total, 'currency', o.currency) as total, o.item_count, o.tags, o.placed_at,
    o.stream_version as version, o.updated_at
  from order_list o
  where (o.placed_at, o.id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    and ($3::text is null or o.status = $3) and ($4::uuid is null or o.customer_id = $4)
    and ($5::text is null or exists (select from order_lines l where l.sku = $5 and l.order_id = o.id))
    and ($6::boolean is null or (o.held_reason is not null) = $6)
    and ($7::timestamptz is null or o.placed_at >= $7) and ($8::timestamptz is null or o.placed_at < $8)
    and ($9::bigint is null or o.total >= $9) and ($10::bigint is null or o.total <= $10)
  order by o.placed_at desc, o.id desc limit $11) t";

const TIMELINE: &str = "
select row_to_json(t) from (
  select t.position, t.stream, t.version, t.event_id, t.event_type as type, t.actor, t.correlation_id, t.causation_id, t.command_id,
    t.trace_id, t.summary, t.occurred_at
  from order_timeline t where t.order_id = $1 and t.position > coalesce($2, 0)
  order by t.position limit $3) t";

const LIFETIME: &str = "
select row_to_json(t) from (
  select currency, count(*) as orders, sum(total)::bigint as total from customer_orders
  where customer_id = $1 and status not in ('cancelled', 'rejected') group by currency order by currency) t";

/// An order with all that belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "each field is named in domain.md §1 and §3; the others say more")]
pub struct Order {
    pub id: Uuid,
    /// What people read aloud.
    #[schema(example = "4QX9K2M7R1TB")]
    pub number: String,
    pub customer_id: Uuid,
    /// `pending, confirmed, dispatching, shipped, completed, cancel_pending, cancelled, rejected`.
    pub status: String,
    /// `none, requested, action_required, unknown, authorized, captured, voided, expired, declined, refunded,
    /// refund_failed, succeeded_late`. With several payments the latest authorisation decides.
    pub payment_status: String,
    /// `none, planned, ready, dispatched, delivered, lost, cancelled`.
    pub fulfilment_status: String,
    /// Why it must not be dispatched; none: it may.
    pub held_reason: Option<String>,
    /// Why it was cancelled or rejected.
    pub reason: Option<String>,
    pub subtotal: Money,
    pub discount: Money,
    pub tax: Money,
    pub shipping: Money,
    pub total: Money,
    /// Held by the payment that decides.
    pub authorized: Money,
    /// Taken, over all payments.
    pub captured: Money,
    /// Given back, over all payments.
    pub refunded: Money,
    pub lines: Vec<Line>,
    /// Pieces over all lines.
    pub item_count: i64,
    pub tags: Vec<String>,
    pub placed_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub shipped_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub payment_id: Option<Uuid>,
    /// The provider's reason, if the payment failed.
    pub payment_failure: Option<String>,
    /// Where the customer must confirm the payment.
    pub action_url: Option<String>,
    pub shipment_id: Option<Uuid>,
    /// The saga that carries it: `/v1/sagas/{saga}`.
    pub saga: Option<String>,
    pub saga_state: Option<String>,
    /// Whether nothing happens any more until somebody outside acts.
    pub settled: bool,
    /// The version of the order's stream; also the `ETag`.
    pub version: u64,
    /// The position that this reflects; also `X-Position`.
    #[serde(default)]
    pub position: String,
    pub updated_at: DateTime<Utc>,
    /// Parked streams of it, its payments, shipments and sagas; not given where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// A line of an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Line {
    pub line: i32,
    pub sku: String,
    pub location: String,
    pub name: String,
    pub quantity: i64,
    pub unit_price: Money,
    pub net: Money,
    pub discount_share: Money,
    pub tax_share: Money,
}

/// An order in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "as in `Order`")]
pub struct ListedOrder {
    pub id: Uuid,
    pub number: String,
    pub customer_id: Uuid,
    pub status: String,
    pub payment_status: String,
    pub fulfilment_status: String,
    pub held_reason: Option<String>,
    pub reason: Option<String>,
    pub total: Money,
    pub item_count: i64,
    pub tags: Vec<String>,
    pub placed_at: DateTime<Utc>,
    pub version: u64,
    pub updated_at: DateTime<Utc>,
}

/// Something that happened to an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "as in the event's envelope")]
pub struct TimelineEntry {
    pub position: u64,
    pub stream: String,
    pub version: u64,
    pub event_id: Uuid,
    pub r#type: String,
    pub actor: String,
    pub correlation_id: Uuid,
    pub causation_id: Uuid,
    pub command_id: Uuid,
    pub trace_id: Option<String>,
    /// The few things of the event that people look for.
    pub summary: String,
    pub occurred_at: DateTime<Utc>,
}

/// A customer's orders, newest first, and what all of them come to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CustomerOrders {
    /// The page.
    #[serde(flatten)]
    pub page: Page<ListedOrder>,
    /// Over all orders that were not cancelled or rejected, by currency.
    pub lifetime: Vec<Lifetime>,
}

/// What a customer's orders come to in a currency.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Lifetime {
    /// ISO 4217.
    pub currency: String,
    /// How many.
    pub orders: i64,
    /// Their totals, in minor units.
    pub total: i64,
}

/// Orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", operation_id = "listOrders",
    params(ConsistencyHeaders,
        ("status" = Option<String>, Query, description = "One of the status words"),
        ("customer" = Option<Uuid>, Query, description = "Only this customer's"),
        ("sku" = Option<String>, Query, description = "Only with a line of it"),
        ("held" = Option<bool>, Query, description = "Only held ones, or only others"),
        ("from" = Option<String>, Query, description = "Placed at or after this moment or day"),
        ("to" = Option<String>, Query, description = "Placed before this moment or day"),
        ("min_total" = Option<i64>, Query, description = "In minor units"),
        ("max_total" = Option<i64>, Query, description = "In minor units"),
        ("limit" = Option<u32>, Query, description = "1 to 200"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<ListedOrder>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<ListedOrder>>, Problem> {
    params.only(&["status", "customer", "sku", "held", "from", "to", "min_total", "max_total", "limit", "cursor"])?;
    let customer = params.get::<Uuid>("customer")?;
    let reader_of = consistency.reader(&handle, LISTED);
    page_of_orders(&params, customer, reader_of).await
}

/// A customer's orders, newest first, and what they come to.
#[utoipa::path(get, path = "/v1/customers/{id}/orders", tag = "orders", operation_id = "listCustomerOrders",
    params(("id" = Uuid, Path), ConsistencyHeaders, ("limit" = Option<u32>, Query, description = "1 to 200"),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = CustomerOrders), Refusals))]
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
    let query = json::<ListedOrder>(LIST)
        .bind(placed_at)
        .bind(id)
        .bind(params.one_of("status", STATUSES)?)
        .bind(customer)
        .bind(params.text("sku", 64)?)
        .bind(params.get::<bool>("held")?)
        .bind(params.moment("from")?)
        .bind(params.moment("to")?)
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
    params(("id" = String, Path, description = "The id, or the number"), ConsistencyHeaders,
        ("until" = Option<String>, Query, description = "`settled`: answer when nothing happens any more until \
            somebody outside acts, or `Prefer: wait` is over (then `settled` is false)")),
    responses((status = 200, body = Order), RefusalsOfOne))]
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
    let partition = wanted.known().map(|id| handle.replica.partition_of(&id.to_string()));
    let mut reader = consistency.reader_of(&handle, PARTS, partition).await?;
    let deadline = consistency.deadline();
    let id = wanted.id(&reader).await?;
    // Registered before the first look: what settles after it wakes us.
    let watch = match (until_settled, id) {
        (true, Some(id)) => handle.progress.watch_order(id),
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
            reader = Reader::new(&handle, PARTS, partition).await?;
            continue;
        }
        let waited_s = if until_settled { consistency.waited_s() } else { consistency.applied_s() };
        let mut order = order.ok_or_else(|| wanted.missing(&reader))?;
        (order.position, order.stale) = (reader.position.to_string(), stale);
        return Ok(Answer::at(reader.position, order.clone()).version(order.version).waited(waited_s));
    }
}

/// What happened to an order, oldest first.
#[utoipa::path(get, path = "/v1/orders/{id}/timeline", tag = "orders", operation_id = "showOrderTimeline",
    params(("id" = String, Path, description = "The id, or the number"), ConsistencyHeaders,
        ("limit" = Option<u32>, Query, description = "1 to 200"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<TimelineEntry>), RefusalsOfOne))]
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
