//! Cancellations, before the capture, while it is open, after it, and in a race with the dispatch: over the real
//! aggregates, with facts duplicated or reordered, and killed at every moment.

mod world;

use domain::order::Status as OrderStatus;
use domain::payment::Status::{Captured, Refunded, Voided};
use domain::saga::SagaState::{Compensated, Completed, HandedOver, NeedsAttention, Waiting};
use domain::saga::{Action, Event, StepSucceeded};
use domain::shipment::Status as ShipmentStatus;
use saga_engine::engine::Refusal;
use saga_orchestrator::shop::Input;
use saga_orchestrator::{Outcome, sagas};
use world::World;
use world::shop::{Ends, ORDER};
use world::story::{MINUTES, always_ends, ends, names};

#[test]
fn a_cancellation_before_the_capture_voids_releases_and_cancels() {
    let story = |world: &mut World| {
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.settle();
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_cancellation_while_the_customer_should_confirm_voids_and_cancels() {
    let story = |world: &mut World| {
        world.place("tok_3ds_abandon");
        world.pass(MINUTES(5));
        assert_eq!(world.cancel(), Outcome::Done);
        world.settle();
    };
    always_ends(story, &ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated));
}

#[test]
fn a_cancellation_after_the_capture_is_handed_over_and_refunded() {
    let story = |world: &mut World| {
        world.unavailable.insert("AllowOrderDispatch", 3);
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Refunded], HandedOver);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), ..expected });
}

#[test]
fn a_cancellation_while_the_capture_is_open_waits_for_its_outcome() {
    let story = |world: &mut World| {
        world.place("tok_capture_silent");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(15));
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Refunded], HandedOver);
    always_ends(
        story,
        &Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), reconciled: vec![Completed], ..expected },
    );
}

#[test]
fn a_refund_that_fails_needs_a_person_and_nothing_else_moves() {
    let story = |world: &mut World| {
        world.unavailable.insert("AllowOrderDispatch", 3);
        world.place("tok_refund_fails");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::CancelPending, "changed my mind", &[Captured], HandedOver);
    let stock = [(10, 0, 3), (5, 0, 1)];
    always_ends(story, &Ends { shipment: ShipmentStatus::Ready, stock, refund: Some(NeedsAttention), ..expected });
}

#[test]
fn a_cancellation_that_comes_after_the_dispatch_was_allowed_is_refused() {
    let story = |world: &mut World| {
        world.unavailable.insert("DispatchShipment", 2);
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert!(matches!(world.cancel(), Outcome::Rejected { .. }), "the order has decided for the dispatch");
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::Shipped, "", &[Captured], Waiting);
    let stock = [(7, 0, 0), (4, 0, 0)];
    always_ends(story, &Ends { shipment: ShipmentStatus::Dispatched, stock, ..expected });
}

#[test]
fn a_hold_that_is_still_being_let_go_is_not_forgotten_when_the_order_is_handed_over() {
    let story = |world: &mut World| {
        world.unavailable.insert("AllowOrderDispatch", 3);
        world.place("tok_capture_and_void_fail_once");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Voided, Refunded], HandedOver);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), ..expected });
}

/// Up to 0.2.0 an authorization of less than the order costs counted as one of all of it.
fn too_little_authorized_by_0_2_0(world: &mut World) {
    world.place("tok_authorize_short");
    world.settle();
    let stream = sagas::stream("order_fulfilment", ORDER);
    let succeeded = StepSucceeded { step: "authorise".into(), group: 0, source: None, lapses_at: None, renew_at: None };
    let now = world.now;
    world.sagas.entry(stream.clone()).or_default().push((Event::StepSucceeded(succeeded), now));
    world.forget();
    world.input(&stream, &Input::Time);
    world.settle();
    assert_eq!(world.ready(), Outcome::Done);
    world.settle();
    let view = world.fulfilment();
    assert_eq!((view.state(), view.step()), (NeedsAttention, Some("capture")), "{:#?}", names(world));
}

#[test]
fn a_cancellation_after_a_stalled_capture_took_nothing_voids_and_cancels() {
    let story = |world: &mut World| {
        too_little_authorized_by_0_2_0(world);
        assert_eq!(world.cancel(), Outcome::Done);
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::Cancelled, "customer_request", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn an_order_whose_capture_has_taken_nothing_is_not_handed_over_but_goes_back() {
    let story = |world: &mut World| {
        too_little_authorized_by_0_2_0(world);
        assert_eq!(world.refuses("order_fulfilment", Action::HandOver), Refusal::BeforePivot("capture"));
        world.does("order_fulfilment", Action::Compensate);
        world.pass(MINUTES(5));
    };
    let expected = ends(OrderStatus::Cancelled, "operator", &[Voided], Compensated);
    always_ends(story, &Ends { shipment: ShipmentStatus::Cancelled, ..expected });
}

#[test]
fn a_dispatch_that_the_shipment_refuses_is_handed_over() {
    let story = |world: &mut World| {
        world.unavailable.insert("AllowOrderDispatch", 2);
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.settle();
        world.silent_feed = true; // The warehouse's word has not come yet when the dispatch is tried.
        assert_eq!(world.cancel_shipment(), Outcome::Done);
        world.pass(MINUTES(5));
        world.silent_feed = false;
        world.settle();
    };
    let mut world = World::with_stock(10, 5);
    story(&mut world);
    let expected = ends(OrderStatus::Cancelled, "dispatch_rejected", &[Refunded], HandedOver);
    assert_eq!(world.ends(), Ends { shipment: ShipmentStatus::Cancelled, refund: Some(Completed), ..expected });
}
