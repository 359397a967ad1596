//! One effect and one answer per key.

use command_service::{CommandMeta, SendError};
use domain::ids::Sku;
use domain::money::{Currency, Money};
use domain::product::{self, Product};
use domain::testing::at;
use event_store::{Direction, EventStore as _, StreamSnapshot};
use futures_util::future::join_all;
use std::time::Duration;

use crate::world::{ITEM, World, adjust, client, id, machine, name, receive, release, reserve};

#[tokio::test]
async fn the_same_command_at_once_from_many_sides_has_one_effect() {
    let world = World::new();
    world.receive(1).await;
    let answers = join_all((0..50).map(|_| world.bus.send(receive(7), client(1, "seven")))).await;
    let first = answers.iter().flatten().filter(|reply| !reply.replayed).count();
    assert_eq!(first, 1);
    for answer in answers {
        match answer {
            Ok(reply) => assert_eq!(reply.version, Some(1)),
            Err(error) => assert_eq!(error, SendError::InFlight),
        }
    }
    assert_eq!(world.events(ITEM).await.len(), 2);
}

#[tokio::test]
async fn after_a_restart_the_answer_of_a_command_that_appended_comes_from_the_log() {
    let world = World::new();
    let first = world.send(receive(7), client(1, "seven")).await.unwrap();
    world.send(receive(1), machine(id(2))).await.unwrap();
    let world = world.restarted().await;
    let again = world.send(receive(7), client(1, "seven")).await.unwrap();
    assert_eq!((again.version, again.position), (first.version, first.position));
    assert!(again.replayed);
    assert_eq!(world.send(receive(8), client(1, "eight")).await, Err(SendError::KeyReused));
    assert_eq!(world.events(ITEM).await.len(), 2);
}

#[tokio::test]
async fn refusals_and_no_ops_are_replayed_from_memory_and_decided_again_after_a_restart() {
    let world = World::new();
    world.receive(3).await;
    let no = world.send(adjust(-5), client(1, "five")).await;
    assert!(matches!(no, Err(SendError::Rejected { code: "adjustment-too-low", replayed: false, .. })), "{no:?}");
    world.send(receive(10), machine(id(2))).await.unwrap();
    let again = world.send(adjust(-5), client(1, "five")).await;
    assert!(matches!(again, Err(SendError::Rejected { code: "adjustment-too-low", replayed: true, .. })), "{again:?}");
    assert_eq!(world.send(adjust(-6), client(1, "six")).await, Err(SendError::KeyReused));
    let world = world.restarted().await;
    assert!(world.send(adjust(-5), client(1, "five")).await.unwrap().changed);
}

#[tokio::test]
async fn a_key_is_forgotten_a_day_of_the_streams_events_later() {
    let world = World::new();
    world.send(receive(7), client(1, "seven")).await.unwrap();
    world.clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert!(world.send(receive(7), client(1, "seven")).await.unwrap().replayed);
    world.clock.advance(Duration::from_secs(2));
    world.send(receive(1), client(2, "one")).await.unwrap();
    assert!(!world.send(receive(7), client(1, "seven")).await.unwrap().replayed);
}

#[tokio::test]
async fn a_machines_command_is_known_by_what_it_names_and_refused_after_its_deadline() {
    let world = World::new();
    world.receive(3).await;
    assert!(world.send(reserve(1), machine(id(1))).await.unwrap().changed);
    assert!(!world.send(reserve(1), machine(id(1))).await.unwrap().changed, "already so");
    let mut late = machine(id(2));
    late.not_after = Some(world.clock.now());
    assert!(world.send(reserve(2), late.clone()).await.is_ok(), "at the deadline is not after it");
    world.clock.advance(Duration::from_secs(1));
    let refused = world.send(reserve(3), late.clone()).await;
    assert!(matches!(refused, Err(SendError::TooLate { .. })), "{refused:?}");
}

/// Fifteen minutes after what the clock shows, as sagas send it.
fn soon(world: &World, number: u128) -> CommandMeta {
    CommandMeta { not_after: Some(world.clock.now() + Duration::from_secs(900)), ..machine(id(number)) }
}

