//! The booking of a seat as a saga: hold the seat, wait until the guest has paid, sell the seat. A guest who does not pay
//! in time, or whose seat was sold to somebody else meanwhile, gets nothing, and the seat is free again.

use std::fmt;
use std::time::Duration;

use eventsourcing::Namespace;
use saga_engine::parts::{Failure, Source};
use saga_engine::{
    Awaited, Ctx, Definition, Heard, Limit, Meaning, People, Process, Retry, Settings, Step, Story, Undo, always,
    process, story,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The ids of this application. Drawn once, and never changed.
pub const IDS: Namespace = Namespace::new(0x7365_6174_735f_4000_8000_0000_0000_0001);
/// The saga's type.
pub const BOOKING: &str = "booking";

/// What stands in the events of this application's sagas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tickets;

impl Story for Tickets {
    type Subject = Booking;
    type Facts = Facts;
    type Handover = Facts;
    type Note = Note;
    type Party = Party;

    const NOUN: &'static str = "booking";

    fn subject(facts: &Facts) -> Booking {
        Booking { booking_id: facts.booking_id }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Booking {
    pub booking_id: Uuid,
}

impl story::Subject for Booking {
    fn id(&self) -> Uuid {
        self.booking_id
    }
}

impl fmt::Display for Booking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.booking_id.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    pub booking_id: Uuid,
    pub seat: String,
    pub guest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Note {
    NothingLeft,
    CameEarly,
    UndoFailed,
}

impl story::Note for Note {
    const NOTHING_LEFT: Self = Self::NothingLeft;
    const CAME_EARLY: Self = Self::CameEarly;
    const UNDO_FAILED: Self = Self::UndoFailed;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Party {
    Guest,
}

impl story::Party for Party {
    fn is_asked(self) -> bool {
        false
    }

    fn as_str(self) -> &'static str {
        "the guest"
    }
}

/// What the saga asks of a seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Hold { seat: String, guest: String },
    Release { seat: String, guest: String },
    Sell { seat: String, guest: String },
}

/// What the saga hears: the guest has paid.
#[derive(Debug, Clone, PartialEq)]
pub struct Paid;

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Patience {
    pub to_pay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Answer,
    ToPay,
}

impl process::Time for Time {
    const COMMAND: Self = Self::Answer;
    const CHECK: Self = Self::Answer;
    const UNANSWERED: Self = Self::Answer;
}

impl Settings for Patience {
    type Time = Time;

    fn duration(&self, time: Time) -> Duration {
        match time {
            Time::Answer => Duration::from_secs(10),
            Time::ToPay => self.to_pay,
        }
    }

    fn retry(&self) -> Retry {
        Retry { base: Duration::from_millis(20), cap: Duration::from_secs(1) }
    }
}

/// The sagas of this application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BoxOffice;

type Row = Step<BoxOffice>;

const PAID: Awaited<BoxOffice> = Awaited::heard("BillPaid", Party::Guest, always);

const STEPS: &[Row] = &[
    Step {
        name: "hold",
        sends: hold,
        undo: Undo::by(release),
        means: |_| Meaning::Fail("taken"),
        ..Row::COMPENSATABLE
    },
    Step {
        name: "pay",
        after: &["hold"],
        awaits: Some(PAID),
        undo: Some(Undo::Nothing),
        limit: Limit::Fail(Time::ToPay, "not_paid"),
        means: |_: &Failure| Meaning::Fail("not_paid"),
        ..Row::COMPENSATABLE
    },
    Step { name: "confirm", after: &["pay"], sends: sell, means: |_| Meaning::Fail("lost"), ..Row::PIVOT },
];

/// The saga, by its table of steps.
pub const DEFINITION: Definition<BoxOffice> = Definition {
    name: BOOKING,
    version: 1,
    starts_on: &["SeatBooked"],
    steps: STEPS,
    hears: |state, Paid| vec![Heard::Succeeded("pay", state.group_of("pay"), None)],
    stops: |_| None,
    hands_over: None,
    people: People::SKIP_NOTHING,
};

impl Process for BoxOffice {
    type Story = Tickets;
    type Command = Command;
    type Outside = Paid;
    type Settings = Patience;

    const DEFINITIONS: &'static [&'static Definition<Self>] = &[&DEFINITION];
    const IDS: Namespace = IDS;

    fn saga_id(_: &Source, facts: &Facts) -> Uuid {
        facts.booking_id
    }

    fn target(command: &Command) -> String {
        let (Command::Hold { seat, .. } | Command::Release { seat, .. } | Command::Sell { seat, .. }) = command;
        format!("seat-{seat}")
    }

    fn command_name(command: &Command) -> &'static str {
        match command {
            Command::Hold { .. } => "Hold",
            Command::Release { .. } => "Release",
            Command::Sell { .. } => "Sell",
        }
    }

    fn lasting(command: &Command) -> Option<&'static str> {
        matches!(command, Command::Sell { .. }).then_some("the seat is sold")
    }
}

fn on_seat(ctx: &Ctx<BoxOffice>, command: impl FnOnce(String, String) -> Command) -> Vec<Command> {
    let facts = ctx.state.facts.clone();
    facts.map(|facts| command(facts.seat, facts.guest)).into_iter().collect()
}

fn hold(ctx: &Ctx<BoxOffice>) -> Vec<Command> {
    on_seat(ctx, |seat, guest| Command::Hold { seat, guest })
}

fn release(ctx: &Ctx<BoxOffice>) -> Vec<Command> {
    on_seat(ctx, |seat, guest| Command::Release { seat, guest })
}

fn sell(ctx: &Ctx<BoxOffice>) -> Vec<Command> {
    on_seat(ctx, |seat, guest| Command::Sell { seat, guest })
}
