//! Why a command on an order is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::HoldReason;
use super::decide::MAX_REASON_CHARS;
use super::place;
use crate::ids::{Location, StockId};
use crate::money::{Currency, Money};
use crate::quantity::Quantity;

rejections! {
    /// Why a command on an order is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// Nothing was placed.
        #[error("there is no such order; place it first")]
        NotFound = "not-found",
        /// The id is taken by another order.
        #[error("this order was already placed with other lines or for another customer; place another order")]
        AlreadyExists = "already-exists",
        /// No lines, or too many.
        #[error("{0} lines do not make an order; give 1 to {max}", max = place::MAX_LINES)]
        LineCount(usize) = "line-count",
        /// A line that does not add up.
        #[error("line {line}: {why}; price the order again")]
        InvalidLine {
            /// Which, from 1.
            line: usize,
            /// What is wrong.
            why: &'static str,
        } = "invalid-line",
        /// Too many pieces of one item over all lines.
        #[error("{asked} pieces of {item} are over {max}; order fewer", max = Quantity::MAX)]
        TooManyPieces {
            /// Of what.
            item: StockId,
            /// Over all lines.
            asked: i64,
        } = "too-many-pieces",
        /// Two locations in one order.
        #[error("an order is shipped from one location, not from {has} and {asked}; place one order for each location")]
        SeveralLocations {
            /// The first line's.
            has: Location,
            /// What was found as well.
            asked: Location,
        } = "several-locations",
        /// Two currencies in one order.
        #[error("an order is in one currency, not in {has} and {asked}; order in one currency at a time")]
        CurrencyMismatch {
            /// The order's.
            has: Currency,
            /// What was found as well.
            asked: Currency,
        } = "currency-mismatch",
        /// The totals do not add up.
        #[error("the totals do not add up: {0}; price the order again")]
        TotalsMismatch(&'static str) = "totals-mismatch",
        /// Nothing to pay, or too much.
        #[error("a total of {0} is not more than 0 and at most {max} minor units; order less", max = Money::MAX_TOTAL)]
        TotalOutOfRange(Money) = "total-out-of-range",
        /// Not what the client expected to pay.
        #[error("the total is {actual}, not the {expected} expected; look at the prices and order again")]
        PriceChanged {
            /// What the client expected.
            expected: Money,
            /// What it costs.
            actual: Money,
        } = "price-changed",
        /// Not a payment method.
        #[error("a payment method of {0} characters does not fit; give 1 to {max}", max = place::MAX_PAYMENT_METHOD_CHARS)]
        PaymentMethodLength(usize) = "payment-method-length",
        /// Too many tags, or one too long or empty.
        #[error("tags do not fit; give at most {count} of 1 to {chars} characters",
            count = place::MAX_TAGS, chars = place::MAX_TAG_CHARS)]
        InvalidTags = "invalid-tags",
        /// Too long a reason.
        #[error("a reason of {0} characters does not fit; give at most {max}", max = MAX_REASON_CHARS)]
        ReasonLength(usize) = "reason-length",
        /// The risk check has spoken.
        #[error("the risk of this order was already assessed; hold or cancel it instead")]
        RiskAlreadyAssessed = "risk-already-assessed",
        /// Nobody asked for a person's verdict.
        #[error("the order is not under review; wait until the rules ask for a person, or hold or cancel it instead")]
        NotUnderReview = "order-not-under-review",
        /// A person must look at its risk.
        #[error("the order is under review; assess it, or release the hold `HIGH_RISK_OF_FRAUD` by its reason")]
        UnderReview = "order-under-review",
        /// Which hold?
        #[error("the order has several holds ({}); give the `reason` of the one to release", listed(.0))]
        SeveralHolds(Vec<HoldReason>) = "several-holds",
        /// It is past pending.
        #[error("the order is no longer pending; cancel it instead")]
        NotPending = "order-not-pending",
        /// It is still pending.
        #[error("the order is still pending; reject it, or wait until it is confirmed")]
        Pending = "order-pending",
        /// It must not be dispatched.
        #[error("the order is held ({0}); release the hold first")]
        Held(HoldReason) = "order-held",
        /// The customer does not want it any more.
        #[error("the order is being cancelled; wait for the end of that")]
        CancelPending = "order-cancel-pending",
        /// The goods may leave.
        #[error("the dispatch of this order is already allowed; have the goods returned instead")]
        DispatchAlreadyAllowed = "dispatch-already-allowed",
        /// The goods may not leave.
        #[error("the dispatch of this order was not allowed; ask for that first")]
        DispatchNotAllowed = "dispatch-not-allowed",
        /// The goods have left.
        #[error("the goods of this order have left; have them returned instead")]
        Shipped = "order-shipped",
        /// The goods have not left.
        #[error("the goods of this order have not left; complete it when they have arrived")]
        NotShipped = "order-not-shipped",
        /// The goods have arrived.
        #[error("the order is completed; have the goods returned instead")]
        Completed = "order-completed",
        /// It ended without goods.
        #[error("the order is cancelled; place another one")]
        Cancelled = "order-cancelled",
        /// It could not be fulfilled.
        #[error("the order was rejected; place another one")]
        Rejected = "order-rejected",
    }
}

fn listed(holds: &[HoldReason]) -> String {
    holds.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}
