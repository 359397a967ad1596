//! The provider's own ledger, with which the demo and the reconciliation compare ours.

use std::collections::BTreeMap;

use domain::ids::{OrderId, PaymentId};
use domain::money::Currency;
use serde::{Deserialize, Serialize};
use service_kit::api::ProviderPaymentState;
use utoipa::{IntoParams, ToSchema};

/// Entries of a statement at most, and when nobody says how many: some 4 MB of JSON.
pub const PAGE_MAX: usize = 10_000;

/// Which part of the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only payments after this one, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = Uuid)]
    pub after: Option<PaymentId>,
    /// The most entries, 1 to 10 000 (the default).
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Page {
    /// How many entries, within bounds.
    pub fn size(&self) -> usize {
        self.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX)
    }
}

/// Sums in one currency, in its minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderTotals)]
pub struct Totals {
    /// Amount authorized so far, also where it was captured or voided since.
    pub authorized: i64,
    /// Amount captured so far.
    pub captured: i64,
    /// Amount authorized and let go: voided, lapsed, or left over by a smaller capture.
    pub voided: i64,
    /// Amount refunded so far.
    pub refunded: i64,
}

/// The state of a payment at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// The customer must confirm.
    ActionRequired,
    /// The provider is still at it.
    Pending,
    /// Money is held.
    Authorized,
    /// No money is held, the card was refused.
    Declined,
    /// Nobody confirmed, or the hold lapsed.
    Expired,
    /// Money was taken.
    Captured,
    /// The hold was let go, or a void came before any authorization.
    Voided,
    /// All that was taken was given back.
    Refunded,
}

/// One payment at the provider. Amounts are minor units of `currency`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderLedgerEntry)]
pub struct Entry {
    /// The id of our payment.
    #[schema(value_type = String, format = Uuid)]
    pub payment_id: PaymentId,
    /// The id of our order.
    #[schema(value_type = String, format = Uuid)]
    pub order_id: OrderId,
    /// The state of the payment at the provider.
    #[schema(value_type = ProviderPaymentState)]
    pub state: EntryState,
    /// The currency; null for a void that came before any authorization.
    #[schema(value_type = Option<String>)]
    pub currency: Option<Currency>,
    /// Amount authorized so far, in minor units.
    pub authorized: i64,
    /// Amount captured so far, in minor units.
    pub captured: i64,
    /// Amount authorized and let go, in minor units.
    pub voided: i64,
    /// Amount refunded so far, in minor units.
    pub refunded: i64,
    /// Number of money movements by idempotency key: never more than 1.
    pub effects: BTreeMap<String, u32>,
}

/// The ledger of the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderLedger)]
pub struct Statement {
    /// Sums over everything, by currency.
    pub totals: BTreeMap<String, Totals>,
    /// Number of payments that the provider has seen.
    pub payments: u64,
    /// Number of money movements: authorizations, captures, voids and refunds.
    pub effects: u64,
    /// The most money movements of one idempotency key: 1, or something is wrong.
    pub max_effects_per_key: u32,
    /// Number of calls that reused a key with another body. Each is a fault of the caller.
    pub key_conflicts: u64,
    /// Webhooks that are still to be delivered.
    #[serde(default)]
    pub webhooks_owed: u64,
    /// Deliveries of webhooks that were accepted since the provider was started.
    #[serde(default)]
    pub webhooks_delivered: u64,
    /// A page of the payments, by id.
    pub entries: Vec<Entry>,
    /// Whether there are payments after the last entry.
    pub has_more: bool,
}
