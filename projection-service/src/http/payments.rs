//! `GET /v1/payments`, `/v1/payments/{id}`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Refusals, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, json};
use super::cursor;
use super::page::{MOST, Page, USUAL, look_up};
use super::params::{Names, Params};
use super::stale::{self, Stale};
use crate::Handle;
use crate::projections::payments;

const LIST: &str = "
select row_to_json(t) from (
  select p.id, p.order_id, p.attempt_group, case when p.outcome_unknown then 'unknown' else p.state end as status,
    p.currency, p.amount, p.authorized, p.captured, p.refunded, p.voided, p.payment_method, p.provider_ref,
    p.action_url, p.failure_code, p.began_at, p.capture_before, p.stream_version as version, p.updated_at
  from payments p
  where (p.began_at, p.id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    and ($3::uuid is null or p.order_id = $3)
  order by p.began_at desc, p.id desc limit $4) t";

const SHOW: &str = "
select row_to_json(t) from (
  select p.id, p.order_id, p.attempt_group, case when p.outcome_unknown then 'unknown' else p.state end as status,
    p.currency, p.amount, p.authorized, p.captured, p.refunded, p.voided, p.payment_method, p.provider_ref,
    p.action_url, p.failure_code, p.began_at, p.capture_before, p.stream_version as version, p.updated_at,
    (select coalesce(json_agg(row_to_json(e) order by e.version), '[]') from (
      select l.entry_id, l.kind, l.state, l.amount, l.currency, l.provider, l.provider_ref, l.request_id, l.detail,
        l.occurred_at, l.stream_version as version
      from payments_ledger l where l.payment_id = p.id) e) as ledger
  from payments p where p.id = $1) t";

/// A payment. Amounts in minor units of `currency`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the names say it; the others say more")]
pub struct Payment {
    pub id: Uuid,
    pub order_id: Uuid,
    /// The order's how-manieth authorisation, from 0; none: it was given up before it began.
    pub attempt_group: Option<i32>,
    /// `requested, action_required, unknown, authorized, captured, voided, expired, declined, refunded, refund_failed,
    /// succeeded_late`.
    pub status: String,
    pub currency: Option<String>,
    pub amount: i64,
    pub authorized: i64,
    pub captured: i64,
    pub refunded: i64,
    pub voided: i64,
    pub payment_method: String,
    pub provider_ref: Option<String>,
    /// Where the customer must confirm.
    pub action_url: Option<String>,
    /// The provider's last reason for a no.
    pub failure_code: Option<String>,
    pub began_at: DateTime<Utc>,
    /// When the hold lapses.
    pub capture_before: Option<DateTime<Utc>>,
    pub version: u64,
    pub updated_at: DateTime<Utc>,
    /// Its parked streams: it does not reflect them beyond where they stand; not given where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// A payment with its ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PaymentWithLedger {
    /// The payment.
    #[serde(flatten)]
    pub payment: Payment,
    /// What was asked and what the provider said, oldest first.
    pub ledger: Vec<LedgerEntry>,
}

/// A line of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the names say it; the others say more")]
pub struct LedgerEntry {
    pub entry_id: Uuid,
    /// `authorize, capture, void, refund`.
    pub kind: String,
    /// `requested, action_required, succeeded, failed, unknown, expired, succeeded_late`.
    pub state: String,
    /// In minor units.
    pub amount: Option<i64>,
    pub currency: Option<String>,
    /// Who said so; none: it is ours.
    pub provider: Option<String>,
    pub provider_ref: Option<String>,
    pub request_id: Option<Uuid>,
    pub detail: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub version: u64,
}

/// Payments, newest first.
#[utoipa::path(get, path = "/v1/payments", tag = "payments", operation_id = "listPayments",
    params(ConsistencyHeaders, ("order_id" = Option<Uuid>, Query), ("limit" = Option<u32>, Query, description = "1 to 200"),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<Payment>), Refusals))]
pub async fn list(
    State(handle): State<Handle>,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Page<Payment>>, Problem> {
    params.only(&["order_id", "limit", "cursor"])?;
    let limit = params.limit(USUAL, MOST)?;
    let (began_at, id) = cursor::decode::<DateTime<Utc>, Uuid>(&params, "payments")?.unzip();
    let order_id = params.get::<Uuid>("order_id")?;
    let reader = consistency.reader(&handle, &[payments::NAME]).await?;
    let query = json::<Payment>(LIST).bind(began_at).bind(id).bind(order_id).bind(look_up(limit));
    let found = reader.list(query).await?;
    let key = |payment: &Payment| [payment.began_at.to_rfc3339(), payment.id.to_string()];
    let page = Page::of(found, limit, |payment| cursor::encode("payments", &key(payment)));
    let page = page.stale(reader.stale(stale::of_order_or_any(order_id)));
    Ok(Answer::at(reader.position, page).waited(consistency.applied_s()))
}

/// A payment and its ledger.
#[utoipa::path(get, path = "/v1/payments/{id}", tag = "payments", operation_id = "showPayment",
    params(("id" = Uuid, Path), ConsistencyHeaders),
    responses((status = 200, body = PaymentWithLedger), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<PaymentWithLedger>, Problem> {
    params.only(&[])?;
    let id: Uuid = names.get("id")?;
    let reader = consistency.reader(&handle, &[payments::NAME]).await?;
    let payment = reader.one(json::<PaymentWithLedger>(SHOW).bind(id)).await?;
    let mut payment = payment.ok_or_else(|| Problem::not_found(format_args!("there is no payment `{id}`")))?;
    payment.payment.stale = reader.stale(stale::stream(format!("payment-{id}")));
    let version = payment.payment.version;
    Ok(Answer::at(reader.position, payment).version(version).waited(consistency.applied_s()))
}
