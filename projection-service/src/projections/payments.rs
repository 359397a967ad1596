//! `payments`, from the payment's stream; each event also says its line of the ledger (`payments_ledger.rs`).

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use domain::DecodeError;
use domain::money::Money;
use domain::payment::{Event, LateSuccess, PaymentRefunded, PaymentSucceededLate, RequestKind};
use event_store::{RecordedEvent, StreamName};
use projection_engine::projecting::changes::{Changes, Head, Row, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Index, Projection};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::payments_ledger::{self, Entry, Said};
use super::{stream_named, uuid_of, uuids_of};

/// The name of the read model.
pub const NAME: &str = "payments";

/// The table. `attempt_group` is null for a payment that was given up before it began.
pub const DDL: &str = "
create table payments (
    id uuid primary key, order_id uuid not null, attempt_group integer, state text not null,
    outcome_unknown boolean not null, open_kind text, currency text, amount bigint not null, authorized bigint not null,
    captured bigint not null, refunded bigint not null, voided bigint not null, payment_method text not null,
    provider_ref text, action_url text, failure_code text, placed_on date, began_at timestamptz not null,
    capture_before timestamptz,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
) with (fillfactor = 80);
";

/// The indexes of the table.
pub const INDEXES: &[Index] = &[
    Index::new("payments_by_order", "payments", "(order_id)"),
    Index::new("payments_by_time", "payments", "(began_at, id)"),
];

const LOAD: &str = "
select id, order_id, attempt_group, state, outcome_unknown, open_kind, currency, amount, authorized, captured, refunded,
       voided, payment_method, provider_ref, action_url, failure_code, placed_on, began_at, capture_before,
       stream_version, global_position, updated_at
from payments where id = any($1)";

#[derive(Debug, Clone, Default)]
struct Payment {
    order_id: Uuid,
    attempt_group: Option<i32>,
    state: String,
    outcome_unknown: bool,
    /// What the open request asks of the provider; names the kind of an unknown outcome.
    open_kind: Option<String>,
    currency: Option<String>,
    amount: i64,
    authorized: i64,
    captured: i64,
    refunded: i64,
    voided: i64,
    payment_method: String,
    provider_ref: Option<String>,
    action_url: Option<String>,
    failure_code: Option<String>,
    placed_on: Option<NaiveDate>,
    /// When its first event occurred.
    began_at: Option<DateTime<Utc>>,
    capture_before: Option<DateTime<Utc>>,
}

/// The projection that writes `payments` and `payments_ledger`.
#[derive(Debug, Default)]
pub struct Payments {
    payments: Changes<Payment>,
    entries: Vec<Entry>,
}

#[async_trait]
impl Projection for Payments {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "payment" && uuid_of(stream).is_some()
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.payments.missing(events.iter().map(AsRef::as_ref));
        if missing.is_empty() {
            return Ok(());
        }
        for row in sqlx::query(LOAD).bind(uuids_of(&missing)).fetch_all(sql).await? {
            let head = Head::of_row(&row)?;
            let payment = Payment {
                order_id: row.try_get("order_id")?,
                attempt_group: row.try_get("attempt_group")?,
                state: row.try_get("state")?,
                outcome_unknown: row.try_get("outcome_unknown")?,
                open_kind: row.try_get("open_kind")?,
                currency: row.try_get("currency")?,
                amount: row.try_get("amount")?,
                authorized: row.try_get("authorized")?,
                captured: row.try_get("captured")?,
                refunded: row.try_get("refunded")?,
                voided: row.try_get("voided")?,
                payment_method: row.try_get("payment_method")?,
                provider_ref: row.try_get("provider_ref")?,
                action_url: row.try_get("action_url")?,
                failure_code: row.try_get("failure_code")?,
                placed_on: row.try_get("placed_on")?,
                began_at: row.try_get("began_at")?,
                capture_before: row.try_get("capture_before")?,
            };
            if let Some(stream) = stream_named("payment", row.try_get::<Uuid, _>("id")?) {
                self.payments.loaded(stream, head, payment);
            }
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.payments.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get())?;
        let payment = self.payments.row(event);
        payment.began_at.get_or_insert(event.metadata.occurred_at);
        let said = fold(payment, event, decoded);
        let provider = event.metadata.actor.strip_prefix("provider:").map(text);
        // An outcome that is unknown is one of the request that is open.
        let kind = if said.kind.is_empty() { payment.open_kind.clone() } else { Some(said.kind.to_owned()) };
        self.entries.push(Entry {
            entry_id: event.id,
            payment_id: uuid_of(&event.stream).unwrap_or_default(),
            order_id: payment.order_id,
            kind: kind.unwrap_or_else(|| "authorize".to_owned()),
            state: said.state,
            amount: said.amount,
            currency: payment.currency.clone(),
            provider,
            provider_ref: said.provider_ref,
            request_id: said.request_id,
            detail: said.detail,
            head: Head::of(event),
        });
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.payments.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.payments.changed();
        if changed.is_empty() {
            return Ok(());
        }
        write_payments(&changed, sql).await?;
        if !self.entries.is_empty() {
            payments_ledger::write(&self.entries, sql).await?;
        }
        self.entries.clear();
        self.payments.written();
        Ok(())
    }
}

