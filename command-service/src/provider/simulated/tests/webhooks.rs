//! Webhooks: sent until accepted, in the order that the script says, across a restart.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use domain::payment::ProviderResult;
use futures_util::FutureExt as _;
use service_kit::Tasks;
use tokio::sync::watch;

use super::*;
use crate::provider::port::ProviderEvent;
use crate::provider::simulated::outbox::Deliver;
use crate::provider::simulated::read_webhook;

/// A receiver that refuses the first `refusals` deliveries.
#[derive(Clone)]
struct Receiver {
    taken: Arc<Mutex<Vec<ProviderEvent>>>,
    tried: watch::Sender<u32>,
    refusals: u32,
    clock: Clock,
}

impl Receiver {
    fn new(clock: &Clock, refusals: u32) -> Self {
        Self { taken: Arc::default(), tried: watch::channel(0).0, refusals, clock: clock.clone() }
    }

    fn deliver(&self) -> Deliver {
        let receiver = self.clone();
        Arc::new(move |headers: HeaderMap, body: Bytes| {
            let receiver = receiver.clone();
            Box::pin(async move {
                let read = read_webhook(&crate::provider::tests::secrets(), &body, &headers, receiver.clock.now());
                let events = read.expect("webhooks are signed with the secret and can be read");
                let mut refused = false;
                receiver.tried.send_modify(|count| {
                    *count += 1;
                    refused = *count <= receiver.refusals;
                    if !refused {
                        receiver.taken.lock().expect("no panic while held").extend(events);
                    }
                });
                if refused { Err("503".to_owned()) } else { Ok(()) }
            })
        })
    }

    /// Turns the clock until so many deliveries have been tried.
    async fn tried(&self, count: u32) -> Vec<ProviderEvent> {
        let mut tried = self.tried.subscribe();
        loop {
            tokio::select! {
                biased;
                seen = tried.wait_for(|seen| *seen >= count) => { seen.expect("the receiver lives"); break }
                () = async { for _ in 0..20 { tokio::task::yield_now().await } } => self.clock.advance(Duration::from_millis(50)),
            }
        }
        self.taken.lock().expect("no panic while held").clone()
    }
}

fn results(events: &[ProviderEvent]) -> Vec<&'static str> {
    let name = |event: &ProviderEvent| match event.result {
        ProviderResult::ActionRequired { .. } => "action_required",
        ProviderResult::Authorized { .. } => "authorized",
        ProviderResult::Declined { .. } => "declined",
        ProviderResult::Expired => "expired",
        ProviderResult::Captured { .. } => "captured",
        ProviderResult::CaptureFailed { .. } => "capture_failed",
        ProviderResult::Voided => "voided",
        ProviderResult::VoidFailed { .. } => "void_failed",
        ProviderResult::Refunded { .. } => "refunded",
        ProviderResult::RefundFailed { .. } => "refund_failed",
    };
    events.iter().map(name).collect()
}

async fn run(token: &str, deliveries: u32) -> (Vec<ProviderEvent>, Entry) {
    let (_folder, path, clock) = world();
    let (bank, receiver, tasks) = (open(&path, &clock), Receiver::new(&clock, 0), Tasks::new());
    bank.start(receiver.deliver(), &tasks);
    bank.authorize(&authorize(1, token)).await.expect("an answer");
    let events = receiver.tried(deliveries).await;
    let entry = entry(&bank, 1).await;
    assert!(tasks.shut_down(Duration::from_secs(5)).await);
    (events, entry)
}

#[tokio::test]
async fn a_customer_who_confirms_or_gives_up_is_told_by_webhook() {
    let (events, entry) = run("tok_3ds_approve", 2).await;
    assert_eq!((results(&events), entry.authorized), (vec!["action_required", "authorized"], 1_000));
    let (events, entry) = run("tok_3ds_abandon", 2).await;
    assert_eq!((results(&events), entry.authorized), (vec!["action_required", "expired"], 0));
}

#[tokio::test]
async fn reordered_webhooks_tell_the_newest_first() {
    let (events, _) = run("tok_reordered_webhooks", 2).await;
    assert_eq!(results(&events), ["authorized", "action_required"]);
}

