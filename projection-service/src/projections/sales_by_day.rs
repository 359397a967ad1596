//! `sales_by_day`: sums over orders and payments, by the UTC day on which the order was placed. A sum has no single
//! source stream: it is added to, in the transaction that moves the streams' marks in `applied`.
//!
//! An order that is rejected was never a sale: what its placing added is taken out again, and it counts in `rejected`
//! alone. A cancelled order was a sale; its sums stay, and it counts in `cancelled` besides. Money that the provider took
//! after the payment's end counts as captured like any other: the refund that follows is subtracted from it.
//!
//! The memo of an order's mark is what its placing added; that of a payment's mark is the day of its order, which
//! a late success does not say itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use domain::DecodeError;
use domain::money::Money;
use domain::payment::LateSuccess;
use domain::{order, payment};
use event_store::{Position, RecordedEvent, StreamName};
use projection_engine::Projection;
use projection_engine::projecting::applied::Marks;
use projection_engine::projecting::changes::signed;
use projection_engine::projecting::upsert::Upsert;
use sqlx::PgConnection;

/// The name of the read model.
pub const NAME: &str = "sales_by_day";

/// The table. `stream_version` does not apply to a sum; `global_position` is that of the last event added.
pub const DDL: &str = "
create table sales_by_day (
    day date not null, currency text collate \"C\" not null, orders bigint not null, units bigint not null,
    gross bigint not null, discounts bigint not null, tax bigint not null, shipping bigint not null,
    captured bigint not null, refunded bigint not null, cancelled bigint not null, rejected bigint not null,
    global_position bigint not null, primary key (day, currency)
) with (fillfactor = 50);
";

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
    rejected: i64,
    position: Position,
}

/// The projection that writes `sales_by_day`.
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
            "PaymentAuthorizationRequested" | "PaymentCaptured" | "PaymentSucceededLate" | "PaymentRefunded" => {
                let decoded = payment::Event::decode(&event.event_type, event.schema_version, event.data.get())?;
                self.fold_payment(event, &decoded);
            }
            _ => _ = self.marks.pass(event),
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
        Upsert::new("sales_by_day", &sums)
            .key("day", |((day, _), _)| *day)
            .key("currency", |((_, currency), _)| currency.clone())
            .add("orders", |(_, sum)| sum.orders)
            .add("units", |(_, sum)| sum.units)
            .add("gross", |(_, sum)| sum.gross)
            .add("discounts", |(_, sum)| sum.discounts)
            .add("tax", |(_, sum)| sum.tax)
            .add("shipping", |(_, sum)| sum.shipping)
            .add("captured", |(_, sum)| sum.captured)
            .add("refunded", |(_, sum)| sum.refunded)
            .add("cancelled", |(_, sum)| sum.cancelled)
            .add("rejected", |(_, sum)| sum.rejected)
            .greatest("global_position", |(_, sum)| signed(sum.position.0))
            .execute(sql)
            .await
    }
}

impl SalesByDay {
    fn sum(&mut self, event: &RecordedEvent, day: NaiveDate, currency: &str) -> &mut Sum {
        let sum = self.sums.entry((day, currency.to_owned())).or_default();
        sum.position = sum.position.max(event.position);
        sum
    }

    fn fold_order(&mut self, event: &RecordedEvent, decoded: &order::Event) {
        match decoded {
            order::Event::OrderPlaced(e) => {
                let added = Placing::of(e);
                *self.marks.mark(event) = added.to_memo(); // What ends the order does not say what it was.
                added.add(self.sum(event, added.day, &added.currency), 1);
            }
            order::Event::OrderRejected(_) => {
                if let Some(added) = Placing::from_memo(self.marks.mark(event)) {
                    let sum = self.sum(event, added.day, &added.currency);
                    added.add(sum, -1);
                    sum.rejected += 1;
                }
            }
            order::Event::OrderCancelled(_) => {
                if let Some(added) = Placing::from_memo(self.marks.mark(event)) {
                    self.sum(event, added.day, &added.currency).cancelled += 1;
                }
            }
            order::Event::OrderRiskAssessed(_)
            | order::Event::OrderConfirmed(_)
            | order::Event::OrderHeld(_)
            | order::Event::OrderHoldReleased(_)
            | order::Event::OrderCancellationRequested(_)
            | order::Event::OrderDispatchAllowed(_)
            | order::Event::OrderShipped(_)
            | order::Event::OrderCompleted(_) => _ = self.marks.pass(event),
        }
    }