/// Moves the payment and says what goes into the ledger.
fn fold(payment: &mut Payment, event: &RecordedEvent, decoded: Event) -> Said {
    let said = |kind: &'static str, state: &'static str, request_id: Uuid| {
        let request_id = Some(request_id);
        Said { kind, state, request_id, ..Said::default() }
    };
    match decoded {
        Event::PaymentAuthorizationRequested(e) => {
            payment.order_id = e.order_id.0;
            payment.attempt_group = Some(i32::try_from(e.attempt_group).unwrap_or(i32::MAX));
            (payment.currency, payment.amount) = (Some(e.amount.currency.to_string()), e.amount.amount);
            payment.payment_method = text(&e.payment_method);
            payment.placed_on = Some(e.placed_on);
            ask(payment, "requested", "authorize");
            Said { amount: Some(e.amount.amount), ..said("authorize", "requested", e.request_id.0) }
        }
        Event::PaymentActionRequired(e) => {
            payment.state = "action_required".to_owned();
            payment.outcome_unknown = false;
            payment.action_url = Some(text(&e.action_url));
            Said {
                provider_ref: refer(payment, e.provider_ref),
                ..said("authorize", "action_required", e.request_id.0)
            }
        }
        Event::PaymentAuthorized(e) => {
            hear_of(payment, "authorized", e.is_complete());
            payment.authorized += e.amount.amount;
            payment.capture_before = Some(e.capture_before);
            let provider_ref = refer(payment, e.provider_ref);
            Said { provider_ref, amount: Some(e.amount.amount), ..said("authorize", "succeeded", e.request_id.0) }
        }
        Event::PaymentDeclined(e) => {
            hear(payment, is_live(payment).then_some("declined"));
            let failed = said("authorize", "failed", e.request_id.0);
            fail(payment, failed, e.provider_ref, &e.decline_code)
        }
        Event::PaymentOutcomeUnknown(e) => {
            payment.outcome_unknown = true;
            said("", "unknown", e.request_id.0)
        }
        Event::PaymentExpired(e) => {
            hear(payment, is_live(payment).then_some("expired"));
            let request_id = e.request_id.map(|id| id.0);
            Said { kind: "authorize", state: "expired", request_id, ..Said::default() }
        }
        Event::PaymentSucceededLate(e) => succeeded_late(payment, e),
        Event::PaymentFellShort(e) => {
            hear(payment, None);
            Said { amount: Some(e.done.amount), ..said(kind_of(e.kind), "fell_short", e.request_id.0) }
        }
        later @ (Event::CaptureRequested(_)
        | Event::PaymentCaptured(_)
        | Event::CaptureFailed(_)
        | Event::VoidRequested(_)
        | Event::PaymentVoided(_)
        | Event::VoidFailed(_)
        | Event::RefundRequested(_)
        | Event::PaymentRefunded(_)
        | Event::RefundFailed(_)) => fold_later(payment, event, later),
    }
}

