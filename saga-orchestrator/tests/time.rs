//! What a step of the clock does to sagas: whatever moment it comes at, and when it is taken back, each order ends, nothing
//! is oversold or kept, and nothing waits for the clock to catch up.

mod world;

use std::collections::HashSet;
use std::time::Duration;

use domain::order::Status as OrderStatus;
use domain::saga::{Event, SagaState, View};
use saga_orchestrator::{Outcome, sagas};
use world::World;
use world::shop::ORDER;
use world::story::{MINUTES, names};

/// What an order goes through. The outcomes of what people do are not looked at: they depend on when the clock steps.
type Story = fn(&mut World);

const ROWS: &[(&str, Story)] = &[
    ("all goes well", |world| placed(world, "tok_approve")),
    ("the card is declined", |world| placed(world, "tok_decline")),
    ("the customer confirms", |world| placed(world, "tok_3ds_approve")),
    ("the customer never confirms", |world| placed(world, "tok_3ds_abandon")),
    ("the authorization times out and was charged", |world| placed(world, "tok_timeout_charged")),
    ("the provider never answers", |world| placed(world, "tok_silent")),
    ("the capture fails once", |world| placed(world, "tok_capture_fails_once")),
    ("the capture fails for good", |world| placed(world, "tok_capture_fails")),
    ("results come three times", |world| placed(world, "tok_duplicate_webhooks")),
    ("the customer cancels at once", |world| {
        placed(world, "tok_approve");
        world.cancel();
    }),
    ("the customer cancels and the void fails once", |world| {
        placed(world, "tok_void_fails_once");
        world.cancel();
    }),
    ("the customer cancels after the capture", |world| {
        world.unavailable.insert("AllowOrderDispatch", 3);
        placed(world, "tok_approve");
        world.ready();
        world.settle();
        world.cancel();
    }),
    ("the warehouse gives up", |world| {
        placed(world, "tok_approve");
        world.cancel_shipment();
    }),
    ("a hold of stock is lost", |world| {
        world.place("tok_3ds_approve");
        world.pass(Duration::from_secs(30));
        let id = domain::ids::ReservationId::derive(ORDER, &world::shop::item("a"), 0);
        if world.stocks[&world::shop::item("a")].0.reserved.contains_key(&id) {
            world.lose_hold("a", 0);
        }
    }),
    ("nobody takes commands for ten minutes", |world| {
        world.all_away = true;
        world.place("tok_approve");
        world.pass(MINUTES(10));
        world.all_away = false;
    }),
];

fn placed(world: &mut World, token: &str) {
    world.place(token);
    world.settle();
}

fn fulfilment(world: &World) -> View {
    world.view(&sagas::stream("order_fulfilment", ORDER))
}

fn has_ended(world: &World) -> bool {
    world.sagas.keys().all(|saga| world.view(saga).state().is_end())
}

/// Lets everything come to its end, with people who do what is asked of them. The time that may take is far less than what
/// the clock was wrong by: nothing waits until it has caught up.
fn to_its_end(world: &mut World, what: &str) {
    for _ in 0..8 {
        world.pass(MINUTES(30));
        if has_ended(world) {
            return;
        }
        match fulfilment(world).step() {
            Some("plan_shipment") => drop(world.ready()),
            Some("record_shipped") => drop(world.deliver()),
            Some(_) | None => {}
        }
        world.settle();
    }
    assert!(has_ended(world), "{what}: {:#?}", names(world));
}

