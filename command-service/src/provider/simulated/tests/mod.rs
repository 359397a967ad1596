//! The simulated provider against its own promises; every assertion on money reads its ledger.

mod ledger_file;
mod scripts;
mod webhooks;

use std::path::Path;

use domain::Timestamp;
use domain::ids::{OrderId, PaymentId, RequestId};
use domain::money::{Currency, Money};
use domain::payment::ProviderResult;
use service_kit::Clock;
use uuid::Uuid;

use super::{Action, Simulator};
use crate::provider::config::SimulatedConfig;
use crate::provider::port::{Authorize, Capture, PaymentProvider, Refund, RequestKey, Void};
use crate::provider::statement::{Entry, Page, Statement};

pub(crate) fn start() -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000, 0).expect("a valid time")
}

pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

/// Request `request` of payment `payment`; order and payment bear the same number.
pub(crate) fn key(payment: u128, request: u128) -> RequestKey {
    RequestKey { payment_id: PaymentId(Uuid::from_u128(payment)), request_id: RequestId(Uuid::from_u128(request)) }
}

pub(crate) fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(number))
}

pub(crate) fn authorize(payment: u128, token: &str) -> Authorize {
    Authorize {
        key: key(payment, 1),
        order_id: order(payment),
        amount: eur(1_000),
        payment_method: token.to_owned(),
        tags: vec![],
    }
}

pub(crate) fn capture(payment: u128, request: u128, amount: i64) -> Capture {
    Capture { key: key(payment, request), order_id: order(payment), amount: eur(amount) }
}

pub(crate) fn void(payment: u128, request: u128) -> Void {
    Void { key: key(payment, request), order_id: order(payment) }
}

pub(crate) fn refund(payment: u128, request: u128, amount: i64) -> Refund {
    Refund { key: key(payment, request), order_id: order(payment), amount: eur(amount) }
}

pub(crate) fn open(path: &Path, clock: &Clock) -> Simulator {
    let config = SimulatedConfig::default();
    Simulator::open(path, &config, crate::provider::tests::secrets(), "http://bank", clock.clone())
        .expect("the ledger opens")
}

pub(crate) async fn statement(simulator: &Simulator) -> Statement {
    simulator.statement(&Page::default()).await.expect("a statement")
}

pub(crate) async fn entry(simulator: &Simulator, payment: u128) -> Entry {
    let all = statement(simulator).await;
    assert!(all.max_effects_per_key <= 1, "a key moved money twice: {all:?}");
    let id = key(payment, 0).payment_id;
    all.entries.into_iter().find(|entry| entry.payment_id == id).expect("the payment is in the ledger")
}

pub(crate) fn is_authorized(result: &Option<ProviderResult>) -> bool {
    matches!(result, Some(ProviderResult::Authorized { amount, .. }) if *amount == eur(1_000))
}

/// A folder of its own and a clock that stands still.
pub(crate) fn world() -> (tempfile::TempDir, std::path::PathBuf, Clock) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.jsonl");
    (folder, path, Clock::manual(start()))
}