/// Money that is held or was taken after the payment's end.
fn succeeded_late(payment: &mut Payment, e: PaymentSucceededLate) -> Said {
    hear(payment, Some("succeeded_late"));
    let kind = match e.kind {
        LateSuccess::Authorized => {
            payment.authorized += e.amount.amount;
            "authorize"
        }
        LateSuccess::Captured => {
            payment.captured += e.amount.amount;
            // What captured at once was also authorized.
            payment.authorized = payment.authorized.max(payment.captured + payment.voided);
            "capture"
        }
    };
    payment.currency.get_or_insert_with(|| e.amount.currency.to_string());
    let provider_ref = refer(payment, e.provider_ref);
    Said { provider_ref, ..with_amount(kind, "succeeded_late", e.request_id.0, Some(e.amount)) }
}

/// Money was given back, all that was asked for or a part of it.
fn refunded(payment: &mut Payment, e: PaymentRefunded) -> Said {
    payment.order_id = e.order_id.0;
    payment.refunded += e.amount.amount;
    let state = if payment.refunded >= payment.captured { "refunded".to_owned() } else { payment.state.clone() };
    hear_of(payment, &state, e.is_complete());
    let provider_ref = refer(payment, e.provider_ref);
    Said { provider_ref, ..with_amount("refund", "succeeded", e.request_id.0, Some(e.amount)) }
}

/// What follows once money is held.
fn fold_later(payment: &mut Payment, event: &RecordedEvent, decoded: Event) -> Said {
    let said = with_amount;
    match decoded {
        Event::CaptureRequested(e) => {
            payment.open_kind = Some("capture".to_owned());
            said("capture", "requested", e.request_id.0, Some(e.amount))
        }
        Event::PaymentCaptured(e) => {
            hear_of(payment, "captured", e.is_complete());
            payment.order_id = e.order_id.0;
            payment.captured += e.amount.amount;
            // What captured at once was also authorized.
            payment.authorized = payment.authorized.max(payment.captured + payment.voided);
            let provider_ref = refer(payment, e.provider_ref);
            Said { provider_ref, ..said("capture", "succeeded", e.request_id.0, Some(e.amount)) }
        }
        Event::CaptureFailed(e) => {
            hear(payment, None);
            fail(payment, said("capture", "failed", e.request_id.0, None), e.provider_ref, &e.failure_code)
        }
        Event::VoidRequested(e) => {
            payment.open_kind = Some("void".to_owned());
            said("void", "requested", e.request_id.0, None)
        }
        Event::PaymentVoided(e) => {
            hear(payment, Some("voided"));
            payment.order_id = e.order_id.0;
            payment.voided += e.amount.map_or(0, |amount| amount.amount);
            let provider_ref = refer(payment, e.provider_ref);
            let amount = e.amount.map(|amount| amount.amount);
            Said {
                kind: "void",
                state: "succeeded",
                request_id: e.request_id.map(|id| id.0),
                provider_ref,
                amount,
                detail: None,
            }
        }
        Event::VoidFailed(e) => {
            hear(payment, None);
            fail(payment, said("void", "failed", e.request_id.0, None), e.provider_ref, &e.failure_code)
        }
        Event::RefundRequested(e) => {
            payment.open_kind = Some("refund".to_owned());
            Said { detail: Some(text(&e.reason)), ..said("refund", "requested", e.request_id.0, Some(e.amount)) }
        }
        Event::PaymentRefunded(e) => refunded(payment, e),
        Event::RefundFailed(e) => {
            hear(payment, Some("refund_failed"));
            let failed = said("refund", "failed", e.request_id.0, Some(e.amount));
            fail(payment, failed, e.provider_ref, &e.failure_code)
        }
        earlier @ (Event::PaymentAuthorizationRequested(_)
        | Event::PaymentActionRequired(_)
        | Event::PaymentAuthorized(_)
        | Event::PaymentDeclined(_)
        | Event::PaymentOutcomeUnknown(_)
        | Event::PaymentExpired(_)
        | Event::PaymentSucceededLate(_)
        | Event::PaymentFellShort(_)) => fold(payment, event, earlier),
    }
}

