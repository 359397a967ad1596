//! Whatever is asked and told in whatever order, these hold.

use proptest::prelude::*;

use super::*;

fn a_result() -> impl Strategy<Value = ProviderResult> {
    let money = (1..130i64).prop_map(eur);
    prop_oneof![
        Just(ProviderResult::ActionRequired { action_url: "https://bank.example".into() }),
        Just(ProviderResult::Authorized { amount: eur(100), capture_before: at(LAPSES) }),
        money.clone().prop_map(|amount| ProviderResult::Authorized { amount, capture_before: at(LAPSES) }),
        Just(ProviderResult::Declined { code: "no".into() }),
        Just(ProviderResult::Expired),
        money.clone().prop_map(|amount| ProviderResult::Captured { amount }),
        Just(ProviderResult::CaptureFailed { code: "no".into() }),
        Just(ProviderResult::Voided),
        Just(ProviderResult::VoidFailed { code: "no".into() }),
        money.prop_map(|amount| ProviderResult::Refunded { amount }),
        Just(ProviderResult::RefundFailed { code: "no".into() }),
    ]
}

fn a_source() -> impl Strategy<Value = ResultSource> {
    prop_oneof![Just(ResultSource::Response), Just(ResultSource::Webhook), Just(ResultSource::Fetch)]
}

fn a_command() -> impl Strategy<Value = (Command, Timestamp)> {
    let id = prop_oneof![Just(A), Just(C), Just(V), Just(R), Just(R2)];
    let command = prop_oneof![
        2 => Just(authorize(A, eur(100))),
        2 => (prop_oneof![Just(C), Just(R2)], 1..130i64).prop_map(|(id, amount)| capture(id, amount)),
        1 => prop_oneof![Just(V), Just(R2)].prop_map(void),
        2 => (prop_oneof![Just(R), Just(R2)], 1..130i64).prop_map(|(id, amount)| refund(id, amount)),
        2 => prop_oneof![Just(R), Just(R2)].prop_map(refund_all),
        8 => (id.clone(), a_result(), a_source()).prop_map(|(id, said, source)| told(id, said, source)),
        1 => id.prop_map(mark_unknown),
        1 => Just(expire()),
    ];
    (command, prop_oneof![4 => Just(at(0)), 1 => Just(at(LAPSES))])
}

/// Begins as payments do more often than chance would have it.
fn a_life() -> impl Strategy<Value = Vec<(Command, Timestamp)>> {
    let said = || ProviderResult::Authorized { amount: eur(100), capture_before: at(LAPSES) };
    let beginnings = prop_oneof![
        Just(vec![]),
        Just(vec![authorize(A, eur(100))]),
        Just(vec![authorize(A, eur(100)), result(A, said())]),
        Just(vec![
            authorize(A, eur(100)),
            result(A, said()),
            capture(C, 100),
            result(C, ProviderResult::Captured { amount: eur(100) })
        ]),
        Just(vec![authorize(A, eur(100)), expire(), result(A, ProviderResult::Captured { amount: eur(100) })]),
        Just(vec![
            authorize(A, eur(100)),
            result(A, said()),
            capture(C, 100),
            result(C, ProviderResult::CaptureFailed { code: "no".into() }),
            void(V),
        ]),
    ];
    (beginnings, proptest::collection::vec(a_command(), 1..60))
        .prop_map(|(beginning, rest)| beginning.into_iter().map(|command| (command, at(0))).chain(rest).collect())
}

/// Whether an event asks something of the provider.
fn asks(event: &Event) -> bool {
    match event {
        Event::PaymentAuthorizationRequested(_)
        | Event::CaptureRequested(_)
        | Event::VoidRequested(_)
        | Event::RefundRequested(_) => true,
        Event::PaymentActionRequired(_)
        | Event::PaymentAuthorized(_)
        | Event::PaymentDeclined(_)
        | Event::PaymentOutcomeUnknown(_)
        | Event::PaymentCaptured(_)
        | Event::CaptureFailed(_)
        | Event::PaymentVoided(_)
        | Event::VoidFailed(_)
        | Event::PaymentRefunded(_)
        | Event::RefundFailed(_)
        | Event::PaymentExpired(_)
        | Event::PaymentSucceededLate(_)
        | Event::PaymentFellShort(_) => false,
    }
}

