//! Why a command on a stock item is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::decide::{MAX_DELTA, MAX_ON_HAND, MAX_REASON_CHARS};
use crate::aggregate::Timestamp;
use crate::ids::{ReservationId, Sku};

rejections! {
    /// Why a command on a stock item is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// No piece of this item was ever received here.
        #[error("nothing of this item was ever received here; receive stock first")]
        NotFound = "not-found",
        /// The SKU is `.` or `..`, which cannot be a segment of a path of the HTTP API.
        #[error("nothing can be called `{0}`, which no path can have as a part; choose another SKU")]
        ReservedSku(Sku) = "reserved-sku",
        /// Fewer pieces are available than were asked for.
        #[error("{asked} asked, {available} available; order fewer, or receive stock first")]
        OutOfStock {
            /// Number of pieces that the command asks for.
            asked: i64,
            /// Number of pieces that can be reserved.
            available: i64,
        } = "out-of-stock",
        /// The reservation is committed or has ended; it cannot be used in this way any more.
        #[error("reservation {0} is committed or has ended; reserve under another id")]
        ReservationEnded(ReservationId) = "reservation-ended",
        /// There is no such reservation, or its end is long forgotten.
        #[error("there is no reservation {0}; reserve first")]
        ReservationNotFound(ReservationId) = "reservation-not-found",
        /// The id of the reservation is taken by another one.
        #[error("reservation {0} holds another quantity or is another order's; reserve under another id")]
        ReservationDiffers(ReservationId) = "reservation-differs",
        /// The reservation has not expired yet.
        #[error("reservation {reservation_id} holds until {expires_at}; wait until then, or release it")]
        ReservationNotDue {
            /// The reservation's id.
            reservation_id: ReservationId,
            /// When the reservation expires.
            expires_at: Timestamp,
        } = "reservation-not-due",
        /// The reservation is committed and has no time limit.
        #[error("reservation {0} is committed and does not expire; ship or release it")]
        ReservationCommitted(ReservationId) = "reservation-committed",
        /// The reservation is not committed.
        #[error("reservation {0} is not committed; commit it before shipping")]
        ReservationNotCommitted(ReservationId) = "reservation-not-committed",
        /// The pieces of the reservation have left the warehouse.
        #[error("the pieces of reservation {0} have left the house; restock them when they come back")]
        ReservationShipped(ReservationId) = "reservation-shipped",
        /// The warehouse would have more pieces of the item than can be counted.
        #[error("{on_hand} on hand and {added} more are over {max}; correct the quantity", max = MAX_ON_HAND)]
        TooMuchStock {
            /// Number of pieces on hand.
            on_hand: i64,
            /// Number of pieces to add.
            added: i64,
        } = "too-much-stock",
        /// The adjustment is 0 or too large.
        #[error("{0} is no adjustment; give a number from -{max} to {max} that is not 0", max = MAX_DELTA)]
        InvalidDelta(i64) = "invalid-delta",
        /// The reason of the adjustment is empty or too long.
        #[error("a reason of {0} characters does not fit; give 1 to {max}", max = MAX_REASON_CHARS)]
        ReasonLength(usize) = "reason-length",
        /// The adjustment would take away reserved pieces, or pieces that are not there.
        #[error(
            "{on_hand} on hand, of which {reserved} reserved and {committed} committed: {delta} would take more than is \
             free; release reservations first"
        )]
        AdjustmentTooLow {
            /// Number of pieces on hand.
            on_hand: i64,
            /// Number of pieces in reservations with a time limit.
            reserved: i64,
            /// Number of pieces in committed reservations.
            committed: i64,
            /// Number of pieces to add, negative to take away.
            delta: i64,
        } = "adjustment-too-low",
        /// More pieces came back than were shipped.
        #[error("{asked} came back, but only {outstanding} of those shipped are still out; receive others as new stock")]
        RestockExceedsShipped {
            /// Number of pieces that came back.
            asked: i64,
            /// Number of shipped pieces that have not come back yet.
            outstanding: i64,
        } = "restock-exceeds-shipped",
    }
}
