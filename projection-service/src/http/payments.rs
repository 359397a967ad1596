//! `GET /v1/payments`, `/v1/payments/{id}`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{LedgerKind, LedgerState, PageQuery, PaymentStatus};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Money, Refusals, RefusalsOfOne};
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
    case when p.currency is not null then json_build_object('amount', p.amount, 'currency', p.currency) end as amount,
    case when p.currency is not null then json_build_object('amount', p.authorized, 'currency', p.currency) end as authorized,
    case when p.currency is not null then json_build_object('amount', p.captured, 'currency', p.currency) end as captured,
    case when p.currency is not null then json_build_object('amount', p.refunded, 'currency', p.currency) end as refunded,
    case when p.currency is not null then json_build_object('amount', p.voided, 'currency', p.currency) end as voided,
    p.payment_method, p.provider_ref, case when p.state = 'action_required' then p.action_url end as action_url,
    p.failure_code, p.began_at, p.capture_before, p.stream_version as version, p.updated_at
  from payments p
  where (p.began_at, p.id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
    and ($3::uuid is null or p.order_id = $3)
  order by p.began_at desc, p.id desc limit $4) t";

const SHOW: &str = "
select row_to_json(t) from (
  select p.id, p.order_id, p.attempt_group, case when p.outcome_unknown then 'unknown' else p.state end as status,
    case when p.currency is not null then json_build_object('amount', p.amount, 'currency', p.currency) end as amount,
    case when p.currency is not null then json_build_object('amount', p.authorized, 'currency', p.currency) end as authorized,
    case when p.currency is not null then json_build_object('amount', p.captured, 'currency', p.currency) end as captured,
    case when p.currency is not null then json_build_object('amount', p.refunded, 'currency', p.currency) end as refunded,
    case when p.currency is not null then json_build_object('amount', p.voided, 'currency', p.currency) end as voided,
    p.payment_method, p.provider_ref, case when p.state = 'action_required' then p.action_url end as action_url,
    p.failure_code, p.began_at, p.capture_before, p.stream_version as version, p.updated_at,
    (select coalesce(json_agg(row_to_json(e) order by e.version), '[]') from (
      select l.entry_id, l.kind, l.state,
        case when l.currency is not null and l.amount is not null
          then json_build_object('amount', l.amount, 'currency', l.currency) end as amount, l.provider, l.provider_ref, l.request_id, l.detail,
        l.occurred_at, l.stream_version as version
      from payments_ledger l where l.payment_id = p.id) e) as ledger
  from payments p where p.id = $1) t";

/// A payment: one authorization, and what followed from it. The amounts are null where it was given up before it began.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    /// The id of the payment.
    pub id: Uuid,
    /// The id of its order.
    pub order_id: Uuid,
    /// The number of the order's authorization, from 0; null: it was given up before it began.
    pub attempt_group: Option<i32>,
    /// The status of the payment.
    #[schema(value_type = PaymentStatus)]
    pub status: String,
    /// The amount that was asked for.
    pub amount: Option<Money>,
    /// The amount that was authorized.
    pub authorized: Option<Money>,
    /// The amount that was captured.
    pub captured: Option<Money>,
    /// The amount that was given back.
    pub refunded: Option<Money>,
    /// The authorized amount that was let go.
    pub voided: Option<Money>,
    /// The card's token at the payment provider.
    #[schema(example = "tok_approve")]
    pub payment_method: String,
    /// The provider's name of the payment.
    pub provider_ref: Option<String>,
    /// The page where the customer must confirm the payment.
    pub action_url: Option<String>,
    /// The provider's last reason for a refusal.
    #[schema(example = "card_declined")]
    pub failure_code: Option<String>,
    /// The moment of its first event.
    pub began_at: DateTime<Utc>,
    /// The moment when the authorization lapses.
    pub capture_before: Option<DateTime<Utc>>,
    /// The version of its stream.
    pub version: u64,
    /// The moment when it last changed.
    pub updated_at: DateTime<Utc>,
    /// Its parked streams: it does not reflect them beyond where they stand; not given where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

/// A payment with its ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PaymentWithLedger {
    /// The payment itself, without its ledger.
    #[serde(flatten)]
    pub payment: Payment,
    /// Our requests and the provider's results, oldest first.
    pub ledger: Vec<LedgerEntry>,
}

/// A line of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = PaymentLedgerEntry)]
pub struct LedgerEntry {
    /// The entry's id: that of its event.
    pub entry_id: Uuid,
    /// The kind of the request.
    #[schema(value_type = LedgerKind)]
    pub kind: String,
    /// The state of the request.
    #[schema(value_type = LedgerState)]
    pub state: String,
    /// The amount that it is about.
    pub amount: Option<Money>,
    /// The name of the provider that said so; null: it is our own request.
    pub provider: Option<String>,
    /// The provider's name of the request.
    pub provider_ref: Option<String>,
    /// The id of our request.
    pub request_id: Option<Uuid>,
    /// The provider's explanation, for people.
    pub detail: Option<String>,
    /// The moment when it occurred.
    pub occurred_at: DateTime<Utc>,
    /// The event's version in the payment's stream.
    pub version: u64,
}

/// Payments, newest first.
#[utoipa::path(get, path = "/v1/payments", tag = "payments", operation_id = "listPayments",
    params(ConsistencyHeaders, ("order_id" = Option<Uuid>, Query, description = "Only those of this order"), PageQuery),
    responses((status = 200, description = "A page of payments, the newest first.", body = Page<Payment>), Refusals))]
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
    params(("id" = Uuid, Path, description = "The payment's id"), ConsistencyHeaders),
    responses((status = 200, description = "The payment and its ledger.", body = PaymentWithLedger), RefusalsOfOne))]
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
