//! What each token does, and what holds whatever the token.

use std::time::Duration;

use domain::payment::ProviderResult;
use proptest::prelude::*;

use super::*;
use crate::provider::port::{Lookup, ProviderError};
use crate::provider::simulated::bank::Bank;
use crate::provider::simulated::engine::{Engine, Rules};
use crate::provider::simulated::record::Call;
use crate::provider::statement::EntryState;

#[tokio::test]
async fn the_same_key_and_body_again_moves_no_money_and_answers_the_same() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let first = bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    assert!(is_authorized(&first.result));
    assert_eq!(bank.authorize(&authorize(1, "tok_approve")).await, Ok(first));
    let taken = bank.capture(&capture(1, 2, 1_000)).await.expect("an answer");
    assert_eq!(bank.capture(&capture(1, 2, 1_000)).await, Ok(taken));
    let entry = entry(&bank, 1).await;
    assert_eq!((entry.authorized, entry.captured, entry.state), (1_000, 1_000, EntryState::Captured));
    assert_eq!(entry.effects.values().copied().collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_and_counted() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    let other = Authorize { amount: eur(999), ..authorize(1, "tok_approve") };
    let refused = bank.authorize(&other).await;
    assert!(matches!(refused, Err(ProviderError::Refused { code, .. }) if code == "idempotency_key_reused"));
    assert_eq!((entry(&bank, 1).await.authorized, statement(&bank).await.key_conflicts), (1_000, 1));
}

#[tokio::test]
async fn a_hold_is_captured_once_at_most_in_full_and_refunded_at_most_what_was_captured() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let code = |result: Option<ProviderResult>| match result {
        Some(ProviderResult::CaptureFailed { code } | ProviderResult::RefundFailed { code }) => code,
        other => panic!("not a failure: {other:?}"),
    };
    let captured = |request, amount| {
        let (bank, call) = (bank.clone(), capture(1, request, amount));
        async move { bank.capture(&call).await.expect("an answer").result }
    };
    assert_eq!(code(captured(2, 1_000).await), "no_authorization");
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    assert_eq!(code(captured(3, 1_001).await), "amount_too_large");
    assert_eq!(captured(4, 600).await, Some(ProviderResult::Captured { amount: eur(600) }));
    assert_eq!(code(captured(5, 400).await), "already_captured");
    let refunded = |request, amount| {
        let (bank, call) = (bank.clone(), refund(1, request, amount));
        async move { bank.refund(&call).await.expect("an answer").result }
    };
    assert_eq!(code(refunded(6, 601).await), "amount_too_large");
    assert_eq!(refunded(7, 200).await, Some(ProviderResult::Refunded { amount: eur(200) }));
    assert_eq!(code(refunded(8, 401).await), "amount_too_large");
    let entry = entry(&bank, 1).await;
    assert_eq!((entry.authorized, entry.captured, entry.voided, entry.refunded), (1_000, 600, 400, 200));
}

#[tokio::test]
async fn a_void_before_the_authorisation_refuses_it_when_it_comes() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    assert_eq!(bank.void(&void(1, 9)).await.expect("an answer").result, Some(ProviderResult::Voided));
    let late = bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer").result;
    assert_eq!(late, Some(ProviderResult::Declined { code: "payment_voided".into() }));
    let entry = entry(&bank, 1).await;
    assert_eq!((entry.authorized, entry.voided), (0, 0));
}

#[tokio::test]
async fn a_void_releases_the_hold_and_ends_one_that_waits_for_its_customer() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    bank.authorize(&authorize(2, "tok_3ds_approve")).await.expect("an answer");
    for payment in [1, 2] {
        bank.void(&void(payment, 9)).await.expect("an answer");
    }
    clock.advance(Duration::from_secs(3_600));
    assert!(!bank.act(key(2, 1).payment_id, Action::Approve).await.expect("an answer"), "the customer came too late");
    assert_eq!((entry(&bank, 1).await.voided, entry(&bank, 2).await.authorized), (1_000, 0));
    let captured = bank.capture(&capture(1, 3, 1_000)).await.expect("an answer").result;
    assert_eq!(captured, Some(ProviderResult::CaptureFailed { code: "authorization_voided".into() }));
}

#[tokio::test]
async fn a_hold_that_ran_out_cannot_be_captured() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    clock.advance(Duration::from_secs(7 * 24 * 3_600));
    let result = bank.capture(&capture(1, 2, 1_000)).await.expect("an answer").result;
    assert_eq!(result, Some(ProviderResult::CaptureFailed { code: "authorization_expired".into() }));
    let entry = entry(&bank, 1).await;
    assert_eq!((entry.state, entry.captured, entry.voided), (EntryState::Expired, 0, 1_000));
}

#[tokio::test]
async fn a_time_out_may_have_charged_and_only_fetch_or_the_same_key_tells() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let call = authorize(1, "tok_timeout_charged");
    let fetched = withheld(&bank, &call, true).await;
    assert!(is_authorized(&fetched.expect("it was taken").result));
    assert!(is_authorized(&bank.authorize(&call).await.expect("an answer").result));
    assert_eq!(entry(&bank, 1).await.authorized, 1_000);
}

#[tokio::test]
async fn a_time_out_may_not_have_charged_and_the_same_key_then_does_once() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let call = authorize(1, "tok_timeout_not_charged");
    assert_eq!(withheld(&bank, &call, false).await, None);
    assert_eq!(statement(&bank).await.payments, 0);
    assert!(is_authorized(&bank.authorize(&call).await.expect("an answer").result));
    assert_eq!((entry(&bank, 1).await.authorized, statement(&bank).await.effects), (1_000, 1));
}

