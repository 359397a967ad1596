//! Every script from request to outcome, with webhooks: the payment's end, and the bank's ledger beside ours.

use super::*;
use crate::provider::statement::EntryState;

/// Starts a process whose bank delivers webhooks into the intake.
async fn shop(folder: &Path, config: ProviderConfig) -> (Process, Simulator) {
    let mut process = Process::open(folder);
    let bank = bank(folder);
    process.start_with(Arc::new(bank.clone()), Some(bank.clone()), config);
    (process, bank)
}

#[tokio::test]
async fn every_script_that_ends_well_is_authorized_once_and_captured_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (process, bank) = shop(folder.path(), config()).await;
    let tokens = [
        "tok_approve",
        "tok_3ds_approve",
        "tok_timeout_charged",
        "tok_timeout_charged.2",
        "tok_timeout_not_charged",
        "tok_error_twice",
        "tok_webhook_first",
        "tok_duplicate_webhooks",
        "tok_reordered_webhooks",
        "tok_lost_webhook",
        "tok_refund_fails",
    ];
    for (payment, token) in (1..).zip(tokens) {
        process.send(payment, authorize(payment, token)).await;
    }
    for (payment, token) in (1..).zip(tokens) {
        process.until(payment, token, is_authorized).await;
        process.send(payment, capture()).await;
    }
    for (payment, token) in (1..).zip(tokens) {
        let ours = process.until(payment, token, |payment| payment.status == Status::Captured).await;
        let theirs = entry(&bank, payment).await.expect("the bank has seen it");
        assert_eq!((ours.authorized.amount, ours.captured.amount), (theirs.authorized, theirs.captured), "{token}");
        let types = process.types(payment).await;
        let times = |name: &str| types.iter().filter(|event| *event == name).count();
        assert_eq!((times("PaymentAuthorized"), times("PaymentCaptured")), (1, 1), "{token}: {types:?}");
        assert!(!types.iter().any(|event| event == "PaymentDeclined"), "{token}: {types:?}");
    }
    let (totals, count) = (statement(&bank).await, tokens.len());
    assert_eq!(totals.effects, 2 * count as u64);
    assert_eq!(totals.totals["EUR"].captured, 1_000 * count as i64);
    process.crash().await;
}

#[tokio::test]
async fn scripts_that_end_badly_leave_no_money_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (process, bank) = shop(folder.path(), config()).await;
    process.send(1, authorize(1, "tok_decline.no_funds")).await;
    process.send(2, authorize(2, "tok_3ds_abandon")).await;
    process.until(1, "declined", |payment| payment.status == Status::Declined).await;
    process.until(2, "expired", |payment| payment.status == Status::Expired).await;
    process.send(3, authorize(3, "tok_capture_fails")).await;
    process.until(3, "authorized", is_authorized).await;
    process.send(3, capture()).await;
    process.until(3, "past its capture", |payment| payment.open_requests().is_empty()).await;
    process.send(3, void(3)).await;
    process.until(3, "voided", |payment| payment.status == Status::Voided).await;
    let totals = statement(&bank).await.totals["EUR"];
    assert_eq!((totals.authorized, totals.captured, totals.voided), (1_000, 0, 1_000));
    process.crash().await;
}

#[tokio::test]
async fn a_success_after_the_end_is_seen_as_late_and_can_be_voided() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (process, bank) = shop(folder.path(), config()).await;
    process.send(1, authorize(1, "tok_late_success")).await;
    process.until(1, "late", |payment| payment.status == Status::SucceededLate).await;
    process.send(1, void(1)).await;
    process.until(1, "voided", |payment| payment.status == Status::Voided).await;
    let entry = entry(&bank, 1).await.expect("seen");
    assert_eq!((entry.state, entry.authorized, entry.voided), (EntryState::Voided, 1_000, 1_000));
    process.crash().await;
}

#[tokio::test]
async fn a_refund_is_made_once_and_a_failing_one_is_told_later() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (process, bank) = shop(folder.path(), config()).await;
    for (payment, token) in [(1, "tok_approve"), (2, "tok_refund_fails")] {
        process.send(payment, authorize(payment, token)).await;
        process.until(payment, "authorized", is_authorized).await;
        process.send(payment, capture()).await;
        process.until(payment, "captured", |payment| payment.status == Status::Captured).await;
        process.send(payment, refund(1_000)).await;
    }
    process.until(1, "refunded", |payment| payment.status == Status::Refunded).await;
    process.until(2, "past its refund", |payment| payment.open_requests().is_empty()).await;
    assert_eq!(process.types(2).await.last().map(String::as_str), Some("RefundFailed"));
    assert!(!process.types(2).await.iter().any(|event| event == "PaymentOutcomeUnknown"), "it was under way, not lost");
    assert_eq!(statement(&bank).await.totals["EUR"].refunded, 1_000);
    process.crash().await;
}
