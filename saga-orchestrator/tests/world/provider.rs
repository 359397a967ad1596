//! A bank of the tests: what it does depends on the card's token. It keeps its own book, which no kill wipes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::Timestamp;
use domain::ids::{PaymentId, RequestId};
use domain::money::Money;
use domain::payment::{
    Command, MarkPaymentOutcomeUnknown, OpenRequest, Payment, ProviderResult, RecordProviderResult, RequestKind,
    ResultSource,
};

#[derive(Debug, Default)]
pub struct Provider {
    woken: BTreeSet<PaymentId>,
    /// How often each request was made, by the provider's own book.
    pub asked: BTreeMap<RequestId, u32>,
    /// Customers who will confirm, and when.
    confirms: BTreeMap<PaymentId, Timestamp>,
    /// Whether nobody is there.
    pub down: bool,
    /// Whether the bank tells of `tok_silent_for_long` by now.
    pub speaks: bool,
    /// By the bank's own book: what is held, and what was taken and not given back.
    pub held: BTreeMap<PaymentId, i64>,
    pub taken: BTreeMap<PaymentId, i64>,
    /// What was given back of a payment, by request.
    given_back: BTreeMap<(PaymentId, RequestId), i64>,
}

/// After so long without an answer the request is recorded as unknown, as the driver does.
const UNKNOWN_AFTER: Duration = Duration::from_secs(30);

