//! A seat: held for one booking at a time, and sold once. The booking's saga lets go of it when nobody pays.

use eventsourcing::{Aggregate, Timestamp, commands, events, rejections};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The state of a seat. Its stream is `seat-<name>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub enum Seat {
    #[default]
    Free,
    Held(Uuid),
    Sold(Uuid),
}

commands! {
    /// What may be asked of a seat.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub enum Command {
        HoldSeat,
        ReleaseSeat,
        SellSeat,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldSeat {
    pub booking: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSeat {
    pub booking: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SellSeat {
    pub booking: Uuid,
}

events! {
    /// What has happened to a seat.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        SeatHeld,
        SeatReleased,
        SeatSold,
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatHeld {
    pub booking: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatReleased {
    pub booking: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatSold {
    pub booking: Uuid,
}

rejections! {
    /// Why a command on a seat is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        #[error("the seat is held for another booking or sold; choose another seat")]
        Taken = "seat-taken",
        #[error("the seat is not held for this booking")]
        NotHeld = "seat-not-held",
    }
}

impl Aggregate for Seat {
    const CATEGORY: &'static str = "seat";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: &Command, _now: Timestamp) -> Result<Vec<Event>, Rejection> {
        match (command, *self) {
            (Command::HoldSeat(HoldSeat { booking }), Self::Free) => {
                Ok(vec![Event::SeatHeld(SeatHeld { booking: *booking })])
            }
            (Command::HoldSeat(c), Self::Held(owner)) if owner == c.booking => Ok(vec![]), // It is so already.
            (Command::HoldSeat(_), Self::Held(_) | Self::Sold(_)) => Err(Rejection::Taken),
            (Command::ReleaseSeat(ReleaseSeat { booking }), Self::Held(owner)) if owner == *booking => {
                Ok(vec![Event::SeatReleased(SeatReleased { booking: *booking })])
            }
            (Command::ReleaseSeat(_), _) => Ok(vec![]),
            (Command::SellSeat(SellSeat { booking }), Self::Held(owner)) if owner == *booking => {
                Ok(vec![Event::SeatSold(SeatSold { booking: *booking })])
            }
            (Command::SellSeat(c), Self::Sold(owner)) if owner == c.booking => Ok(vec![]),
            (Command::SellSeat(_), _) => Err(Rejection::NotHeld),
        }
    }

    fn evolve(&mut self, event: &Event) {
        *self = match *event {
            Event::SeatHeld(SeatHeld { booking }) => Self::Held(booking),
            Event::SeatReleased(_) => Self::Free,
            Event::SeatSold(SeatSold { booking }) => Self::Sold(booking),
        };
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}