/// Money that ever moved at the provider, added up from the events alone.
fn moved(events: &[Event]) -> (i64, i64) {
    let (mut captured, mut refunded) = (0, 0);
    for event in events {
        match event {
            Event::PaymentCaptured(e) => captured += e.amount.amount,
            Event::PaymentSucceededLate(e) if e.kind == LateSuccess::Captured => captured += e.amount.amount,
            Event::PaymentRefunded(e) => refunded += e.amount.amount,
            Event::PaymentSucceededLate(_)
            | Event::PaymentAuthorizationRequested(_)
            | Event::PaymentActionRequired(_)
            | Event::PaymentAuthorized(_)
            | Event::PaymentDeclined(_)
            | Event::PaymentOutcomeUnknown(_)
            | Event::CaptureRequested(_)
            | Event::CaptureFailed(_)
            | Event::VoidRequested(_)
            | Event::PaymentVoided(_)
            | Event::VoidFailed(_)
            | Event::RefundRequested(_)
            | Event::RefundFailed(_)
            | Event::PaymentExpired(_)
            | Event::PaymentFellShort(_) => {}
        }
    }
    (captured, refunded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_more_is_captured_than_authorized_and_no_more_refunded_than_captured(life in a_life()) {
        let (mut payment, mut book) = (Payment::default(), Vec::new());
        for (command, now) in life {
            if let Ok(events) = payment.decide(&command, now) {
                if matches!(command, Command::RecordProviderResult(_)) {
                    prop_assert!(!events.iter().any(asks), "{command:?} made a request: {events:?}");
                }
                events.iter().for_each(|event| payment.evolve(event));
                book.extend(events);
            }
            let p = &payment;
            prop_assert!(p.captured.amount + p.voided.amount <= p.authorized.amount, "{command:?} left {p:?}");
            prop_assert!(p.refunded.amount + p.refund_pending.amount <= p.captured.amount, "{command:?} left {p:?}");
            prop_assert!(p.refund_pending.amount >= 0 && p.held().amount >= 0, "{command:?} left {p:?}");
            prop_assert_eq!((p.captured.amount, p.refunded.amount), moved(&book));
        }
        let snapshot = serde_json::to_string(&payment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Payment>(&snapshot).unwrap(), payment);
    }

    #[test]
    fn whatever_happened_a_repeated_command_is_nothing(life in a_life()) {
        let mut payment = Payment::default();
        for (command, now) in life {
            let Ok(events) = payment.decide(&command, now) else { continue };
            events.iter().for_each(|event| payment.evolve(event));
            prop_assert_eq!(payment.decide(&command, now), Ok(vec![]), "{:?} again", command);
        }
    }

    #[test]
    fn the_largest_total_told_is_what_is_booked_in_whatever_order(totals in proptest::collection::vec((1..130i64, a_source()), 1..20)) {
        let past = [requested(), authorized(), capture_requested(C, 100)];
        let mut payment = Payment::default();
        past.iter().for_each(|event| payment.evolve(event));
        let mut most = 0;
        for (total, source) in totals {
            match payment.decide(&told(C, ProviderResult::Captured { amount: eur(total) }, source), at(0)) {
                Ok(events) => {
                    events.iter().for_each(|event| payment.evolve(event));
                    most = most.max(total);
                }
                Err(no) => prop_assert_eq!(no, Rejection::AmountMismatch { told: eur(total), asked: eur(100) }),
            }
            prop_assert_eq!(payment.captured.amount, most);
            prop_assert_eq!(payment.requests[&C].state == RequestState::Succeeded, most == 100);
        }
    }

    #[test]
    fn what_is_taken_after_a_void_was_requested_and_no_capture_since_is_a_late_success(life in a_life()) {
        let (mut payment, mut given_up) = (Payment::default(), false);
        for (command, now) in life {
            for event in payment.decide(&command, now).unwrap_or_default() {
                let is_ordinary = matches!(event, Event::PaymentCaptured(_));
                prop_assert!(!(given_up && is_ordinary), "{:?} left {:?}", command, event);
                given_up |= matches!(event, Event::VoidRequested(_));
                given_up &= !matches!(event, Event::CaptureRequested(_));
                payment.evolve(&event);
            }
        }
    }

    #[test]
    fn an_ended_payment_comes_back_only_as_a_late_success(life in a_life()) {
        let mut payment = Payment::default();
        for (command, now) in life {
            let before = payment.status;
            for event in payment.decide(&command, now).unwrap_or_default() {
                payment.evolve(&event);
            }
            let ended = matches!(before, Status::Voided | Status::Expired | Status::Declined);
            if ended && payment.status != before {
                prop_assert_eq!(payment.status, Status::SucceededLate, "{:?} after {:?}", command, before);
            }
        }
    }
}
