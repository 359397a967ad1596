//! Several holds of one order, and the risk review among them.

mod world;

use domain::order::HoldReason::{HighRiskOfFraud, IncorrectAddress, Other};
use domain::order::{RiskAssessment, Status as OrderStatus};
use domain::payment::Status as PaymentStatus;
use domain::saga::SagaState::Waiting;
use domain::shipment::Status as ShipmentStatus;
use saga_orchestrator::Outcome;
use world::World;
use world::shop::Ends;
use world::story::{MINUTES, always_ends, ends};

/// An order under review.
fn under_review(world: &mut World) {
    world.config.risk.review_above.insert("EUR".into(), 300);
    world.place("tok_approve");
    world.settle();
    assert_eq!((world.ends().order, world.ends().payments), (OrderStatus::Pending, vec![]));
}

fn confirmed() -> Ends {
    let expected = ends(OrderStatus::Confirmed, "", &[PaymentStatus::Authorized], Waiting);
    Ends { shipment: ShipmentStatus::Planned, stock: [(10, 0, 3), (5, 0, 1)], ..expected }
}

#[test]
fn the_release_of_another_hold_does_not_end_a_review() {
    let story = |world: &mut World| {
        under_review(world);
        assert_eq!((world.hold_for(IncorrectAddress), world.release(IncorrectAddress)), (Outcome::Done, Outcome::Done));
        world.pass(MINUTES(60));
        assert_eq!(world.ends().payments, [], "nobody has assessed the risk");
        assert_eq!(world.release(HighRiskOfFraud), Outcome::Done);
        world.settle();
    };
    always_ends(story, &confirmed());
}

#[test]
fn an_approval_ends_the_review_though_the_order_is_held_for_something_else() {
    let story = |world: &mut World| {
        under_review(world);
        assert_eq!(world.hold_for(IncorrectAddress), Outcome::Done);
        assert_eq!(world.assess(RiskAssessment::Approve), Outcome::Done);
        world.pass(MINUTES(25 * 60));
    };
    always_ends(story, &confirmed());
}

#[test]
fn a_hold_before_the_review_keeps_the_goods_in_until_its_own_release() {
    let story = |world: &mut World| {
        world.config.risk.review_above.insert("EUR".into(), 300);
        world.place("tok_approve");
        assert_eq!(world.hold_for(IncorrectAddress), Outcome::Done);
        world.settle();
        assert_eq!(world.assess(RiskAssessment::Approve), Outcome::Done);
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.pass(MINUTES(60));
        assert_eq!(world.ends().order, OrderStatus::Confirmed, "the address is still wrong");
        assert_eq!((world.hold_for(Other), world.release(IncorrectAddress)), (Outcome::Done, Outcome::Done));
        world.pass(MINUTES(60));
        assert_eq!(world.ends().order, OrderStatus::Confirmed, "one hold is left");
        assert_eq!(world.release(Other), Outcome::Done);
        world.settle();
    };
    let shipped = ends(OrderStatus::Shipped, "", &[PaymentStatus::Captured], Waiting);
    always_ends(story, &Ends { shipment: ShipmentStatus::Dispatched, stock: [(7, 0, 0), (4, 0, 0)], ..shipped });
}

#[test]
fn a_verdict_before_the_rules_have_looked_is_refused_and_the_order_goes_on() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    let refused = world.assess(RiskAssessment::Approve);
    assert!(matches!(&refused, Outcome::Rejected { code, .. } if code == "order-not-under-review"), "{refused:?}");
    world.settle();
    assert_eq!(world.ends().order, OrderStatus::Confirmed);
}