/// Nothing is oversold, nothing kept, and no timer has done its work twice.
fn assert_sound(world: &World, what: &str) {
    let ends = world.ends();
    let sent = ends.order == OrderStatus::Completed;
    let stock = if sent { [(7, 0, 0), (4, 0, 0)] } else { world::story::UNCHANGED };
    assert_eq!(ends.stock, stock, "{what}: {:#?}", names(world));
    if sent {
        assert_eq!(world.provider.taken.values().sum::<i64>(), 400, "{what}: {:#?}", names(world));
    } else {
        assert!(matches!(ends.order, OrderStatus::Rejected | OrderStatus::Cancelled), "{what}: {ends:?}");
        assert!(world.provider.keeps_nothing(), "{what}: {:#?}", names(world));
        assert!(matches!(ends.fulfilment, SagaState::Compensated | SagaState::HandedOver), "{what}: {ends:?}");
    }
    for events in world.sagas.values() {
        let mut once = HashSet::new();
        for (event, _) in events {
            let key = if let Event::StepStarted(e) = event {
                format!("start {} {}", e.step, e.group)
            } else if let Event::UndoStarted(e) = event {
                format!("undo {} {} {}", e.step, e.group, e.round)
            } else if let Event::StepRenewed(e) = event {
                format!("renew {} {} {}", e.step, e.group, e.round)
            } else if let Event::StepRetryScheduled(e) = event {
                // A new round of an undo or a renewal counts its attempts from 1 again.
                let round = |key: &&String| key.starts_with("undo") || key.starts_with("renew");
                let issued = once.iter().filter(round).count();
                format!("try {} {} {:?} {} {issued}", e.step, e.group, e.direction, e.attempt)
            } else {
                continue;
            };
            assert!(once.insert(key.clone()), "{what}: `{key}` happened twice: {:#?}", names(world));
        }
    }
}

/// Tells every row with a clock that steps by so many hours at each of many moments, and is right again a few moments after.
fn whenever_the_clock_steps(hours: i64) {
    for (name, story) in ROWS {
        let mut plain = World::with_stock(10, 5);
        story(&mut plain);
        to_its_end(&mut plain, name);
        assert_sound(&plain, name);
        for moment in (1..=plain.moments).step_by(3) {
            for wrong_for in [1, 8] {
                let what = format!("{name}: {hours} h at moment {moment}, right again {wrong_for} moments later");
                let mut world = World::with_stock(10, 5);
                world.turns.insert(moment, hours * 3600);
                world.turns.insert(moment + wrong_for, -hours * 3600);
                story(&mut world);
                to_its_end(&mut world, &what);
                assert_sound(&world, &what);
            }
        }
    }
}

#[test]
fn a_clock_that_was_two_hours_ahead_leaves_nothing_open() {
    whenever_the_clock_steps(2);
}

#[test]
fn a_clock_that_was_a_day_ahead_leaves_nothing_open() {
    whenever_the_clock_steps(25);
}

#[test]
fn a_clock_that_was_two_hours_behind_leaves_nothing_open() {
    whenever_the_clock_steps(-2);
}

#[test]
fn a_clock_that_was_a_day_behind_leaves_nothing_open() {
    whenever_the_clock_steps(-25);
}

/// The scenario of a machine that came up with a wrong clock: one order is placed, the clock is set right, and the order
/// takes its course at once.
#[test]
fn an_order_that_was_placed_by_a_clock_ahead_goes_on_as_soon_as_the_clock_is_right() {
    for hours in [2, 25] {
        let mut world = World::with_stock(10, 5);
        world.now += chrono::TimeDelta::hours(hours);
        world.place("tok_approve");
        world.settle();
        assert_eq!(world.ready(), Outcome::Done);
        world.unavailable.insert("RequestPaymentCapture", 2);
        world.settle();
        world.now -= chrono::TimeDelta::hours(hours);
        world.forget();
        world.input(&sagas::stream("order_fulfilment", ORDER), &saga_orchestrator::shop::Input::Time);
        world.pass(MINUTES(2));
        assert_eq!(world.ends().order, OrderStatus::Shipped, "{hours} h: {:#?}", names(&world));
        assert_eq!(world.deliver(), Outcome::Done);
        world.settle();
        assert_sound(&world, &format!("{hours} h"));
    }
}
