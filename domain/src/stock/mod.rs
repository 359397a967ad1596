//! StockItem: one SKU at one location. `available = on_hand − reserved − committed` is a function of events alone.
//!
//! | a reservation that is | command | becomes |
//! |---|---|---|
//! | unknown | ReserveStock | reserved, for [`RESERVATION_TTL`] |
//! | unknown | ReleaseReservation | ended by a mark of 0 pieces: the late ReserveStock is then refused |
//! | reserved | RenewReservation | reserved, for another [`RESERVATION_TTL`] |
//! | reserved | CommitReservation | committed: no time limit |
//! | reserved and due | ExpireReservation, or a ReserveStock that needs its pieces | ended, expired |
//! | reserved, committed | ReleaseReservation | ended, released |
//! | committed | ShipStock | ended, shipped: on hand goes down |
//!
//! A reservation ends exactly once, and neither a committed nor an ended one can be reserved again. Ends are remembered
//! for [`ENDS_REMEMBERED`] at least; no command is delivered that late.
//!
//! A reservation whose time has passed is *held until its end is an event*: it can still be renewed and committed, and
//! no other order gets its pieces. So a clock that steps back cannot let two orders take one piece.

pub mod commands;
pub mod decide;
pub mod events;
pub mod rejection;
pub mod state;
#[cfg(test)]
mod tests;

pub use commands::*;
pub use decide::{MAX_DELTA, MAX_EXPIRED_PER_APPEND, MAX_ON_HAND, MAX_REASON_CHARS, RESERVATION_TTL};
pub use events::*;
pub use rejection::Rejection;
pub use state::{Committed, ENDS_REMEMBERED, EndKind, Ended, Reserved, StockItem};
