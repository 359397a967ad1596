//! The failure matrix, row by row, over the real aggregates: the end of the order, its payments and
//! its stock is the same with every fact duplicated or reordered, and with the process killed at every moment.

mod world;

use std::time::Duration;

use domain::order::{self, AssessOrderRisk, RiskAssessment, Status as OrderStatus};
use domain::payment::Status::{Authorized, Captured, Declined, Expired, Refunded, Voided};
use domain::saga::SagaState::{self, Compensated, Completed, HandedOver, NeedsAttention, Waiting};
use domain::shipment::Status as ShipmentStatus;
use saga_orchestrator::Outcome;
use world::World;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends, names};

#[test]
fn an_order_goes_all_the_way_to_completed() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.saga_state("order_fulfilment", ORDER), Waiting);
        assert!(world.view(&saga_orchestrator::sagas::stream("order_fulfilment", ORDER)).settled());
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.deliver(), Outcome::Done);
        world.settle();
    };
    let stock = [(7, 0, 0), (4, 0, 0)];
    let expected = ends(OrderStatus::Completed, "", &[Captured], Completed);
    always_ends(story, &Ends { shipment: ShipmentStatus::Delivered, stock, ..expected });
}

#[test]
fn a_shortage_on_any_line_releases_the_others_and_rejects_the_order() {
    for (a, b) in [(2, 5), (10, 0)] {
        let mut world = World::with_stock(a, b);
        world.place("tok_approve");
        world.settle();
        let expected = ends(OrderStatus::Rejected, "out_of_stock", &[], Compensated);
        assert_eq!(world.ends(), Ends { stock: [(a, 0, 0), (b, 0, 0)], ..expected }, "{:#?}", names(&world));
    }
}

#[test]
fn a_shortage_leaves_no_mark_where_nothing_was_held() {
    let mut world = World::with_stock(2, 5);
    world.place("tok_approve");
    world.settle();
    let released: Vec<_> = world.commands_sent.iter().filter(|sent| sent.starts_with("Release")).collect();
    assert_eq!(released, ["ReleaseReservation stock-b@main"]);
}

#[test]
fn unreachable_services_need_attention_after_minutes_until_the_first_answer() {
    let story = |world: &mut World| {
        world.unavailable.insert("ReserveStock", u32::MAX);
        world.place("tok_approve");
        world.pass(MINUTES(4));
        assert_eq!(world.ends().fulfilment, SagaState::Running, "{:#?}", names(world));
        world.pass(MINUTES(4));
        assert_eq!(world.ends().fulfilment, NeedsAttention, "{:#?}", names(world));
        world.unavailable.clear();
        world.pass(MINUTES(2));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn a_cancellation_wins_while_there_is_nobody_to_send_commands_to() {
    let story = |world: &mut World| {
        world.place("tok_3ds_abandon");
        world.settle();
        world.all_away = true;
        world.pass(MINUTES(10));
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(10));
        world.all_away = false;
        world.pass(MINUTES(5));
    };
    always_ends(story, &ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated));
}

