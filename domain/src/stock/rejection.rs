//! Why a command on a stock item is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::decide::{MAX_DELTA, MAX_ON_HAND, MAX_REASON_CHARS};
use crate::aggregate::Timestamp;
use crate::ids::{ReservationId, Sku};

rejections! {
    /// Why a command on a stock item is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// Nothing was ever received.
        #[error("nothing of this item was ever received here; receive stock first")]
        NotFound = "not-found",
        /// A SKU that no path of the HTTP API can have as a segment.
        #[error("nothing can be called `{0}`, which no path can have as a part; choose another SKU")]
        ReservedSku(Sku) = "reserved-sku",
        /// Fewer pieces are available than were asked for.
        #[error("{asked} asked, {available} available; order fewer, or receive stock first")]
        OutOfStock {
            /// Asked for.
            asked: i64,
            /// Available.
            available: i64,
        } = "out-of-stock",
        /// The reservation is committed or has ended; it cannot be used like that again.
        #[error("reservation {0} is committed or has ended; reserve under another id")]
        ReservationEnded(ReservationId) = "reservation-ended",
        /// No such reservation, or its end is long forgotten.
        #[error("there is no reservation {0}; reserve first")]
        ReservationNotFound(ReservationId) = "reservation-not-found",
        /// The reservation's id stands for something else.
        #[error("reservation {0} holds another quantity or is another order's; reserve under another id")]
        ReservationDiffers(ReservationId) = "reservation-differs",
        /// The reservation holds its pieces for longer.
        #[error("reservation {reservation_id} holds until {expires_at}; wait until then, or release it")]
        ReservationNotDue {
            /// The reservation's id.
            reservation_id: ReservationId,
            /// When the reservation ends.
            expires_at: Timestamp,
        } = "reservation-not-due",
        /// The reservation holds its pieces without a time limit.
        #[error("reservation {0} is committed and does not expire; ship or release it")]
        ReservationCommitted(ReservationId) = "reservation-committed",
        /// The reservation has no lasting hold yet.
        #[error("reservation {0} is not committed; commit it before shipping")]
        ReservationNotCommitted(ReservationId) = "reservation-not-committed",
        /// The reservation's pieces have left the house.
        #[error("the pieces of reservation {0} have left the house; restock them when they come back")]
        ReservationShipped(ReservationId) = "reservation-shipped",
        /// More pieces in the house than can be.
        #[error("{on_hand} on hand and {added} more are over {max}; correct the quantity", max = MAX_ON_HAND)]
        TooMuchStock {
            /// In the house.
            on_hand: i64,
            /// To be added.
            added: i64,
        } = "too-much-stock",
        /// The adjustment is nothing, or too large.
        #[error("{0} is no adjustment; give a number from -{max} to {max} that is not 0", max = MAX_DELTA)]
        InvalidDelta(i64) = "invalid-delta",
        /// The adjustment has no reason, or a novel.
        #[error("a reason of {0} characters does not fit; give 1 to {max}", max = MAX_REASON_CHARS)]
        ReasonLength(usize) = "reason-length",
        /// The adjustment would take away what is promised, or what is not there.
        #[error(
            "{on_hand} on hand, of which {reserved} reserved and {committed} committed: {delta} would take more than is \
             free; release reservations first"
        )]
        AdjustmentTooLow {
            /// In the house.
            on_hand: i64,
            /// Held with a time limit.
            reserved: i64,
            /// Held without one.
            committed: i64,
            /// Asked for.
            delta: i64,
        } = "adjustment-too-low",
        /// More pieces came back than left.
        #[error("{asked} came back, but only {outstanding} of those shipped are still out; receive others as new stock")]
        RestockExceedsShipped {
            /// Asked for.
            asked: i64,
            /// Shipped and not yet come back.
            outstanding: i64,
        } = "restock-exceeds-shipped",
    }
}
