//! Another domain on the engine and the embedded log alone: seats of a concert, each held for ten minutes and sold once.
//! `docs/library.md` explains it.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use command_engine::{CommandEngine, CommandMeta, Origin, Reply, Request, SendError};
use engine_runtime::{Clock, Tasks};
use event_store::{EventStore, SqliteOptions, SqliteStore, StreamName};
use eventsourcing::testing::{Given, at};
use eventsourcing::{Aggregate, Namespace, Timestamp, commands, events, rejections};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The ids of this application. Drawn once, and never changed.
const IDS: Namespace = Namespace::new(0x7365_6174_735f_4000_8000_0000_0000_0001);
/// How long a seat is held.
const HELD_FOR: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
enum Seat {
    #[default]
    Free,
    Held {
        guest: String,
        until: Timestamp,
    },
    Sold {
        guest: String,
    },
}

commands! {
    /// What may be asked of a seat.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Command {
        HoldSeat,
        SellSeat,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct HoldSeat {
    guest: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SellSeat {
    guest: String,
}

events! {
    /// What has happened to a seat.
    #[derive(Debug, Clone, PartialEq)]
    enum Event {
        SeatHeld,
        SeatSold,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SeatHeld {
    guest: String,
    until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SeatSold {
    guest: String,
}

rejections! {
    /// Why a command on a seat is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    enum Rejection {
        #[error("the seat is held for another guest until {until}")]
        Taken { until: Timestamp } = "seat-taken",
        #[error("the seat is sold")]
        Sold = "seat-sold",
        #[error("the seat is not held for this guest; hold it first")]
        NotHeld = "seat-not-held",
    }
}

impl Aggregate for Seat {
    const CATEGORY: &'static str = "seat";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Rejection> {
        match (self, command) {
            (Self::Sold { guest }, Command::SellSeat(c)) if *guest == c.guest => Ok(vec![]),
            (Self::Sold { .. }, _) => Err(Rejection::Sold),
            (Self::Held { guest, until }, Command::HoldSeat(c)) if *until > now && *guest != c.guest => {
                Err(Rejection::Taken { until: *until })
            }
            (Self::Held { until, .. }, Command::HoldSeat(_)) if *until > now => Ok(vec![]),
            (Self::Held { guest, until }, Command::SellSeat(c)) if *until > now && *guest == c.guest => {
                Ok(vec![Event::SeatSold(SeatSold { guest: c.guest.clone() })])
            }
            (_, Command::HoldSeat(c)) => {
                Ok(vec![Event::SeatHeld(SeatHeld { guest: c.guest.clone(), until: now + HELD_FOR })])
            }
            (_, Command::SellSeat(_)) => Err(Rejection::NotHeld),
        }
    }

    fn evolve(&mut self, event: &Event) {
        *self = match event.clone() {
            Event::SeatHeld(SeatHeld { guest, until }) => Self::Held { guest, until },
            Event::SeatSold(SeatSold { guest }) => Self::Sold { guest },
        };
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}

fn hold(guest: &str) -> Command {
    Command::HoldSeat(HoldSeat { guest: guest.to_owned() })
}

fn sell(guest: &str) -> Command {
    Command::SellSeat(SellSeat { guest: guest.to_owned() })
}

/// The box office: an engine on a log of its own.
struct BoxOffice {
    engine: CommandEngine,
    store: Arc<SqliteStore>,
    clock: Clock,
}

impl BoxOffice {
    fn open(folder: &Path, clock: &Clock) -> Self {
        let store = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
        let shared: Arc<dyn EventStore> = store.clone();
        let engine = CommandEngine::new(shared, clock.clone(), Tasks::new(), IDS).with::<Seat>();
        Self { engine, store, clock: clock.clone() }
    }

    /// A guest's request under a key: again is the same request.
    async fn ask(&self, key: &str, seat: &str, command: &Command) -> Result<Reply, SendError> {
        let command_id = IDS.derive(&["request", key]);
        let hash = Some(eventsourcing::ids::sha256_hex(&serde_json::to_string(command).unwrap()));
        let machine = CommandMeta::machine(command_id, command_id, command_id, "guest");
        let meta = CommandMeta { origin: Origin::Client, command_hash: hash, ..machine };
        let stream: StreamName = format!("{}-{seat}", Seat::CATEGORY).parse().unwrap();
        self.engine.send::<Seat>(Request { name: command.name(), stream, command, meta: &meta, begins: false }).await
    }

    async fn seat(&self, seat: &str) -> Seat {
        let stream: StreamName = format!("{}-{seat}", Seat::CATEGORY).parse().unwrap();
        Seat::clone(&self.engine.load::<Seat>(&stream).await.unwrap().state)
    }
}

#[test]
fn a_seat_is_held_sold_once_and_free_again_when_nobody_pays() {
    let held = Given::<Seat>::events([]).when(hold("ann"));
    let held = held.then([Event::SeatHeld(SeatHeld { guest: "ann".into(), until: at(600) })]);
    held.clone().at(599).when(hold("bob")).then_rejected(Rejection::Taken { until: at(600) });
    held.clone().at(600).when(sell("ann")).then_rejected(Rejection::NotHeld);
    let sold = held.at(10).when(sell("ann")).then([Event::SeatSold(SeatSold { guest: "ann".into() })]);
    sold.clone().when(sell("ann")).then_nothing();
    sold.when(hold("bob")).then_rejected(Rejection::Sold);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_guests_one_gets_the_seat_and_a_restart_changes_no_answer() {
    let (folder, clock) = (TempDir::new().unwrap(), Clock::manual(at(0)));
    let office = BoxOffice::open(folder.path(), &clock);
    let guests: Vec<String> = (0..100).map(|number| format!("guest-{number}")).collect();
    let commands: Vec<Command> = guests.iter().map(|guest| hold(guest)).collect();
    let asked = guests.iter().zip(&commands).map(|(guest, command)| office.ask(guest, "a1", command));
    let answers = futures_util::future::join_all(asked).await;
    let winners: Vec<&String> =
        guests.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(g, _)| g).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    let taken = answers.iter().filter(|no| matches!(no, Err(SendError::Rejected { code: "seat-taken", .. }))).count();
    assert_eq!(taken, 99);
    let winner = winners[0].clone();
    office.ask("pay", "a1", &sell(&winner)).await.unwrap();
    let first = office.ask(&winner, "a1", &hold(&winner)).await.unwrap();
    assert!(first.replayed, "the request that was answered before has its first answer");
    drop(office.engine);
    office.store.close().await;

    let office = BoxOffice::open(folder.path(), &clock);
    assert_eq!(office.seat("a1").await, Seat::Sold { guest: winner.clone() });
    let again = office.ask(&winner, "a1", &hold(&winner)).await.unwrap();
    assert_eq!((again.replayed, again.position), (true, first.position));
    let reused = office.ask(&winner, "a1", &sell(&winner)).await;
    assert_eq!(reused, Err(SendError::KeyReused));
    // A hold that nobody paid for is free for the next guest.
    office.ask("late", "a2", &hold("late")).await.unwrap();
    office.clock.advance(HELD_FOR);
    office.ask("next", "a2", &hold("next")).await.unwrap();
    assert!(matches!(office.seat("a2").await, Seat::Held { guest, .. } if guest == "next"));
    office.store.close().await;
}
