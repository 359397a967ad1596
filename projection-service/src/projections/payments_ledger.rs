//! `payments_ledger`: what was asked of the provider and what it said, one line an event. Written by `payments`, whose
//! row is the head of the stream.

use projection_engine::Index;
use projection_engine::projecting::changes::Head;
use projection_engine::projecting::upsert::Upsert;
use sqlx::PgConnection;
use uuid::Uuid;

/// The DDL of the table.
pub const DDL: &str = "
create table payments_ledger (
    entry_id uuid primary key, payment_id uuid not null, order_id uuid not null, kind text not null,
    state text not null, amount bigint, currency text, provider text, provider_ref text, request_id uuid, detail text,
    occurred_at timestamptz not null,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
);
";

/// The indexes of the table.
pub const INDEXES: &[Index] =
    &[Index::new("payments_ledger_by_payment", "payments_ledger", "(payment_id, stream_version)")];

/// What a payment event says about money, as one line of the ledger.
#[derive(Debug)]
pub(super) struct Entry {
    pub entry_id: Uuid,
    pub payment_id: Uuid,
    pub order_id: Uuid,
    pub kind: String,
    pub state: &'static str,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub provider: Option<String>,
    pub provider_ref: Option<String>,
    pub request_id: Option<Uuid>,
    pub detail: Option<String>,
    pub head: Head,
}

/// The part of an entry that differs by event.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub kind: &'static str,
    pub state: &'static str,
    pub amount: Option<i64>,
    pub provider_ref: Option<String>,
    pub request_id: Option<Uuid>,
    pub detail: Option<String>,
}

/// Adds lines to the ledger.
pub(super) async fn write(entries: &[Entry], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    Upsert::new("payments_ledger", entries)
        .key("entry_id", |entry| entry.entry_id)
        .once("payment_id", |entry| entry.payment_id)
        .once("order_id", |entry| entry.order_id)
        .once("kind", |entry| entry.kind.clone())
        .once("state", |entry| entry.state)
        .once("amount", |entry| entry.amount)
        .once("currency", |entry| entry.currency.clone())
        .once("provider", |entry| entry.provider.clone())
        .once("provider_ref", |entry| entry.provider_ref.clone())
        .once("request_id", |entry| entry.request_id)
        .once("detail", |entry| entry.detail.clone())
        .once("occurred_at", |entry| entry.head.updated_at)
        .head_once(|entry| entry.head)
        .execute(sql)
        .await
}
