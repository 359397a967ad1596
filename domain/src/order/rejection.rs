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
        /// The order was never placed.
        #[error("there is no such order; place it first")]
        NotFound = "not-found",
        /// The id is taken by another order.
        #[error("this order was already placed with other lines or for another customer; place another order")]
        AlreadyExists = "already-exists",
        /// The order has no lines, or too many.
        #[error("{0} lines do not make an order; give 1 to {max}", max = place::MAX_LINES)]
        LineCount(usize) = "line-count",
        /// A line of the order is not valid.
        #[error("line {line}: {why}; price the order again")]
        InvalidLine {
            /// Number of the line, from 1.
            line: usize,
            /// The fault of the line.
            why: &'static str,
        } = "invalid-line",
        /// The lines together ask for too many pieces of one item.
        #[error("{asked} pieces of {item} are over {max}; order fewer", max = Quantity::MAX)]
        TooManyPieces {
            /// The stock item with too many pieces.
            item: StockId,
            /// Number of pieces over all lines.
            asked: i64,
        } = "too-many-pieces",
        /// The lines are shipped from two locations.
        #[error("an order is shipped from one location, not from {has} and {asked}; place one order for each location")]
        SeveralLocations {
            /// Location of the first line.
            has: Location,
            /// Location of a later line.
            asked: Location,
        } = "several-locations",
        /// The lines or the totals are in two currencies.
        #[error("an order is in one currency, not in {has} and {asked}; order in one currency at a time")]
        CurrencyMismatch {
            /// Currency of the order's total.
            has: Currency,
            /// The other currency that was found.
            asked: Currency,
        } = "currency-mismatch",
        /// The totals do not add up.
        #[error("the totals do not add up: {0}; price the order again")]
        TotalsMismatch(&'static str) = "totals-mismatch",
        /// The total is 0, negative or too large.
        #[error("a total of {0} is not more than 0 and at most {max} minor units; order less", max = Money::MAX_TOTAL)]
        TotalOutOfRange(Money) = "total-out-of-range",
        /// The total differs from what the client expected to pay.
        #[error("the total is {actual}, not the {expected} expected; look at the prices and order again")]
        PriceChanged {
            /// Total that the client expected.
            expected: Money,
            /// Total at the current prices.
            actual: Money,
        } = "price-changed",
        /// The payment method is empty or too long.
        #[error("a payment method of {0} characters does not fit; give 1 to {max}", max = place::MAX_PAYMENT_METHOD_CHARS)]
        PaymentMethodLength(usize) = "payment-method-length",
        /// Too many tags, or one too long or empty.
        #[error("tags do not fit; give at most {count} of 1 to {chars} characters",
            count = place::MAX_TAGS, chars = place::MAX_TAG_CHARS)]
        InvalidTags = "invalid-tags",
        /// The reason is too long.
        #[error("a reason of {0} characters does not fit; give at most {max}", max = MAX_REASON_CHARS)]
        ReasonLength(usize) = "reason-length",
        /// The risk was already assessed.
        #[error("the risk of this order was already assessed; hold or cancel it instead")]
        RiskAlreadyAssessed = "risk-already-assessed",
        /// The order is not under review, so a person's verdict was not asked for.
        #[error("the order is not under review; wait until the rules ask for a person, or hold or cancel it instead")]
        NotUnderReview = "order-not-under-review",
        /// The order is under review; a person must assess it.
        #[error("the order is under review; assess it, or release the hold `HIGH_RISK_OF_FRAUD` by its reason")]
        UnderReview = "order-under-review",
        /// The order has several holds, and the command does not say which to release.
        #[error("the order has several holds ({}); give the `reason` of the one to release", listed(.0))]
        SeveralHolds(Vec<HoldReason>) = "several-holds",
        /// The order is not pending any more.
        #[error("the order is no longer pending; cancel it instead")]
        NotPending = "order-not-pending",
        /// It is still pending.
        #[error("the order is still pending; reject it, or wait until it is confirmed")]
        Pending = "order-pending",
        /// The order is held and must not be dispatched.
        #[error("the order is held ({0}); release the hold first")]
        Held(HoldReason) = "order-held",
        /// The customer requested the cancellation of the order.
        #[error("the order is being cancelled; wait for the end of that")]
        CancelPending = "order-cancel-pending",
        /// The dispatch of the order was allowed already.
        #[error("the dispatch of this order is already allowed; have the goods returned instead")]
        DispatchAlreadyAllowed = "dispatch-already-allowed",
        /// The dispatch of the order was not allowed.
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
        /// The order ended without goods.
        #[error("the order is cancelled; place another one")]
        Cancelled = "order-cancelled",
        /// The order could not be fulfilled.
        #[error("the order was rejected; place another one")]
        Rejected = "order-rejected",
    }
}

fn listed(holds: &[HoldReason]) -> String {
    holds.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}