    fn fold_payment(&mut self, event: &RecordedEvent, decoded: &payment::Event) {
        match decoded {
            // Adds nothing. Where its memo is forgotten before it is needed, the stream is read again from here.
            payment::Event::PaymentAuthorizationRequested(e) => *self.marks.pass(event) = e.placed_on.to_string(),
            payment::Event::PaymentCaptured(e) => {
                self.sum_of_payment(event, e.placed_on, e.amount).captured += e.amount.amount
            }
            payment::Event::PaymentRefunded(e) => {
                self.sum_of_payment(event, e.placed_on, e.amount).refunded += e.amount.amount
            }
            payment::Event::PaymentSucceededLate(e) if e.kind == LateSuccess::Captured => {
                match self.marks.pass(event).parse() {
                    Ok(placed_on) => self.sum_of_payment(event, placed_on, e.amount).captured += e.amount.amount,
                    // Without a request there is no order, and so no day.
                    Err(_) => {
                        tracing::warn!(stream = %event.stream, "a late capture of a payment that nobody requested")
                    }
                }
            }
            payment::Event::PaymentSucceededLate(_)
            | payment::Event::PaymentActionRequired(_)
            | payment::Event::PaymentAuthorized(_)
            | payment::Event::PaymentDeclined(_)
            | payment::Event::PaymentOutcomeUnknown(_)
            | payment::Event::PaymentExpired(_)
            | payment::Event::CaptureRequested(_)
            | payment::Event::CaptureFailed(_)
            | payment::Event::VoidRequested(_)
            | payment::Event::PaymentVoided(_)
            | payment::Event::VoidFailed(_)
            | payment::Event::RefundRequested(_)
            | payment::Event::RefundFailed(_)
            | payment::Event::PaymentFellShort(_) => _ = self.marks.pass(event),
        }
    }

    /// The sum that an event of a payment adds to; its mark keeps the day for what comes later.
    fn sum_of_payment(&mut self, event: &RecordedEvent, placed_on: NaiveDate, amount: Money) -> &mut Sum {
        *self.marks.mark(event) = placed_on.to_string();
        self.sum(event, placed_on, amount.currency.code())
    }
}

/// What the placing of an order adds.
#[derive(Debug, PartialEq, Eq)]
struct Placing {
    day: NaiveDate,
    currency: String,
    /// Units, gross, discounts, tax, shipping.
    amounts: [i64; 5],
}

impl Placing {
    fn of(e: &order::OrderPlaced) -> Self {
        let units = e.lines.iter().map(|line| line.quantity.get()).sum();
        let totals = &e.totals;
        let money = [totals.subtotal.amount, totals.discount.amount, totals.tax.amount, totals.shipping.amount];
        let [gross, discounts, tax, shipping] = money;
        Self {
            day: e.placed_at.date_naive(),
            currency: totals.total.currency.to_string(),
            amounts: [units, gross, discounts, tax, shipping],
        }
    }

    /// Adds it, or (`times` −1) takes it out again.
    fn add(&self, sum: &mut Sum, times: i64) {
        let [units, gross, discounts, tax, shipping] = self.amounts;
        sum.orders += times;
        sum.units += times * units;
        sum.gross += times * gross;
        sum.discounts += times * discounts;
        sum.tax += times * tax;
        sum.shipping += times * shipping;
    }

    fn to_memo(&self) -> String {
        let [units, gross, discounts, tax, shipping] = self.amounts;
        format!("{} {} {units} {gross} {discounts} {tax} {shipping}", self.day, self.currency)
    }

    /// `None`: the stream does not begin with a placed order, which added nothing.
    fn from_memo(memo: &str) -> Option<Self> {
        let mut parts = memo.split(' ');
        let (day, currency) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
        let amounts: Vec<i64> = parts.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { day, currency, amounts: amounts.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_placing_added_is_read_back_from_its_memo() {
        let added = Placing { day: NaiveDate::MIN, currency: "EUR".to_owned(), amounts: [3, 1_999, 0, 380, 490] };
        let added = Placing { day: NaiveDate::from_ymd_opt(2026, 11, 29).unwrap_or_default(), ..added };
        assert_eq!(Placing::from_memo(&added.to_memo()), Some(added));
        for wrong in ["", "2026-11-29 EUR", "2026-11-29 EUR 1 2 3 4", "x EUR 1 2 3 4 5"] {
            assert_eq!(Placing::from_memo(wrong), None, "{wrong}");
        }
    }
}
