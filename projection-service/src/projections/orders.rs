//! `orders` and their `order_lines`, from the order's stream. What was frozen when the order was placed is written
//! once; afterwards only status, hold, reason and moments change.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::DecodeError;
use domain::order::{Event, OrderPlaced, RejectReason};
use event_store::{RecordedEvent, StreamName};
use projection_engine::projecting::changes::{Changes, Head, Row, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Index, Projection};
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{stream_named, uuid_of, uuids_of};

/// The name of the read model.
pub const NAME: &str = "orders";

/// The tables. Each filter of the list of orders has an index in the list's own order, as has a customer's status; that
/// index holds what a customer's orders come to besides. The lines repeat the moment at
/// which their order was placed, so that those of one SKU are found in that order too. `placed_at` is null only where a stream does not begin with a known `OrderPlaced`; queries leave it out.
pub const DDL: &str = "
create table orders (
    id uuid primary key, number text not null, customer_id uuid not null, status text not null, held_reason text,
    held_reasons jsonb not null default '[]',
    currency text not null, subtotal bigint not null, discount bigint not null, tax bigint not null,
    shipping bigint not null, total bigint not null, item_count bigint not null, tags jsonb not null,
    payment_method text not null, placed_at timestamptz, confirmed_at timestamptz, shipped_at timestamptz,
    completed_at timestamptz, cancelled_at timestamptz, reason text, customer_reason text, shipment_id uuid,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
) with (fillfactor = 80);
create table order_lines (
    order_id uuid not null, line integer not null, sku text not null, location text not null, name text not null,
    quantity bigint not null, unit_price bigint not null, net bigint not null, discount_share bigint not null,
    tax_share bigint not null, currency text not null, placed_at timestamptz not null,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null,
    primary key (order_id, line)
);
";

/// The indexes of both tables.
pub const INDEXES: &[Index] = &[
    Index::new("orders_by_number", "orders", "(number)"),
    Index::new("orders_by_time", "orders", "(placed_at, id)"),
    Index::new("orders_by_customer", "orders", "(customer_id, placed_at, id)"),
    Index::new(
        "orders_by_customer_and_status",
        "orders",
        "(customer_id, status, placed_at, id) include (total, currency)",
    ),
    Index::new("orders_by_status", "orders", "(status, placed_at, id)"),
    Index::new("orders_by_total", "orders", "(total, placed_at, id)"),
    Index::new("orders_held", "orders", "(placed_at, id) where held_reason is not null"),
    Index::new("order_lines_by_sku", "order_lines", "(sku, placed_at, order_id)"),
];

const LOAD: &str = "
select id, status, held_reasons, placed_at, confirmed_at, shipped_at, completed_at, cancelled_at, reason, shipment_id,
       stream_version, global_position, updated_at, customer_reason
from orders where id = any($1)";

/// The reason of a cancellation that nobody gave one for, and of every cancelled order that a customer wanted so.
const CUSTOMER_REQUEST: &str = "customer_request";

/// What changes in an order's row, and, until it is written, what never does.
#[derive(Debug, Clone, Default)]
struct Order {
    status: String,
    /// Why it is held, the oldest first.
    held_reasons: Vec<String>,
    placed_at: Option<DateTime<Utc>>,
    confirmed_at: Option<DateTime<Utc>>,
    shipped_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    /// What the customer said.
    customer_reason: Option<String>,
    shipment_id: Option<Uuid>,
    /// Placed in this batch: the rest of the row, and the event's head for the lines.
    placed: Option<(Arc<OrderPlaced>, Head)>,
}

/// The projection that writes `orders` and `order_lines`.
#[derive(Debug, Default)]
pub struct Orders {
    orders: Changes<Order>,
}

#[async_trait]
impl Projection for Orders {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "order" && uuid_of(stream).is_some()
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.orders.missing(events.iter().map(AsRef::as_ref));
        if missing.is_empty() {
            return Ok(());
        }
        for row in sqlx::query(LOAD).bind(uuids_of(&missing)).fetch_all(sql).await? {
            let head = Head::of_row(&row)?;
            let order = Order {
                status: row.try_get("status")?,
                held_reasons: row.try_get::<Json<Vec<String>>, _>("held_reasons")?.0,
                placed_at: row.try_get("placed_at")?,
                confirmed_at: row.try_get("confirmed_at")?,
                shipped_at: row.try_get("shipped_at")?,
                completed_at: row.try_get("completed_at")?,
                cancelled_at: row.try_get("cancelled_at")?,
                reason: row.try_get("reason")?,
                customer_reason: row.try_get("customer_reason")?,
                shipment_id: row.try_get("shipment_id")?,
                placed: None,
            };
            if let Some(stream) = stream_named("order", row.try_get::<Uuid, _>("id")?) {
                self.orders.loaded(stream, head, order);
            }
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.orders.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get())?;
        fold(self.orders.row(event), event, decoded);
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.orders.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.orders.changed();
        if changed.is_empty() {
            return Ok(());
        }
        write_orders(&changed, sql).await?;
        write_lines(&changed, sql).await?;
        self.orders.changed_mut(|order| order.placed = None);
        self.orders.written();
        Ok(())
    }
}

