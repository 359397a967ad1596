//! Order: what a customer wants, at which price, and how far it has come. This stream is the arbiter of the race
//! between cancellation, holds and dispatch.
//!
//! | from | command | to |
//! |---|---|---|
//! | (nothing) | PlaceOrder | Pending |
//! | Pending | ConfirmOrder | Confirmed |
//! | Pending | RejectOrder | Rejected, terminal |
//! | Pending, Confirmed | RequestOrderCancellation | CancelPending |
//! | Confirmed, not held | AllowOrderDispatch | Dispatching: from here on cancellation and holds are refused |
//! | CancelPending, Confirmed, Dispatching | CancelOrder (only sagas) | Cancelled, terminal |
//! | Dispatching | RecordOrderShipped | Shipped |
//! | Shipped | CompleteOrder | Completed, terminal |
//! | Pending, Confirmed | HoldOrder, ReleaseOrderHold | the same; `holds` has one reason more or fewer |
//!
//! A risk check that says `review` holds the order in the same append; `approve` after it releases that hold and no other.

pub mod commands;
pub mod decide;
pub mod events;
mod place;
pub mod pricing;
pub mod rejection;
pub mod state;
#[cfg(test)]
mod tests;

pub use commands::*;
pub use decide::MAX_REASON_CHARS;
pub use events::*;
pub use place::{MAX_LINES, MAX_PAYMENT_METHOD_CHARS, MAX_TAG_CHARS, MAX_TAGS};
pub use rejection::Rejection;
pub use state::{Order, Status};
