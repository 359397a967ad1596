//! What the simulated provider says to a call by its books, before any script of delays and losses.

use domain::ids::PaymentId;
use domain::money::Money;
use domain::payment::ProviderResult;

use super::bank::Bank;
use super::record::Kind;
use super::script::Behaviour;
use crate::provider::port::Authorize;
use crate::provider::statement::EntryState;

/// Payments that a ledger on disk may hold, some 1 GB of memory: it is for trying things out. Beyond, authorizations
/// are declined with `ledger_full`: stop, move the ledger away, start.
const PAYMENTS_MAX: usize = 1_000_000;

/// Why an authorization is declined whatever its script says.
pub(super) fn authorization(bank: &Bank, call: &Authorize) -> Option<&'static str> {
    match bank.accounts.get(&call.key.payment_id) {
        Some(account) if account.state == EntryState::Voided => Some("payment_voided"),
        Some(account) if account.requests.iter().any(|request| request.kind == Kind::Authorize) => {
            Some("duplicate_authorization")
        }
        Some(_) | None if call.amount.amount <= 0 => Some("invalid_amount"),
        Some(_) | None if !bank.instant && bank.accounts.len() >= PAYMENTS_MAX => Some("ledger_full"),
        Some(_) | None => None,
    }
}

/// One capture a hold, at most what is held.
pub(super) fn capture(bank: &Bank, payment: PaymentId, amount: Money) -> ProviderResult {
    let failed = |code: &str| ProviderResult::CaptureFailed { code: code.to_owned() };
    let Some(account) = bank.accounts.get(&payment) else { return failed("no_authorization") };
    match account.state {
        EntryState::Authorized => {}
        EntryState::Captured | EntryState::Refunded => return failed("already_captured"),
        EntryState::Voided => return failed("authorization_voided"),
        EntryState::Expired => return failed("authorization_expired"),
        EntryState::Declined | EntryState::ActionRequired | EntryState::Pending => return failed("no_authorization"),
    }
    let earlier = bank.orders.get(&account.order_id).map_or(0, |order| order.failed_captures);
    if account.behaviour == Behaviour::CaptureFails
        || (account.behaviour == Behaviour::CaptureFailsOnce && earlier == 0)
    {
        failed("issuer_declined")
    } else if account.currency != Some(amount.currency) {
        failed("currency_mismatch")
    } else if amount.amount <= 0 || amount.amount > account.held() {
        failed("amount_too_large")
    } else if account.behaviour == Behaviour::CaptureShort {
        ProviderResult::Captured { amount: Money::new(1, amount.currency) }
    } else {
        ProviderResult::Captured { amount }
    }
}

/// At most what was taken and not given back; `None`: it takes a while.
pub(super) fn refund(bank: &Bank, payment: PaymentId, amount: Money) -> Option<ProviderResult> {
    let failed = |code: &str| Some(ProviderResult::RefundFailed { code: code.to_owned() });
    let Some(account) = bank.accounts.get(&payment) else { return failed("no_capture") };
    let left = account.captured - account.refunded - account.refunds_pending();
    if account.currency != Some(amount.currency) {
        failed("currency_mismatch")
    } else if amount.amount <= 0 || amount.amount > left {
        failed("amount_too_large")
    } else if !account.refund_fails() {
        Some(ProviderResult::Refunded { amount })
    } else if bank.instant {
        failed("refund_rejected")
    } else {
        None
    }
}