#[tokio::test]
async fn a_stream_written_by_a_clock_ahead_takes_commands_that_are_known_to_be_wanted() {
    for hours in [2, 25] {
        let world = World::new();
        world.clock.set(at(hours * 3600));
        world.receive(3).await;
        world.send(reserve(1), soon(&world, 1)).await.unwrap();
        world.clock.set(at(60));
        let refused = world.send(reserve(2), soon(&world, 2)).await;
        let Err(SendError::TooLate { now, stream_time: Some(stream_time), .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((now, stream_time), (at(60), at(hours * 3600)));
        assert!(!world.send(reserve(1), soon(&world, 1)).await.unwrap().changed, "a replay is known for one");
        let later = Some(stream_time + Duration::from_secs(900));
        let proven = CommandMeta { stream_not_after: later, ..soon(&world, 2) };
        assert!(world.send(reserve(2), proven.clone()).await.unwrap().changed, "{hours} h ahead");
        let released = CommandMeta { stream_not_after: later, ..soon(&world, 3) };
        assert!(world.send(release(1), released).await.unwrap().changed, "what was reserved ahead can be released");
        // The stream's deadline is not one for the clock: who was paused since is late all the same.
        world.clock.advance(Duration::from_secs(901));
        let paused = CommandMeta { command_id: id(4), ..proven };
        let refused = world.send(reserve(4), paused).await;
        assert!(matches!(refused, Err(SendError::TooLate { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_event_of_a_clock_that_was_ahead_forgets_no_key_and_no_end() {
    let world = World::new();
    world.receive(3).await;
    let first = world.send(receive(7), client(1, "seven")).await.unwrap();
    world.send(release(9), machine(id(2))).await.unwrap();
    world.clock.set(at(25 * 3600));
    world.send(receive(1), client(3, "one")).await.unwrap();
    world.clock.set(at(60));
    let remembers = async |world: &World| {
        let again = world.send(receive(7), client(1, "seven")).await.unwrap();
        assert!(again.replayed, "the key is known");
        assert_eq!(again.version, first.version);
        let late = world.send(reserve(9), machine(id(4))).await;
        assert!(matches!(late, Err(SendError::Rejected { code: "reservation-ended", .. })), "{late:?}");
    };
    remembers(&world).await;
    remembers(&world.restarted().await).await;
}

#[tokio::test]
async fn a_deadline_is_compared_with_the_streams_last_event_when_the_clock_was_set_back() {
    let world = World::new();
    world.clock.advance(Duration::from_secs(3600));
    world.receive(3).await;
    let mut meta = machine(id(2));
    meta.not_after = Some(world.clock.now() - Duration::from_secs(1));
    // Whatever the clock says, the stream's own time is past the deadline.
    let back = World { clock: service_kit::Clock::manual(domain::testing::at(0)), ..world };
    let back = back.restarted().await;
    let refused = back.send(reserve(1), meta).await;
    assert!(matches!(refused, Err(SendError::TooLate { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_existing_stream_is_never_taken_for_a_new_one_even_if_its_start_is_repeated() {
    let world = World::new();
    let sku: Sku = "SKU".parse().unwrap();
    let send = |command| domain::Command::Product { id: sku.clone(), command };
    let create = product::CreateProduct {
        sku: sku.clone(),
        name: "Shirt".to_owned(),
        price: Money::new(1_000, Currency::EUR),
        active: true,
    };
    let create = send(product::Command::CreateProduct(create));
    let price = Money::new(1_500, Currency::EUR);
    let change = send(product::Command::ChangeProductPrice(product::ChangeProductPrice { price }));
    world.send(create.clone(), client(1, "create")).await.unwrap();
    world.send(change, client(2, "change")).await.unwrap();
    let world = world.restarted().await;
    // The log answers the very same append as it did then; the product has gone on since.
    let again = world.send(create, client(1, "create")).await.unwrap();
    assert_eq!((again.version, again.replayed), (Some(1), true), "created and activated");
    let now = world.bus.load::<Product>(&name("product-SKU")).await.unwrap();
    assert_eq!((now.version, now.state.price), (Some(2), price));
}

#[tokio::test]
async fn a_long_stream_is_read_from_its_snapshot_and_its_keys_are_in_it() {
    let world = World::new();
    world.send(receive(1), client(1, "first")).await.unwrap();
    for hundred in 0..12 {
        let answers = join_all((0..100).map(|n| world.bus.send(receive(1), machine(id(2 + hundred * 100 + n))))).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    let world = world.restarted().await;
    let snapshot = world.log.load_snapshot(&name(ITEM)).await.unwrap().expect("a snapshot is due after 1 000 events");
    assert!(snapshot.version >= 999, "{}", snapshot.version);
    let loaded = world.bus.load::<domain::stock::StockItem>(&name(ITEM)).await.unwrap();
    assert_eq!((loaded.version, loaded.state.on_hand), (Some(1_200), 1_201));
    assert!(world.send(receive(1), client(1, "first")).await.unwrap().replayed);
}

#[tokio::test]
async fn a_snapshot_of_stock_that_0_2_0_kept_is_believed() {
    let world = World::new();
    world.send(receive(1), client(1, "first")).await.unwrap();
    let last = world.log.read_stream(&name(ITEM), 0, Direction::Forward, 1).await.unwrap().remove(0);
    // As 0.2.0 wrote it, but for the pieces: they tell where the state comes from.
    let state = format!(
        r#"{{"state":{{"item":null,"on_hand":7,"shipped":0,"restocked":0,"reserved":{{}},"committed":{{}},"ended":[]}},"last_id":"{}","last_at":"2026-11-21T00:00:00Z","window":[]}}"#,
        last.id
    );
    let snapshot = StreamSnapshot { version: 0, schema: 1, state };
    world.log.save_snapshot(&name(ITEM), snapshot).await.unwrap();
    let world = world.restarted().await;
    let loaded = world.bus.load::<domain::stock::StockItem>(&name(ITEM)).await.unwrap();
    assert_eq!((loaded.version, loaded.state.on_hand), (Some(0), 7));
}

#[tokio::test]
async fn a_load_of_a_long_stream_that_is_given_up_leaves_a_snapshot_for_the_next_one() {
    const EVENTS: u128 = 51_000;
    let world = World::new();
    for from in (1..=EVENTS).step_by(500) {
        let sent = (from..from + 500).map(|number| world.bus.send(receive(1), machine(id(number))));
        assert!(join_all(sent).await.iter().all(Result::is_ok));
    }
    // A snapshot that this program does not believe, as after an upgrade.
    let old = StreamSnapshot { version: 0, schema: 999, state: String::new() };
    world.log.save_snapshot(&name(ITEM), old).await.unwrap();
    let world = world.restarted().await;
    world.bus.load::<domain::stock::StockItem>(&name(ITEM)).await.unwrap();
    let kept = world.log.load_snapshot(&name(ITEM)).await.unwrap().unwrap();
    assert!(kept.schema == 1 && kept.version >= 49_999, "kept while the stream was read: version {}", kept.version);
}

#[tokio::test]
async fn a_stream_takes_more_keys_than_it_remembers_wholly_and_forgets_none_within_a_day() {
    // More than the 65 536 that were once all that a stream took in a day.
    const KEYS: u128 = 66_000;
    // Ids of commands are hashes: they differ from their beginning on.
    let client = |number: u128, hash| client(number << 64 | number, hash);
    let world = World::new();
    let first = world.send(receive(1), client(1, "one")).await.unwrap();
    for from in (2..KEYS).step_by(500) {
        let sent = (from..from + 500).map(|number| world.bus.send(receive(1), client(number, "one")));
        let refused = join_all(sent).await.into_iter().find_map(Result::err);
        assert_eq!(refused, None, "after {from} keys");
    }
    assert!(world.send(reserve(1), machine(id(KEYS + 1_000))).await.unwrap().changed, "a saga's command is taken");
    let world = {
        let again = world.send(receive(1), client(1, "one")).await.unwrap();
        assert_eq!((again.version, again.position, again.replayed), (first.version, first.position, true));
        assert_eq!(world.send(receive(2), client(1, "two")).await, Err(SendError::KeyReused));
        world.restarted().await
    };
    for number in [1, 2, 9_000, KEYS / 2, KEYS - 1] {
        assert!(world.send(receive(1), client(number, "one")).await.unwrap().replayed, "key {number} after a restart");
    }
    assert_eq!(world.send(receive(2), client(1, "two")).await, Err(SendError::KeyReused));
    world.clock.advance(Duration::from_secs(24 * 3600 + 1));
    world.send(receive(1), client(KEYS + 600, "one")).await.unwrap();
    assert!(!world.send(receive(1), client(1, "one")).await.unwrap().replayed, "a day later it is a new request");
}
