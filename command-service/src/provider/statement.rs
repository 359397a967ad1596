//! The provider's own account: the bank's word, which the demo and reconciliation hold ours against.

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

/// Sums of minor units of one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderTotals)]
pub struct Totals {
    /// Ever held.
    pub authorized: i64,
    /// Taken.
    pub captured: i64,
    /// Held once and let go: voided, lapsed, or left over by a smaller capture.
    pub voided: i64,
    /// Given back.
    pub refunded: i64,
}

/// Where a payment stands at the provider.
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
    /// The hold was let go, or a void came before any authorisation.
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
    /// Where it stands.
    #[schema(value_type = ProviderPaymentState)]
    pub state: EntryState,
    /// The currency; none for a void that came before any authorisation.
    #[schema(value_type = Option<String>)]
    pub currency: Option<Currency>,
    /// Ever held.
    pub authorized: i64,
    /// Taken.
    pub captured: i64,
    /// Held once and let go.
    pub voided: i64,
    /// Given back.
    pub refunded: i64,
    /// How often money was moved, by idempotency key: never more than 1.
    pub effects: BTreeMap<String, u32>,
}

/// What the provider did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderLedger)]
pub struct Statement {
    /// Sums over everything, by currency.
    pub totals: BTreeMap<String, Totals>,
    /// Payments ever seen.
    pub payments: u64,
    /// Money movements ever made: holds, captures, voids and refunds.
    pub effects: u64,
    /// The most movements that any one key made: 1, or something is wrong.
    pub max_effects_per_key: u32,
    /// Calls that bore a known key and another body. Each is a fault of the caller.
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