/// What was said of a request, and of how much.
fn with_amount(kind: &'static str, state: &'static str, request_id: Uuid, amount: Option<Money>) -> Said {
    let amount = amount.map(|money| money.amount);
    Said { kind, state, request_id: Some(request_id), amount, ..Said::default() }
}

/// Whether money is or may yet be held: an end that comes after another end changes nothing.
fn is_live(payment: &Payment) -> bool {
    matches!(payment.state.as_str(), "requested" | "action_required" | "authorized")
}

/// A request is open.
fn ask(payment: &mut Payment, state: &str, kind: &str) {
    payment.state = state.to_owned();
    payment.open_kind = Some(kind.to_owned());
}

/// The kind of a request, as the ledger names it.
fn kind_of(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Authorization => "authorize",
        RequestKind::Capture => "capture",
        RequestKind::Void => "void",
        RequestKind::Refund => "refund",
    }
}

/// The open request was answered, in full or in part: then it stays open.
fn hear_of(payment: &mut Payment, state: &str, in_full: bool) {
    let open_kind = payment.open_kind.take().filter(|_| !in_full);
    hear(payment, Some(state));
    payment.open_kind = open_kind;
}

/// The open request was answered; `state` is what the payment is now, if that changed.
fn hear(payment: &mut Payment, state: Option<&str>) {
    if let Some(state) = state {
        payment.state = state.to_owned();
    }
    payment.outcome_unknown = false;
    payment.open_kind = None;
}

fn fail(payment: &mut Payment, said: Said, provider_ref: Option<String>, code: &str) -> Said {
    payment.failure_code = Some(text(code));
    Said { provider_ref: refer(payment, provider_ref), detail: payment.failure_code.clone(), ..said }
}

fn refer(payment: &mut Payment, provider_ref: Option<String>) -> Option<String> {
    let provider_ref = provider_ref.as_deref().map(text);
    if provider_ref.is_some() {
        payment.provider_ref.clone_from(&provider_ref);
    }
    provider_ref
}

async fn write_payments(changed: &[(&StreamName, &Row<Payment>)], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    Upsert::new("payments", changed)
        .key("id", |(stream, _)| uuid_of(stream).unwrap_or_default())
        .set("order_id", |(_, row)| row.value.order_id)
        .set("attempt_group", |(_, row)| row.value.attempt_group)
        .set("state", |(_, row)| row.value.state.clone())
        .set("outcome_unknown", |(_, row)| row.value.outcome_unknown)
        .set("open_kind", |(_, row)| row.value.open_kind.clone())
        .set("currency", |(_, row)| row.value.currency.clone())
        .set("amount", |(_, row)| row.value.amount)
        .set("authorized", |(_, row)| row.value.authorized)
        .set("captured", |(_, row)| row.value.captured)
        .set("refunded", |(_, row)| row.value.refunded)
        .set("voided", |(_, row)| row.value.voided)
        .set("payment_method", |(_, row)| row.value.payment_method.clone())
        .set("provider_ref", |(_, row)| row.value.provider_ref.clone())
        .set("action_url", |(_, row)| row.value.action_url.clone())
        .set("failure_code", |(_, row)| row.value.failure_code.clone())
        .set("placed_on", |(_, row)| row.value.placed_on)
        .set("began_at", |(_, row)| row.value.began_at.unwrap_or(row.head.updated_at))
        .set("capture_before", |(_, row)| row.value.capture_before)
        .head(|(_, row)| row.head)
        .execute(sql)
        .await
}
