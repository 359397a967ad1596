//! Why a command on a payment is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::decide::MAX_REQUESTS;
use crate::ids::RequestId;
use crate::money::{Currency, Money};

rejections! {
    /// Why a command on a payment is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// Nothing was asked yet.
        #[error("there is no such payment; request its authorization first")]
        NotFound = "not-found",
        /// Another authorization was requested here.
        #[error("an authorization was already requested here; a second one is another payment")]
        AuthorizationExists = "authorization-exists",
        /// It was given up before it began.
        #[error("the payment was given up before its authorization was requested; start another payment")]
        PaymentVoided = "payment-voided",
        /// Not an amount to ask for.
        #[error("{0} cannot be asked for; an amount is more than 0 and at most {max} minor units", max = Money::MAX_TOTAL)]
        AmountOutOfRange(Money) = "amount-out-of-range",
        /// Another currency than the payment's.
        #[error("the payment is in {has}, not in {asked}; ask in its own currency")]
        CurrencyMismatch {
            /// The payment's.
            has: Currency,
            /// What was asked.
            asked: Currency,
        } = "currency-mismatch",
        /// Nothing is held that could be taken.
        #[error("the payment is not authorized; capture after its authorization, or start another payment")]
        NotAuthorized = "payment-not-authorized",
        /// Money is held.
        #[error("the payment is authorized and its hold has not lapsed; capture or void it")]
        PaymentAuthorized = "payment-authorized",
        /// More than is held.
        #[error("{asked} is more than the {authorized} authorized; capture at most that")]
        CaptureExceedsAuthorized {
            /// Asked for.
            asked: Money,
            /// Authorized.
            authorized: Money,
        } = "capture-exceeds-authorized",
        /// A capture is on its way.
        #[error("a capture is open; wait for its outcome")]
        CaptureOpen = "capture-open",
        /// A void is on its way.
        #[error("a void is open; wait for its outcome")]
        VoidOpen = "void-open",
        /// The money was taken.
        #[error("the payment is captured; refund it to give the money back")]
        AlreadyCaptured = "payment-captured",
        /// No money was taken.
        #[error("the payment is not captured, there is nothing to refund; void it instead")]
        NotCaptured = "payment-not-captured",
        /// More than can be given back.
        #[error("{asked} is more than the {refundable} still to refund; refund at most that")]
        RefundExceedsCaptured {
            /// Asked for.
            asked: Money,
            /// Captured, neither refunded nor being refunded.
            refundable: Money,
        } = "refund-exceeds-captured",
        /// All that was captured is refunded or being refunded.
        #[error("all that was captured is refunded or being refunded; there is nothing left to refund")]
        NothingToRefund = "nothing-to-refund",
        /// It succeeded after its end.
        #[error("the payment succeeded after its end; void or refund it")]
        SucceededLate = "payment-succeeded-late",
        /// The id stands for another request.
        #[error("request {0} was made for something else; make another request")]
        RequestReused(RequestId) = "request-reused",
        /// Too many requests.
        #[error("this payment made {max} requests, the most there may be; start another payment", max = MAX_REQUESTS)]
        TooManyRequests = "too-many-requests",
        /// A result of a request that nobody made.
        #[error("the payment made no request {0}; keep the result for reconciliation")]
        UnknownRequest(RequestId) = "unknown-request",
        /// A result that the request cannot have.
        #[error("request {0} cannot have this result; keep it for reconciliation")]
        ResultMismatch(RequestId) = "result-mismatch",
        /// A result about more than was asked, or in another currency.
        #[error("the provider says {told}, where at most {asked} was asked for; keep the result for reconciliation")]
        AmountMismatch {
            /// What the provider says.
            told: Money,
            /// What was asked for.
            asked: Money,
        } = "amount-mismatch",
    }
}