impl Provider {
    /// Somebody sent a payment command: its open requests are made of the provider.
    pub fn wake(&mut self, payment: PaymentId) {
        self.woken.insert(payment);
    }

    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.confirms.values().copied().filter(|at| *at > now).min()
    }

    /// What the provider says now.
    pub fn answers(
        &mut self,
        payments: &BTreeMap<PaymentId, (Payment, u64)>,
        now: Timestamp,
    ) -> Vec<(PaymentId, Command)> {
        let mut answers = Vec::new();
        let due: Vec<_> = self.confirms.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.confirms.remove(&id);
            self.woken.insert(id);
        }
        if self.down {
            self.woken.clear();
        }
        for id in std::mem::take(&mut self.woken) {
            let (payment, _) = &payments[&id];
            for request in payment.open_requests() {
                let asked = self.asked.entry(request.request_id).or_default();
                *asked += 1;
                let asked = *asked;
                let Some(result) = self.result(id, payment, &request, asked, now) else {
                    let known = request.unknown || request.awaits_customer;
                    if now >= request.opened_at + UNKNOWN_AFTER && !known {
                        let request_id = request.request_id;
                        let mark = Command::MarkPaymentOutcomeUnknown(MarkPaymentOutcomeUnknown { request_id });
                        answers.push((id, mark));
                    }
                    continue;
                };
                self.book(id, request.request_id, &result);
                let source = if asked == 1 { ResultSource::Response } else { ResultSource::Fetch };
                let record =
                    RecordProviderResult { request_id: request.request_id, result, provider_ref: None, source };
                let repeats = if payment.payment_method == "tok_duplicate_webhooks" { 3 } else { 1 };
                answers.extend(std::iter::repeat_n((id, Command::RecordProviderResult(record)), repeats));
            }
        }
        answers
    }

    /// Notes in the bank's book what it did. An amount is the total of its request.
    pub fn book(&mut self, id: PaymentId, request_id: RequestId, result: &ProviderResult) {
        let given_back = |book: &Self| -> i64 {
            book.given_back.iter().filter(|((payment, _), _)| *payment == id).map(|(_, amount)| amount).sum()
        };
        let before = given_back(self);
        match result {
            ProviderResult::Authorized { amount, .. } => {
                self.held.insert(id, amount.amount);
                self.taken.insert(id, 0);
            }
            ProviderResult::Captured { amount } => {
                self.held.insert(id, 0);
                self.taken.insert(id, amount.amount - before);
            }
            ProviderResult::Voided => _ = self.held.insert(id, 0),
            ProviderResult::Refunded { amount } => {
                self.given_back.insert((id, request_id), amount.amount);
                *self.taken.entry(id).or_default() -= given_back(self) - before;
            }
            ProviderResult::ActionRequired { .. }
            | ProviderResult::Declined { .. }
            | ProviderResult::Expired
            | ProviderResult::CaptureFailed { .. }
            | ProviderResult::VoidFailed { .. }
            | ProviderResult::RefundFailed { .. } => {}
        }
    }

    /// Whether nothing is held and nothing kept.
    pub fn keeps_nothing(&self) -> bool {
        self.held.values().chain(self.taken.values()).all(|amount| *amount == 0)
    }

    fn result(
        &mut self,
        id: PaymentId,
        payment: &Payment,
        request: &OpenRequest,
        asked: u32,
        now: Timestamp,
    ) -> Option<ProviderResult> {
        let token = payment.payment_method.as_str();
        let amount = part(token, request);
        let authorized =
            Some(ProviderResult::Authorized { amount, capture_before: now + Duration::from_secs(7 * 86_400) });
        let no = |code: &str| code.to_owned();
        let not_now = Some(ProviderResult::VoidFailed { code: no("not_now") });
        match (request.kind, token) {
            (RequestKind::Authorization, "tok_decline") => {
                Some(ProviderResult::Declined { code: no("insufficient_funds") })
            }
            (RequestKind::Authorization, token) if never_confirms(token) && asked == 1 => {
                Some(ProviderResult::ActionRequired { action_url: "https://bank.example/confirm".into() })
            }
            // The customer confirms when time has run out for him: the bank tells by itself (`World::bank_tells`).
            (RequestKind::Authorization, token) if never_confirms(token) => None,
            (RequestKind::Authorization, "tok_3ds_approve") if asked == 1 => {
                self.confirms.insert(id, now + Duration::from_secs(60));
                Some(ProviderResult::ActionRequired { action_url: "https://bank.example/confirm".into() })
            }
            (RequestKind::Authorization, "tok_3ds_approve") if self.confirms.contains_key(&id) => None,
            // Charged, but the answer got lost: it is there when asked again.
            (RequestKind::Authorization, "tok_timeout_charged") if asked == 1 => None,
            (RequestKind::Authorization, "tok_silent_for_long") if !self.speaks => None,
            (RequestKind::Authorization, "tok_captured_at_once" | "tok_captured_at_once_refund_fails") => {
                Some(ProviderResult::Captured { amount })
            }
            (kind, token) if is_told(kind, token) => None,
            (RequestKind::Authorization, _) => authorized,
            (RequestKind::Capture, "tok_capture_fails") => {
                Some(ProviderResult::CaptureFailed { code: no("expired_card") })
            }
            (
                RequestKind::Capture,
                "tok_capture_fails_once" | "tok_capture_and_void_fail_once" | "tok_capture_once_void_fails",
            ) if payment.attempt_group == 0 => Some(ProviderResult::CaptureFailed { code: no("hiccup") }),
            (RequestKind::Capture, "tok_capture_silent") if asked < 5 => None,
            (RequestKind::Capture, _) => Some(ProviderResult::Captured { amount }),
            (RequestKind::Void, token) if token.contains("void_fails_refund") || token.ends_with("void_fails") => {
                not_now
            }
            (RequestKind::Void, "tok_void_fails_once" | "tok_capture_and_void_fail_once")
                if made(payment, RequestKind::Void) == 1 =>
            {
                not_now
            }
            (RequestKind::Void, "tok_void_fails_5_times") if made(payment, RequestKind::Void) <= 5 => not_now,
            (RequestKind::Void, _) => Some(ProviderResult::Voided),
            (RequestKind::Refund, "tok_refund_fails_once") if made(payment, RequestKind::Refund) == 1 => {
                Some(ProviderResult::RefundFailed { code: no("account_closed") })
            }
            (
                RequestKind::Refund,
                "tok_refund_fails"
                | "tok_captured_at_once_refund_fails"
                | "tok_3ds_late_refund_fails"
                | "tok_capture_told_void_fails_refund_fails",
            ) => Some(ProviderResult::RefundFailed { code: no("account_closed") }),
            (RequestKind::Refund, _) => Some(ProviderResult::Refunded { amount }),
        }
    }
}

/// Whether the bank says nothing of it by itself: the test tells what became of it, or nobody does.
fn is_told(kind: RequestKind, token: &str) -> bool {
    match kind {
        RequestKind::Authorization => matches!(token, "tok_silent" | "tok_silent_void_fails"),
        RequestKind::Capture => token.starts_with("tok_capture_told") || token == "tok_capture_and_refund_told",
        RequestKind::Void => token == "tok_void_silent" || token.starts_with("tok_capture_told_void_told"),
        RequestKind::Refund => token.starts_with("tok_capture") && token.ends_with("refund_told"),
    }
}

/// What the bank does of a request: all of it, or one cent.
fn part(token: &str, request: &OpenRequest) -> Money {
    let short = match request.kind {
        RequestKind::Authorization => token == "tok_authorize_short",
        RequestKind::Capture => token == "tok_capture_short",
        RequestKind::Refund => token == "tok_refund_short",
        RequestKind::Void => false,
    };
    if short { Money::new(1, request.amount.currency) } else { request.amount }
}

fn made(payment: &Payment, kind: RequestKind) -> usize {
    payment.requests.values().filter(|request| request.kind == kind).count()
}

/// Whether the customer does not confirm in time, or never.
fn never_confirms(token: &str) -> bool {
    token.starts_with("tok_3ds_") && token != "tok_3ds_approve"
}