#[test]
fn a_customer_who_could_not_pay_because_nobody_took_the_payment_has_time_afterwards() {
    let story = |world: &mut World| {
        world.unavailable.insert("RequestPaymentAuthorization", u32::MAX);
        world.place("tok_3ds_approve");
        world.pass(MINUTES(45));
        assert_eq!(world.ends().order, OrderStatus::Pending, "{:#?}", names(world));
        world.unavailable.clear();
        world.pass(MINUTES(20));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

/// Its command is sent again now and then, only to have the provider asked. That one of these is not answered at once
/// costs the customer nothing.
#[test]
fn the_time_to_pay_does_not_begin_anew_when_an_answer_is_missing_for_a_moment() {
    let story = |world: &mut World| {
        world.place("tok_3ds_abandon");
        for _ in 0..10 {
            world.pass(MINUTES(4));
            world.unavailable.insert("RequestPaymentAuthorization", 1);
        }
        world.unavailable.clear();
    };
    always_ends(story, &ends(OrderStatus::Rejected, "payment_timeout", &[Expired], Compensated));
}

#[test]
fn contention_that_passes_does_not_stop_the_order() {
    let story = |world: &mut World| {
        world.unavailable.insert("ReserveStock", 3);
        world.place("tok_approve");
        world.pass(MINUTES(5));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn a_declined_card_releases_the_stock_and_rejects_the_order() {
    let story = |world: &mut World| {
        world.place("tok_decline");
        world.settle();
    };
    always_ends(story, &ends(OrderStatus::Rejected, "payment_declined", &[Declined], Compensated));
}

#[test]
fn a_confirmed_3ds_goes_on() {
    let story = |world: &mut World| {
        world.place("tok_3ds_approve");
        world.pass(MINUTES(5));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn an_abandoned_3ds_expires_and_the_stock_comes_back() {
    let story = |world: &mut World| {
        world.place("tok_3ds_abandon");
        world.pass(MINUTES(20));
        let held = world.stocks[&world::shop::item("a")].0.reserved.values().next().unwrap().expires_at;
        assert!(held > world.now, "the hold of stock is renewed while the customer has time");
        world.pass(MINUTES(20));
    };
    always_ends(story, &ends(OrderStatus::Rejected, "payment_timeout", &[Expired], Compensated));
}

#[test]
fn a_time_out_that_was_charged_is_found_when_asked_again() {
    let story = |world: &mut World| {
        world.place("tok_timeout_charged");
        world.pass(MINUTES(2));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn a_provider_that_never_answers_holds_neither_stock_nor_order_for_ever() {
    let story = |world: &mut World| {
        world.place("tok_silent");
        world.pass(MINUTES(40));
    };
    // The unknown authorization was pursued besides, until the void ended it.
    let expected = ends(OrderStatus::Rejected, "payment_timeout", &[Voided], Compensated);
    always_ends(story, &Ends { reconciled: vec![Completed], ..expected });
}

#[test]
fn a_void_without_an_answer_does_not_hold_up_the_rest_and_calls_a_person() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_void_silent");
    world.settle();
    assert_eq!(world.cancel(), Outcome::Done);
    world.settle();
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Authorized], SagaState::Compensating);
    let expected = Ends { shipment: ShipmentStatus::Cancelled, ..expected };
    assert_eq!(world.ends(), expected, "{:#?}", names(&world));
    world.pass(MINUTES(60));
    let expected = Ends { fulfilment: NeedsAttention, reconciled: vec![NeedsAttention], ..expected };
    assert_eq!(world.ends(), expected, "{:#?}", names(&world));
}

#[test]
fn a_void_that_fails_once_is_asked_for_anew() {
    let story = |world: &mut World| {
        world.place("tok_void_fails_once");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(2));
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_void_that_keeps_failing_needs_a_person() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_void_fails");
    world.settle();
    assert_eq!(world.cancel(), Outcome::Done);
    world.pass(MINUTES(60));
    assert_eq!(world.ends().fulfilment, NeedsAttention, "{:#?}", names(&world));
}

#[test]
fn a_held_order_is_not_dispatched_until_it_is_released() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.hold(), Outcome::Done);
        assert_eq!(world.ready(), Outcome::Done);
        world.pass(MINUTES(60));
        assert_eq!(world.ends().shipment, ShipmentStatus::Ready);
        assert_eq!(world.ends().fulfilment, Waiting);
        assert_eq!(world.release_hold(), Outcome::Done);
        world.pass(MINUTES(1));
    };
    let expected = ends(OrderStatus::Shipped, "", &[Captured], Waiting);
    let stock = [(7, 0, 0), (4, 0, 0)];
    always_ends(story, &Ends { shipment: ShipmentStatus::Dispatched, stock, ..expected });
}

#[test]
fn a_risk_review_waits_for_a_person_and_refuses_what_nobody_looks_at() {
    let review = |world: &mut World| {
        world.config.risk.review_above.insert("EUR".into(), 300);
        world.place("tok_approve");
        world.pass(MINUTES(60));
        assert_eq!((world.ends().fulfilment, world.ends().payments.len()), (Waiting, 0));
    };
    let released = |world: &mut World| {
        review(world);
        assert_eq!(world.release_hold(), Outcome::Done);
        world.settle();
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(released, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
    let lapsed = |world: &mut World| {
        review(world);
        world.pass(MINUTES(24 * 60));
    };
    always_ends(lapsed, &ends(OrderStatus::Rejected, "fraud", &[], Compensated));
}

/// An order above the limit of the review; nobody answers the risk check for now, and the feed is silent.
fn silent_before_the_review(world: &mut World) {
    world.config.risk.review_above.insert("EUR".into(), 300);
    world.unavailable.insert("AssessOrderRisk", u32::MAX);
    world.place("tok_approve");
    world.settle();
    world.silent_feed = true;
}

#[track_caller]
fn waits_for_the_review(world: &World) {
    assert!(world.commands_sent.iter().any(|sent| sent.starts_with("AssessOrderRisk")));
    assert_eq!((world.ends().fulfilment, world.ends().payments.len()), (Waiting, 0), "{:#?}", names(world));
}

#[test]
fn a_review_is_not_over_because_nothing_is_heard_of_the_order() {
    let story = |world: &mut World| {
        silent_before_the_review(world);
        world.unavailable.clear();
        world.pass(MINUTES(60));
        assert_eq!(world.ends().payments.len(), 0, "{:#?}", names(world));
        world.silent_feed = false;
        world.pass(MINUTES(60));
        waits_for_the_review(world);
        assert_eq!(world.release_hold(), Outcome::Done);
        world.settle();
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn a_release_before_the_review_is_not_its_release() {
    let story = |world: &mut World| {
        silent_before_the_review(world);
        assert_eq!((world.hold(), world.release_hold()), (Outcome::Done, Outcome::Done));
        world.unavailable.clear();
        world.pass(MINUTES(1)); // The review begins meanwhile.
        world.silent_feed = false;
        world.pass(MINUTES(60));
        waits_for_the_review(world);
        world.pass(MINUTES(24 * 60));
    };
    always_ends(story, &ends(OrderStatus::Rejected, "fraud", &[], Compensated));
}

#[test]
fn a_release_that_is_heard_before_the_saga_knows_of_the_review_counts() {
    let story = |world: &mut World| {
        silent_before_the_review(world);
        let assess =
            AssessOrderRisk { assessment: RiskAssessment::Review, assessed_by: "rules".into(), by_person: false };
        // It was carried out, and the answer did not come.
        assert_eq!(world.order(order::Command::AssessOrderRisk(assess)), Outcome::Done);
        assert_eq!(world.release_hold(), Outcome::Done);
        (world.silent_feed, world.unavailable) = (false, std::collections::BTreeMap::new());
        world.pass(MINUTES(1));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn a_refused_risk_releases_the_stock_and_rejects_the_order() {
    let story = |world: &mut World| {
        world.config.risk.refuse_above.insert("EUR".into(), 300);
        world.place("tok_approve");
        world.settle();
    };
    always_ends(story, &ends(OrderStatus::Rejected, "fraud", &[], Compensated));
}

#[test]
fn a_hold_of_stock_that_was_lost_is_reserved_once_more() {
    let story = |world: &mut World| {
        world.place("tok_3ds_approve");
        world.pass(Duration::from_secs(30));
        world.lose_hold("a", 0);
        world.pass(MINUTES(5));
    };
    let stock = [(10, 0, 3), (5, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

/// The pieces of the other items are still held by the attempt before: the new one must not be decided first.
#[test]
fn a_hold_of_stock_is_reserved_once_more_only_when_the_old_one_was_let_go() {
    let story = |world: &mut World| {
        world.place("tok_3ds_approve");
        world.pass(Duration::from_secs(30));
        world.lose_hold("a", 0);
        // The replica that takes the release is slower than the one that takes the reservation.
        world.unavailable.insert("ReleaseReservation", 3);
        // Nothing is left of `b` but what this order holds.
        let adjust = domain::stock::AdjustStock { delta: -4, reason: "count".into() };
        let (id, command) = (world::shop::item("b"), domain::stock::Command::AdjustStock(adjust));
        assert_eq!(world.decide(domain::Command::Stock { id, command }), Outcome::Done);
        world.pass(MINUTES(5));
    };
    let stock = [(10, 0, 3), (1, 0, 1)];
    let expected = ends(OrderStatus::Confirmed, "", &[Authorized], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Planned, stock, ..expected });
}

#[test]
fn a_failed_capture_is_retried_with_one_new_authorization_and_the_old_is_voided() {
    let story = |world: &mut World| {
        world.place("tok_capture_fails_once");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.pass(MINUTES(2));
    };
    let stock = [(7, 0, 0), (4, 0, 0)];
    let expected = ends(OrderStatus::Shipped, "", &[Voided, Captured], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Dispatched, stock, ..expected });
}

#[test]
fn a_capture_that_fails_again_voids_all_and_cancels() {
    let story = |world: &mut World| {
        world.place("tok_capture_fails");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.pass(MINUTES(2));
    };
    let expected = ends(OrderStatus::Cancelled, "capture_failed", &[Voided, Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_shipment_that_the_warehouse_cancels_before_the_capture_undoes_all() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.cancel_shipment(), Outcome::Done);
        world.settle();
    };
    let expected = ends(OrderStatus::Cancelled, "shipment_cancelled", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_shipment_that_the_warehouse_cancels_after_the_capture_is_refunded() {
    let story = |world: &mut World| {
        world.unavailable.insert("DispatchShipment", 4);
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.cancel_shipment(), Outcome::Done);
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::Cancelled, "shipment_cancelled", &[Refunded], HandedOver);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), ..expected });
}

#[test]
fn a_warehouse_silent_for_three_days_needs_attention_and_the_saga_goes_on() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.pass(MINUTES(73 * 60));
    assert_eq!(world.ends().fulfilment, NeedsAttention);
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    assert_eq!((world.ends().fulfilment, world.ends().order), (Waiting, OrderStatus::Shipped));
}

#[test]
fn results_that_come_three_times_change_nothing() {
    let story = |world: &mut World| {
        world.place("tok_duplicate_webhooks");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
    };
    let stock = [(7, 0, 0), (4, 0, 0)];
    let expected = ends(OrderStatus::Shipped, "", &[Captured], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Dispatched, stock, ..expected });
}