#[tokio::test]
async fn what_a_client_asked_for_is_told_although_the_client_leaves_before_the_answer() {
    let (_folder, path, clock) = world();
    let (bank, receiver, tasks) = (open(&path, &clock), Receiver::new(&clock, 0), Tasks::new());
    bank.start(receiver.deliver(), &tasks);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    assert_eq!(results(&receiver.tried(1).await), ["authorized"]);
    // Its server drops the request of a client that has gone: here as soon as it waits for the disk.
    let lapse = bank.act(key(1, 1).payment_id, Action::Lapse);
    assert!(lapse.now_or_never().is_none(), "it waits for the disk");
    let told = tokio::time::timeout(Duration::from_secs(20), receiver.tried(2)).await;
    assert_eq!(results(&told.expect("the webhook is sent")), ["authorized", "expired"]);
    tasks.shut_down(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn duplicates_bear_one_event_id_and_move_no_money() {
    let (events, entry) = run("tok_duplicate_webhooks", 3).await;
    assert_eq!(results(&events), ["authorized"; 3]);
    assert!(events.iter().all(|event| event.event_id == events[0].event_id));
    assert_eq!(entry.effects.values().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_late_success_comes_after_the_expiry() {
    let (events, entry) = run("tok_late_success", 3).await;
    assert_eq!(results(&events), ["action_required", "expired", "authorized"]);
    assert_eq!(entry.authorized, 1_000);
}

#[tokio::test]
async fn a_webhook_can_come_before_the_answer_to_its_call() {
    let (_folder, path, clock) = world();
    let (bank, receiver, tasks) = (open(&path, &clock), Receiver::new(&clock, 0), Tasks::new());
    bank.start(receiver.deliver(), &tasks);
    // The clock stands still: only the delivery itself can let the call go on.
    let answer = bank.authorize(&authorize(1, "tok_webhook_first")).await.expect("an answer");
    assert!(is_authorized(&answer.result));
    assert_eq!(results(&receiver.taken.lock().expect("no panic while held")), ["authorized"]);
    tasks.shut_down(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_refund_under_way_fails_later_and_moves_no_money() {
    let (_folder, path, clock) = world();
    let (bank, receiver, tasks) = (open(&path, &clock), Receiver::new(&clock, 0), Tasks::new());
    bank.start(receiver.deliver(), &tasks);
    bank.authorize(&authorize(1, "tok_refund_fails")).await.expect("an answer");
    bank.capture(&capture(1, 2, 1_000)).await.expect("an answer");
    let pending = bank.refund(&refund(1, 3, 600)).await.expect("an answer");
    assert_eq!(pending.result, None, "the provider is still at it");
    let second = bank.refund(&refund(1, 4, 600)).await.expect("an answer").result;
    assert_eq!(second, Some(ProviderResult::RefundFailed { code: "amount_too_large".into() }));
    let events = receiver.tried(4).await;
    assert_eq!(results(&events).iter().filter(|name| **name == "refund_failed").count(), 2);
    assert_eq!(entry(&bank, 1).await.refunded, 0);
    tasks.shut_down(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_webhook_that_was_not_accepted_is_sent_again_also_after_a_restart() {
    let (_folder, path, clock) = world();
    let (bank, receiver, tasks) = (open(&path, &clock), Receiver::new(&clock, u32::MAX), Tasks::new());
    bank.start(receiver.deliver(), &tasks);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    assert_eq!(receiver.tried(2).await, []);
    tasks.shut_down(Duration::from_secs(5)).await;
    drop(bank);
    let (bank, receiver, tasks) = (open(&path, &clock), Receiver::new(&clock, 1), Tasks::new());
    bank.start(receiver.deliver(), &tasks);
    let events = receiver.tried(2).await;
    assert_eq!(results(&events), ["authorized"]);
    // Accepted and written down: after one more start nothing is owed.
    let mut paid = bank.inner.paid.subscribe();
    paid.wait_for(|_| !bank.engine().owes(&events[0].event_id)).await.expect("the bank lives");
    bank.capture(&capture(1, 2, 1_000)).await.expect("an answer"); // Its sync carries the mark.
    tasks.shut_down(Duration::from_secs(5)).await;
    drop(bank);
    let bank = open(&path, &clock);
    assert!(!bank.engine().owes(&events[0].event_id));
}