fn fold(order: &mut Order, event: &RecordedEvent, decoded: Event) {
    let at = Some(event.metadata.occurred_at);
    match decoded {
        Event::OrderPlaced(e) => {
            order.status = "pending".to_owned();
            order.placed_at = Some(e.placed_at);
            order.placed = Some((Arc::new(e), Head::of(event)));
        }
        Event::OrderRiskAssessed(_) => {}
        Event::OrderConfirmed(_) => {
            order.status = "confirmed".to_owned();
            order.confirmed_at = at;
        }
        Event::OrderRejected(e) => {
            order.status = "rejected".to_owned();
            order.reason = Some(reject_reason(e.reason).to_owned());
            order.cancelled_at = at;
        }
        Event::OrderHeld(e) if order.held_reasons.iter().any(|held| held == e.reason.as_str()) => {}
        Event::OrderHeld(e) => order.held_reasons.push(e.reason.as_str().to_owned()),
        Event::OrderHoldReleased(e) => {
            order.held_reasons.retain(|held| e.reason.is_some_and(|reason| reason.as_str() != held));
        }
        Event::OrderCancellationRequested(e) => {
            order.status = "cancel_pending".to_owned();
            order.reason = Some(text(&e.reason));
            order.customer_reason = Some(text(&e.reason)).filter(|said| said != CUSTOMER_REQUEST);
        }
        Event::OrderCancelled(e) => {
            order.status = "cancelled".to_owned();
            order.reason = Some(text(&e.reason));
            order.cancelled_at = at;
        }
        Event::OrderDispatchAllowed(_) => order.status = "dispatching".to_owned(),
        Event::OrderShipped(e) => {
            order.status = "shipped".to_owned();
            order.shipment_id = Some(e.shipment_id.0);
            order.shipped_at = at;
        }
        Event::OrderCompleted(_) => {
            order.status = "completed".to_owned();
            order.completed_at = at;
        }
    }
}

fn reject_reason(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::OutOfStock => "out_of_stock",
        RejectReason::Contention => "contention",
        RejectReason::PaymentDeclined => "payment_declined",
        RejectReason::PaymentTimeout => "payment_timeout",
        RejectReason::ReservationExpired => "reservation_expired",
        RejectReason::Fraud => "fraud",
        RejectReason::Operator => "operator",
    }
}

type Changed<'r> = (&'r StreamName, &'r Row<Order>);

async fn write_orders(changed: &[Changed<'_>], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    // An order placed in an earlier batch keeps what was frozen then: those columns are written once.
    let placed = |row: &Changed<'_>| row.1.value.placed.as_ref().map(|(placed, _)| Arc::clone(placed));
    let named = |row: &Changed<'_>, of: fn(&OrderPlaced) -> String| placed(row).as_deref().map(of).unwrap_or_default();
    let amount = |row: &Changed<'_>, of: fn(&OrderPlaced) -> i64| placed(row).as_deref().map_or(0, of);
    let tags = |placed: &OrderPlaced| placed.tags.iter().map(|tag| text(tag)).collect::<Vec<_>>();
    Upsert::new("orders", changed)
        .key("id", |(stream, _)| uuid_of(stream).unwrap_or_default())
        .once("number", |row| named(row, |p| text(&p.number)))
        .once("customer_id", |row| placed(row).map_or_else(Uuid::nil, |p| p.customer_id.0))
        .once("currency", |row| named(row, |p| p.totals.total.currency.to_string()))
        .once("subtotal", |row| amount(row, |p| p.totals.subtotal.amount))
        .once("discount", |row| amount(row, |p| p.totals.discount.amount))
        .once("tax", |row| amount(row, |p| p.totals.tax.amount))
        .once("shipping", |row| amount(row, |p| p.totals.shipping.amount))
        .once("total", |row| amount(row, |p| p.totals.total.amount))
        .once("item_count", |row| amount(row, |p| p.lines.iter().map(|line| line.quantity.get()).sum()))
        .once("tags", |row| Json(placed(row).as_deref().map(tags).unwrap_or_default()))
        .once("payment_method", |row| named(row, |p| text(&p.payment_method)))
        .set("status", |(_, row)| row.value.status.clone())
        .set("held_reason", |(_, row)| row.value.held_reasons.first().cloned())
        .set("held_reasons", |(_, row)| Json(row.value.held_reasons.clone()))
        .set("placed_at", |(_, row)| row.value.placed_at)
        .set("confirmed_at", |(_, row)| row.value.confirmed_at)
        .set("shipped_at", |(_, row)| row.value.shipped_at)
        .set("completed_at", |(_, row)| row.value.completed_at)
        .set("cancelled_at", |(_, row)| row.value.cancelled_at)
        .set("reason", |(_, row)| row.value.reason.clone())
        .set("customer_reason", |(_, row)| row.value.customer_reason.clone())
        .set("shipment_id", |(_, row)| row.value.shipment_id)
        .head(|(_, row)| row.head)
        .execute(sql)
        .await
}

async fn write_lines(changed: &[Changed<'_>], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    let placed = changed.iter().filter_map(|(_, row)| row.value.placed.as_ref());
    let lines: Vec<_> = placed.flat_map(|(p, head)| p.lines.iter().map(move |line| (p, line, head))).collect();
    if lines.is_empty() {
        return Ok(());
    }
    Upsert::new("order_lines", &lines)
        .key("order_id", |(placed, ..)| placed.order_id.0)
        .key("line", |(_, line, _)| i32::try_from(line.line).unwrap_or(i32::MAX))
        .once("sku", |(_, line, _)| line.item.sku.to_string())
        .once("location", |(_, line, _)| line.item.location.to_string())
        .once("name", |(_, line, _)| text(&line.name))
        .once("quantity", |(_, line, _)| line.quantity.get())
        .once("unit_price", |(_, line, _)| line.unit_price.amount)
        .once("net", |(_, line, _)| line.net.amount)
        .once("discount_share", |(_, line, _)| line.discount_share.amount)
        .once("tax_share", |(_, line, _)| line.tax_share.amount)
        .once("currency", |(_, line, _)| line.net.currency.to_string())
        .once("placed_at", |(placed, ..)| placed.placed_at)
        .head_once(|(.., head)| **head)
        .execute(sql)
        .await
}
