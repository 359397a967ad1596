//! `sales_by_day`: sums over orders and payments, by the UTC day on which the order was placed. A sum has no single
//! source stream: it is added to, in the transaction that moves the streams' marks in `applied`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use domain::DecodeError;
use domain::{order, payment};
use event_store::{Position, RecordedEvent, StreamName};
use sqlx::PgConnection;

use crate::applied::Marks;
use crate::changes::{column, signed};
use crate::projection::Projection;

/// The projection's name.
pub const NAME: &str = "sales_by_day";

/// The table. `stream_version` does not apply to a sum; `global_position` is that of the last event added.
pub const DDL: &str = "
create table sales_by_day (
    day date not null, currency text collate \"C\" not null, orders bigint not null, units bigint not null,
    gross bigint not null, discounts bigint not null, tax bigint not null, shipping bigint not null,
    captured bigint not null, refunded bigint not null, cancelled bigint not null, global_position bigint not null,
    primary key (day, currency)
) with (fillfactor = 50);
";

const ADD: &str = "
insert into sales_by_day as s
select * from unnest($1::date[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
on conflict (day, currency) do update set (orders, units, gross, discounts, tax, shipping, captured, refunded,
    cancelled, global_position)
  = (s.orders + excluded.orders, s.units + excluded.units, s.gross + excluded.gross,
    s.discounts + excluded.discounts, s.tax + excluded.tax, s.shipping + excluded.shipping,
    s.captured + excluded.captured, s.refunded + excluded.refunded, s.cancelled + excluded.cancelled,
    greatest(s.global_position, excluded.global_position))";

/// What a batch adds to one day and currency. Amounts in minor units.
#[derive(Debug, Default)]
struct Sum {
    orders: i64,
    units: i64,
    gross: i64,
    discounts: i64,
    tax: i64,
    shipping: i64,
    captured: i64,
    refunded: i64,
    cancelled: i64,
    position: Position,
}

/// The projection.
#[derive(Debug, Default)]
pub struct SalesByDay {
    marks: Marks,
    /// Added in this batch. Ordered, so that rows are always locked in the same order.
    sums: BTreeMap<(NaiveDate, String), Sum>,
}

#[async_trait]
impl Projection for SalesByDay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        matches!(stream.category(), "order" | "payment")
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        self.marks.load(sql, NAME, events).await
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.marks.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        // Only what counts is decoded: most events of these streams add nothing.
        match &*event.event_type {
            "OrderPlaced" | "OrderRejected" | "OrderCancelled" => {
                let decoded = order::Event::decode(&event.event_type, event.schema_version, event.data.get())?;
                self.fold_order(event, &decoded);
            }
            "PaymentCaptured" | "PaymentRefunded" => {
                let decoded = payment::Event::decode(&event.event_type, event.schema_version, event.data.get())?;
                self.fold_payment(event, &decoded);
            }
            _ => self.marks.pass(event),
        }
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.marks.pass(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.marks.write(sql, NAME).await? || self.sums.is_empty() {
            return Ok(());
        }
        let sums: Vec<_> = std::mem::take(&mut self.sums).into_iter().collect();
        sqlx::query(ADD)
            .bind(column(&sums, |((day, _), _)| *day))
            .bind(column(&sums, |((_, currency), _)| currency.clone()))
            .bind(column(&sums, |(_, sum)| sum.orders))
            .bind(column(&sums, |(_, sum)| sum.units))
            .bind(column(&sums, |(_, sum)| sum.gross))
            .bind(column(&sums, |(_, sum)| sum.discounts))
            .bind(column(&sums, |(_, sum)| sum.tax))
            .bind(column(&sums, |(_, sum)| sum.shipping))
            .bind(column(&sums, |(_, sum)| sum.captured))
            .bind(column(&sums, |(_, sum)| sum.refunded))
            .bind(column(&sums, |(_, sum)| sum.cancelled))
            .bind(column(&sums, |(_, sum)| signed(sum.position.0)))
            .execute(sql)
            .await
            .map(|_| ())
    }
}

impl SalesByDay {
    fn sum(&mut self, event: &RecordedEvent, day: NaiveDate, currency: &str) -> &mut Sum {
        let sum = self.sums.entry((day, currency.to_owned())).or_default();
        sum.position = sum.position.max(event.position);
        sum
    }

    fn fold_order(&mut self, event: &RecordedEvent, decoded: &order::Event) {
        let memo = self.marks.mark(event);
        match decoded {
            order::Event::OrderPlaced(e) => {
                let (day, currency) = (e.placed_at.date_naive(), e.totals.total.currency.to_string());
                *memo = format!("{day} {currency}"); // A cancellation says neither.
                let sum = self.sum(event, day, &currency);
                sum.orders += 1;
                sum.units += e.lines.iter().map(|line| line.quantity.get()).sum::<i64>();
                sum.gross += e.totals.subtotal.amount;
                sum.discounts += e.totals.discount.amount;
                sum.tax += e.totals.tax.amount;
                sum.shipping += e.totals.shipping.amount;
            }
            order::Event::OrderRejected(_) | order::Event::OrderCancelled(_) => {
                let placed =
                    memo.split_once(' ').and_then(|(day, currency)| Some((day.parse().ok()?, currency.to_owned())));
                if let Some((day, currency)) = placed {
                    self.sum(event, day, &currency).cancelled += 1;
                }
            }
            order::Event::OrderRiskAssessed(_)
            | order::Event::OrderConfirmed(_)
            | order::Event::OrderHeld(_)
            | order::Event::OrderHoldReleased(_)
            | order::Event::OrderCancellationRequested(_)
            | order::Event::OrderDispatchAllowed(_)
            | order::Event::OrderShipped(_)
            | order::Event::OrderCompleted(_) => {}
        }
    }

    fn fold_payment(&mut self, event: &RecordedEvent, decoded: &payment::Event) {
        self.marks.mark(event);
        if let payment::Event::PaymentCaptured(e) = decoded {
            self.sum(event, e.placed_on, e.amount.currency.code()).captured += e.amount.amount;
        }
        if let payment::Event::PaymentRefunded(e) = decoded {
            self.sum(event, e.placed_on, e.amount.currency.code()).refunded += e.amount.amount;
        }
    }
}
