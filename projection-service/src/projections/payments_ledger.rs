//! `payments_ledger`: what was asked of the provider and what it said, one line an event. Written by `payments`, whose
//! row is the head of the stream.

use projection_engine::Index;
use projection_engine::projecting::changes::{Head, column};
use sqlx::PgConnection;
use uuid::Uuid;

/// The table.
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

const INSERT_ENTRIES: &str = "
insert into payments_ledger
select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
    $9::text[], $10::uuid[], $11::text[], $12::timestamptz[], $13::bigint[], $14::bigint[], $15::timestamptz[])
on conflict (entry_id) do nothing";

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
    sqlx::query(INSERT_ENTRIES)
        .bind(column(entries, |entry| entry.entry_id))
        .bind(column(entries, |entry| entry.payment_id))
        .bind(column(entries, |entry| entry.order_id))
        .bind(column(entries, |entry| entry.kind.clone()))
        .bind(column(entries, |entry| entry.state))
        .bind(column(entries, |entry| entry.amount))
        .bind(column(entries, |entry| entry.currency.clone()))
        .bind(column(entries, |entry| entry.provider.clone()))
        .bind(column(entries, |entry| entry.provider_ref.clone()))
        .bind(column(entries, |entry| entry.request_id))
        .bind(column(entries, |entry| entry.detail.clone()))
        .bind(column(entries, |entry| entry.head.updated_at))
        .bind(column(entries, |entry| entry.head.version_column()))
        .bind(column(entries, |entry| entry.head.position_column()))
        .bind(column(entries, |entry| entry.head.updated_at))
        .execute(sql)
        .await
        .map(|_| ())
}
