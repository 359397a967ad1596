//! What operators do: fold a read model again, compare, take over, go back; find what is parked and repair it.

use engine_runtime::clock::Timestamp;
use event_store::StreamName;
use projection_engine::ReadModel;
use projection_engine::dead_letters::repair::Answered;
use projection_engine::dead_letters::{Discarding, Refusal, Repaired, Verb};
use projection_engine::feeding::checkpoint::Slice;
use projection_engine::generations::requests::Refused;
use projection_engine::generations::{Asked, Stage};
use uuid::Uuid;

use crate::box_office::{BoxOffice, Running, at};
use crate::table::{SEATS, Seats, release};

fn asked(key: &str) -> Asked {
    Asked { key: key.to_owned(), actor: "ada".to_owned(), reason: None, at: at(0) }
}

async fn repair(running: &Running, seat: &str, verb: Verb) -> Result<Repaired, Refusal> {
    let stream: StreamName = format!("seat-{seat}").parse().unwrap();
    let answered = running.engine.repair(0, Slice { projection: SEATS.name, generation: 1 }, stream, verb).await;
    match answered {
        Answered::Reply(reply) => reply,
        other @ (Answered::Busy | Answered::Elsewhere) => panic!("{other:?}"),
    }
}

fn discard(at: Timestamp) -> Verb {
    let (actor, reason) = ("ada".to_owned(), "the name is too long for the table".to_owned());
    Verb::Discard(Discarding { actor, reason, at, request_id: Uuid::from_u128(1) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_generation_is_compared_takes_over_and_gives_way_again() {
    let (office, models) = (BoxOffice::open().await, release(SEATS));
    office.hold("a1", "ann").await;
    let held = office.hold("a2", "bob").await;
    let running = office.start(&models);
    running.reached(held).await;

    // Equal to the live one, it takes over.
    running.engine.rebuild(SEATS, false, asked("first")).await.unwrap();
    let second = running.until(2, Stage::Live).await;
    assert_eq!((second.schema.as_str(), second.comparison.unwrap().differences), ("read_2", 0));

    // Somebody writes into its tables: the next one differs, and waits for a decision.
    assert_eq!(office.execute("update read_2.seats set guest = 'mallory' where seat = 'a1'").await, 1);
    running.engine.rebuild(SEATS, false, asked("second")).await.unwrap();
    let found = running.until(3, Stage::Differs).await.comparison.unwrap();
    let [one] = found.first.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (one.column.as_deref(), &one.live, &one.rebuilt),
        (Some("guest"), &Some("mallory".into()), &Some("ann".into()))
    );
    assert_eq!(office.seats().await, ["a1 held mallory 0", "a2 held bob 0"]);
    running.engine.rebuild(SEATS, true, asked("third")).await.unwrap();
    running.until(3, Stage::Live).await;
    assert_eq!(office.seats().await, ["a1 held ann 0", "a2 held bob 0"]);

    // Both are fed, so going back is a matter of a moment and loses nothing.
    let sold = office.sell("a2", "bob").await;
    running.reached(sold).await;
    running.engine.roll_back(SEATS, &asked("back")).await.unwrap();
    assert_eq!(office.seats().await, ["a1 held mallory 0", "a2 sold bob 1"]);
    let in_use = running.engine.retire(SEATS, Some(2), asked("drop")).await;
    assert!(matches!(in_use, Err(Refused::InUse(2))), "{in_use:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_program_parks_its_seat_until_that_program_runs() {
    let (office, models) = (BoxOffice::open().await, release(SEATS));
    office.hold("a1", "ann").await;
    office.hold_in("a1", "eve", 2).await;
    let other = office.hold("a2", "bob").await;
    let running = office.start(&models);
    running.reached(other).await;
    assert_eq!(office.seats().await, ["a1 held ann 0", "a2 held bob 0"], "everything else goes on");
    let parked = running.engine.progress().statuses().remove(0).parked;
    let letter = &parked[&"seat-a1".parse::<StreamName>().unwrap()];
    assert_eq!((letter.version, letter.cause.as_str()), (1, "unreadable"), "{letter:?}");
    let tried = repair(&running, "a1", Verb::Retry).await.unwrap();
    assert_eq!(tried.parked.unwrap().attempts, 2);
    running.stop().await;

    // The next release reads it: its start tries by itself what is parked.
    let next = ReadModel { make: || Box::new(Seats::of_next_release()), ..SEATS };
    let running = office.start(&release(next));
    running.reached(other).await;
    assert_eq!(office.seats().await, ["a1 held eve 1", "a2 held bob 0"]);
    assert!(running.engine.progress().statuses()[0].parked.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_row_is_refused_is_discarded_and_the_next_one_applied() {
    let (office, models) = (BoxOffice::open().await, release(SEATS));
    office.hold("a1", "ann").await;
    office.hold("a1", &"x".repeat(41)).await;
    office.hold("b1", &"y".repeat(41)).await;
    let last = office.hold("b2", "bob").await;
    let running = office.start(&models);
    running.reached(last).await;
    assert_eq!(office.seats().await, ["a1 held ann 0", "b2 held bob 0"]);

    let would = repair(&running, "a1", Verb::Try).await.unwrap();
    assert_eq!(would.parked.unwrap().cause.as_str(), "refused");
    let done = repair(&running, "a1", discard(at(9))).await.unwrap();
    assert_eq!((done.applied, done.discarded, done.parked), (1, Some(1), None));
    running.reached(office.sell("a1", "ann").await).await;
    assert_eq!(office.seats().await, ["a1 sold ann 2", "b2 held bob 0"]);
    assert!(repair(&running, "a1", discard(at(9))).await.unwrap().replayed, "the same request again does nothing");
    // Without its first event a seat would have no row to change.
    assert_eq!(repair(&running, "b1", discard(at(9))).await.unwrap_err(), Refusal::BeginsRow);
    running.stop().await;
}
