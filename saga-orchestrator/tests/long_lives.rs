//! The most events that a saga can have, under what lasts for as long as it may: a review, a silent bank, command services that
//! are away. A saga has no snapshots: what it costs to take it up again is the number of its events.

#![allow(clippy::unwrap_used, reason = "tests only: a panic is the report")]

mod world;

use std::time::Duration;

use domain::order::Status as OrderStatus;
use domain::saga::Event;
use saga_orchestrator::Outcome;
use world::World;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn events(world: &World) -> usize {
    let fulfilment = world.all_of("order_fulfilment");
    fulfilment.iter().map(|saga| world.sagas[saga].len()).sum()
}

fn count(world: &World, of: fn(&Event) -> bool) -> usize {
    world.all_of("order_fulfilment").iter().flat_map(|saga| &world.sagas[saga]).filter(|(event, _)| of(event)).count()
}

#[test]
fn an_order_that_nobody_reviews_renews_its_stock_until_the_review_is_over() {
    let mut world = World::with_stock(10, 5);
    world.config.risk.review_above.insert("EUR".into(), 300);
    world.place("tok_approve");
    world.pass(DAY + HOUR);
    assert_eq!(world.ends().order, OrderStatus::Rejected);
    let renewals = count(&world, |event| matches!(event, Event::StepRenewed(_)));
    let bound = usize::try_from(world.config.risk_review_s / world.config.renew_every_s).unwrap();
    assert!((bound - 1..=bound).contains(&renewals), "{renewals} of at most {bound}");
    let all = events(&world);
    assert!(all <= 2 * bound + 40, "a renewal and its answer each: {all}");
    world.pass(DAY * 365);
    assert_eq!(events(&world), all, "it has ended");
}

#[test]
fn command_services_that_are_away_while_stock_is_renewed_cost_a_saga_few_events() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_3ds_abandon");
    world.pass(HOUR / 60);
    let before = events(&world);
    world.all_away = true;
    world.pass(DAY);
    let a_day = events(&world) - before;
    assert!(a_day < 2 * 210, "two steps are tried, each some 150 times: {a_day}");
    world.pass(DAY * 30);
    let a_month = events(&world) - before;
    assert!(a_month < 2 * 800, "{a_month}");
    world.pass(DAY * 335);
    let a_year = events(&world) - before;
    assert!(a_year < 2 * 2_300, "{a_year}");
    // What was held back is made good, and it ends as it would have.
    world.all_away = false;
    world.pass(HOUR * 7);
    assert_eq!(world.ends().order, OrderStatus::Rejected);
    assert_eq!(world.ends().stock, [(10, 0, 0), (5, 0, 0)]);
    let ends = events(&world) - before - a_year;
    assert!(ends < 100, "{ends}");
}

#[test]
fn stock_is_renewed_as_soon_as_somebody_is_there_again() {
    let mut world = World::with_stock(10, 5);
    world.config.risk.review_above.insert("EUR".into(), 300);
    world.place("tok_approve");
    world.pass(HOUR / 10);
    world.all_away = true;
    world.pass(HOUR);
    world.all_away = false;
    world.pass(HOUR / 5);
    for sku in ["a", "b"] {
        let held = world.stocks[&world::shop::item(sku)].0.reserved.values().next().unwrap().expires_at;
        assert!(held > world.now, "{sku}");
    }
}

#[test]
fn where_a_part_of_the_stock_cannot_be_renewed_the_other_part_is() {
    let mut world = World::with_stock(10, 5);
    world.config.risk.review_above.insert("EUR".into(), 300);
    world.place("tok_approve");
    world.settle();
    // Every second renewal is one of `b`: those of `a` are answered, and both are asked for in turn.
    let renewed = |world: &World| count(world, |event| matches!(event, Event::StepRenewed(_)));
    for _ in 0..20 {
        world.unavailable.insert("RenewReservation", 1);
        world.pass(Duration::from_secs(world.config.renew_every_s));
    }
    assert!(renewed(&world) >= 19, "{}", renewed(&world));
}

#[test]
fn a_bank_that_says_nothing_of_a_capture_for_a_year_is_asked_less_and_less() {
    let mut world = World::with_stock(10, 5);
    world.place("tok_approve");
    world.settle();
    world.provider.down = true;
    assert_eq!(world.ready(), Outcome::Done);
    world.pass(DAY * 6);
    let six_days = events(&world);
    assert!(six_days < 700, "before a person is called: {six_days}");
    world.pass(DAY * 359);
    let a_year = events(&world);
    assert!(a_year < six_days + 1_700, "{a_year}");
}
