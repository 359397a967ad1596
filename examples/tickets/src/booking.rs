//! A booking: one guest, one seat, one price. It is paid or it is not; the saga in `saga.rs` does the rest.

use eventsourcing::{Aggregate, Timestamp, commands, events, rejections};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The state of a booking. Its stream is `booking-<id>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub enum Booking {
    #[default]
    None,
    Open {
        price_cents: u64,
        paid: bool,
    },
    Confirmed,
    Rejected,
}

commands! {
    /// What may be asked of a booking.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub enum Command {
        BookSeat,
        PayBooking,
        ConfirmBooking,
        RejectBooking,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BookSeat {
    pub booking: Uuid,
    pub seat: String,
    pub guest: String,
    pub price_cents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PayBooking {
    pub cents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmBooking {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectBooking {
    pub reason: String,
}

events! {
    /// What has happened to a booking.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        SeatBooked,
        BookingPaid,
        BookingConfirmed,
        BookingRejected,
    }
}

/// A guest wants a seat. The saga begins with this event.
pub type SeatBooked = BookSeat;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BookingPaid {
    pub cents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BookingConfirmed {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BookingRejected {
    pub reason: String,
    /// What goes back to the guest: a payment may arrive while the saga is giving up.
    pub refund_cents: u64,
}

rejections! {
    /// Why a command on a booking is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        #[error("there is no such booking; book a seat first")]
        Unknown = "booking-unknown",
        #[error("the booking costs {price_cents} cents")]
        WrongAmount { price_cents: u64 } = "wrong-amount",
        #[error("the booking has ended; nothing was paid")]
        Ended = "booking-ended",
    }
}

impl Aggregate for Booking {
    const CATEGORY: &'static str = "booking";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<Event>, Rejection> {
        match (command, *self) {
            (Command::BookSeat(c), Self::None) => Ok(vec![Event::SeatBooked(c.clone())]),
            (_, Self::None) => Err(Rejection::Unknown),
            (Command::PayBooking(c), Self::Open { price_cents, paid: false }) => match c.cents == price_cents {
                true => Ok(vec![Event::BookingPaid(BookingPaid { cents: c.cents })]),
                false => Err(Rejection::WrongAmount { price_cents }),
            },
            (Command::ConfirmBooking(_), Self::Open { .. }) => Ok(vec![Event::BookingConfirmed(BookingConfirmed {})]),
            (Command::RejectBooking(c), Self::Open { price_cents, paid }) => {
                let refund_cents = if paid { price_cents } else { 0 };
                Ok(vec![Event::BookingRejected(BookingRejected { reason: c.reason.clone(), refund_cents })])
            }
            (Command::PayBooking(_), Self::Confirmed | Self::Rejected)
            | (Command::ConfirmBooking(_), Self::Rejected)
            | (Command::RejectBooking(_), Self::Confirmed) => Err(Rejection::Ended),
            (_, _) => Ok(vec![]), // It is so already.
        }
    }

    fn evolve(&mut self, event: &Event) {
        *self = match event {
            Event::SeatBooked(e) => Self::Open { price_cents: e.price_cents, paid: false },
            Event::BookingPaid(e) => Self::Open { price_cents: e.cents, paid: true },
            Event::BookingConfirmed(_) => Self::Confirmed,
            Event::BookingRejected(_) => Self::Rejected,
        };
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}
