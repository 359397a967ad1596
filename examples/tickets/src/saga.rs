//! The saga that carries a booking: hold the seat, wait until the guest has paid, sell the seat, confirm the booking.
//! A guest who does not pay in time gets a rejection, and the seat is free again.

use std::fmt;

use event_store::RecordedEvent;
use eventsourcing::{Aggregate as _, DecodeError, Namespace};
use saga_engine::{
    Awaited, Begin, Ctx, Definition, Heard, Limit, Meaning, People, PlainNote, PlainParty, Process, Seconds, Source,
    Step, Story, TimesInTable, Undo, always, story,
};
use saga_runner::subscriber::{Subscriber, Trigger, source_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::booking::{Booking, ConfirmBooking, RejectBooking, SeatBooked};
use crate::seat::{HoldSeat, ReleaseSeat, SellSeat};
use crate::{IDS, booking, seat};

/// How long a seat is held for a guest who has not paid: 15 minutes.
pub const TO_PAY: Seconds = Seconds(900);

/// The table of steps. After the pivot `sell` the saga only goes forward.
const STEPS: &[Step<Tickets>] = &[
    Step { undo: Undo::by(reject), ..Step::START },
    Step {
        name: "hold",
        after: &["start"],
        sends: |ctx| on_seat(ctx, seat::Command::HoldSeat(HoldSeat { booking: booking_of(ctx) })),
        undo: Undo::by(|ctx| on_seat(ctx, seat::Command::ReleaseSeat(ReleaseSeat { booking: booking_of(ctx) }))),
        means: |_| Meaning::Fail("seat_taken"),
        ..Step::COMPENSATABLE
    },
    Step {
        name: "pay",
        after: &["hold"],
        awaits: Some(Awaited::heard("BookingPaid", PlainParty::Person, always)),
        undo: Some(Undo::Nothing), // `RejectBooking` says what goes back to the guest.
        limit: Limit::Fail(TO_PAY, "not_paid"),
        means: |_| Meaning::Fail("not_paid"),
        ..Step::COMPENSATABLE
    },
    Step {
        name: "sell",
        after: &["pay"],
        sends: |ctx| on_seat(ctx, seat::Command::SellSeat(SellSeat { booking: booking_of(ctx) })),
        means: |_| Meaning::Fail("seat_lost"),
        ..Step::PIVOT
    },
    Step {
        name: "confirm",
        after: &["sell"],
        sends: |ctx| on_booking(ctx, booking::Command::ConfirmBooking(ConfirmBooking {})),
        ..Step::RETRIABLE
    },
];

const BOOKING: Definition<Tickets> = Definition {
    name: "booking",
    version: 1,
    starts_on: &["SeatBooked"],
    steps: STEPS,
    hears: |state, Paid| vec![Heard::Succeeded("pay", state.group_of("pay"), None)],
    stops: |_| None,
    hands_over: None,
    people: People::SKIP_NOTHING,
};

fn reject(ctx: &Ctx<Tickets>) -> Vec<Command> {
    let reason = ctx.state.reason.clone().unwrap_or_default();
    on_booking(ctx, booking::Command::RejectBooking(RejectBooking { reason }))
}

fn booking_of(ctx: &Ctx<Tickets>) -> Uuid {
    ctx.state.subject().booking_id
}

fn on_seat(ctx: &Ctx<Tickets>, command: seat::Command) -> Vec<Command> {
    let seat = ctx.state.facts.as_ref().map(|facts| facts.seat.clone());
    seat.map(|seat| Command::Seat { seat, command }).into_iter().collect()
}

fn on_booking(ctx: &Ctx<Tickets>, command: booking::Command) -> Vec<Command> {
    vec![Command::Booking { booking: booking_of(ctx), command }]
}

/// The sagas of this program, and what stands in their stored events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Tickets;

/// What a step sends: a command and the stream that it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    Seat { seat: String, command: seat::Command },
    Booking { booking: Uuid, command: booking::Command },
}

/// The guest has paid.
#[derive(Debug, Clone, PartialEq)]
pub struct Paid;

impl Process for Tickets {
    type Story = Self;
    type Command = Command;
    type Outside = Paid;
    type Settings = TimesInTable;

    const DEFINITIONS: &'static [&'static Definition<Self>] = &[&BOOKING];
    const IDS: Namespace = IDS;

    fn saga_id(_: &Source, facts: &SeatBooked) -> Uuid {
        facts.booking
    }

    fn target(command: &Command) -> String {
        match command {
            Command::Seat { seat, .. } => format!("seat-{seat}"),
            Command::Booking { booking, .. } => format!("booking-{booking}"),
        }
    }

    fn command_name(command: &Command) -> &'static str {
        match command {
            Command::Seat { command, .. } => command.name(),
            Command::Booking { command, .. } => command.name(),
        }
    }
}

impl Story for Tickets {
    type Subject = Subject;
    type Facts = SeatBooked;
    type Handover = SeatBooked;
    type Note = PlainNote;
    type Party = PlainParty;
    const NOUN: &'static str = "booking";

    fn subject(facts: &SeatBooked) -> Subject {
        Subject { booking_id: facts.booking }
    }
}

/// What a saga is about: one booking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    pub booking_id: Uuid,
}

impl story::Subject for Subject {
    fn id(&self) -> Uuid {
        self.booking_id
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.booking_id.fmt(f)
    }
}

impl Subscriber for Tickets {
    const CATEGORIES: &'static [&'static str] = &[Booking::CATEGORY];

    fn parse_subject(key: &str) -> Option<Subject> {
        key.parse().ok().map(|booking_id| Subject { booking_id })
    }

    fn subject(recorded: &RecordedEvent) -> Option<Subject> {
        Self::parse_subject(recorded.stream.id())
    }

    fn triggers(recorded: &RecordedEvent, _: Subject) -> Result<Vec<Trigger<Self>>, DecodeError> {
        let source = source_of(recorded);
        Ok(match Booking::decode(&recorded.event_type, recorded.schema_version, recorded.data.get())? {
            booking::Event::SeatBooked(facts) => vec![Trigger::Begin(BOOKING.name, Begin { source, facts })],
            booking::Event::BookingPaid(_) => vec![Trigger::fact(source, Paid)],
            booking::Event::BookingConfirmed(_) | booking::Event::BookingRejected(_) => Vec::new(),
        })
    }
}