/// Makes a call that is not answered, and asks what became of it meanwhile: until it is found, or once.
async fn withheld(bank: &Simulator, call: &Authorize, until_found: bool) -> Option<crate::provider::port::Answer> {
    let fetched = async {
        loop {
            let found = bank.fetch(&Lookup::Key(call.key)).await.expect("fetch answers");
            if found.is_some() || !until_found {
                break found;
            }
        }
    };
    tokio::select! {
        biased; // The call is made before the question is asked.
        answer = bank.authorize(call) => panic!("it was answered: {answer:?}"),
        found = fetched => found,
    }
}

#[tokio::test]
async fn errors_do_nothing_until_the_script_is_over() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let call = authorize(1, "tok_error_twice");
    for _ in 0..2 {
        assert!(matches!(bank.authorize(&call).await, Err(ProviderError::Transient { .. })));
        assert_eq!(bank.fetch(&Lookup::Key(call.key)).await, Ok(None));
    }
    assert!(is_authorized(&bank.authorize(&call).await.expect("an answer").result));
    assert_eq!(statement(&bank).await.effects, 1);
}

#[tokio::test]
async fn captures_fail_always_or_once_an_order() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let failed = Some(ProviderResult::CaptureFailed { code: "issuer_declined".into() });
    for (order_number, token) in [(10, "tok_capture_fails"), (20, "tok_capture_fails_once")] {
        for payment in [order_number, order_number + 1] {
            let call = Authorize { order_id: order(order_number), ..authorize(payment, token) };
            bank.authorize(&call).await.expect("an answer");
            let call = Capture { order_id: order(order_number), ..capture(payment, 2, 1_000) };
            let result = bank.capture(&call).await.expect("an answer").result;
            let second_time = payment == 21;
            assert_eq!(result == failed, !second_time, "payment {payment} of {token}: {result:?}");
        }
    }
    let totals = statement(&bank).await.totals["EUR"];
    assert_eq!((totals.authorized, totals.captured), (4_000, 1_000));
}

#[tokio::test]
async fn a_reference_finds_what_the_key_finds() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    let answer = bank.authorize(&authorize(1, "tok_decline.no_funds")).await.expect("an answer");
    assert_eq!(answer.result, Some(ProviderResult::Declined { code: "no_funds".into() }));
    let by_name = bank.fetch(&Lookup::ProviderRef(answer.provider_ref.clone())).await;
    assert_eq!(by_name, Ok(Some(answer)));
    for foreign in ["", "sim_", "sim_AAAA", "ch_123"] {
        assert_eq!(bank.fetch(&Lookup::ProviderRef(foreign.into())).await, Ok(None), "{foreign}");
    }
}

#[tokio::test]
async fn an_instant_bank_answers_every_script_at_once() {
    let bank = Simulator::instant(&SimulatedConfig::default(), Clock::manual(start()));
    let tokens = ["tok_3ds_approve", "tok_timeout_charged", "tok_timeout_not_charged", "tok_error_twice"];
    for (payment, token) in (1..).zip(tokens.into_iter().chain(["tok_webhook_first", "tok_lost_webhook"])) {
        let answer = bank.authorize(&authorize(payment, token)).await.expect("an answer");
        assert!(is_authorized(&answer.result), "{token}");
    }
    let abandoned = bank.authorize(&authorize(99, "tok_3ds_abandon")).await.expect("an answer");
    assert_eq!(abandoned.result, Some(ProviderResult::Expired));
    assert_eq!(bank.engine().next_due(), None, "nothing is left to do later");
}

fn rules() -> Rules {
    Rules {
        instant: false,
        webhook_delay: Duration::from_millis(50),
        delay: Duration::from_secs(1),
        auth_ttl: Duration::from_secs(10),
        action_base: "http://bank".to_owned(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Authorize,
    Capture(u128, i64),
    Void(u128),
    Refund(u128, i64),
    Turn(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Authorize),
        (2..5_u128, 1..1_500_i64).prop_map(|(request, amount)| Step::Capture(request, amount)),
        (5..7_u128).prop_map(Step::Void),
        (7..11_u128, 1..1_500_i64).prop_map(|(request, amount)| Step::Refund(request, amount)),
        (0..5_u64).prop_map(Step::Turn),
    ]
}

proptest! {
    #[test]
    fn whatever_is_called_the_books_stay_within_what_was_held(
        token in prop_oneof![
            Just("tok_approve"), Just("tok_3ds_approve"), Just("tok_late_success"), Just("tok_refund_fails"),
            Just("tok_capture_fails_once"), Just("tok_3ds_abandon"),
        ],
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let clock = Clock::manual(start());
        let mut engine = Engine::new(Bank::new(Duration::from_secs(1), false), rules(), 7);
        for step in steps {
            let call = match step {
                Step::Authorize => Call::Authorize(authorize(1, token)),
                Step::Capture(request, amount) => Call::Capture(capture(1, request, amount)),
                Step::Void(request) => Call::Void(void(1, request)),
                Step::Refund(request, amount) => Call::Refund(refund(1, request, amount)),
                Step::Turn(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    engine.tick(clock.now());
                    continue;
                }
            };
            engine.call(&call, clock.now());
            let books = engine.bank.statement(&Page::default());
            for entry in &books.entries {
                prop_assert!(entry.captured + entry.voided <= entry.authorized, "{entry:?}");
                prop_assert!(entry.refunded <= entry.captured, "{entry:?}");
                prop_assert!(entry.authorized <= 1_000, "{entry:?}");
            }
            prop_assert!(books.max_effects_per_key <= 1);
        }
    }
}
