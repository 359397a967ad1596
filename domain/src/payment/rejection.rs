//! Why a command on a payment is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::decide::MAX_REQUESTS;
use crate::ids::RequestId;
use crate::money::{Currency, Money};

rejections! {
    /// Why a command on a payment is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// Nothing was requested of this payment yet.
        #[error("there is no such payment; request its authorization first")]
        NotFound = "not-found",
        /// Another authorization was requested here.
        #[error("an authorization was already requested here; a second one is another payment")]
        AuthorizationExists = "authorization-exists",
        /// The payment was given up before it began.
        #[error("the payment was given up before its authorization was requested; start another payment")]
        PaymentVoided = "payment-voided",
        /// The amount is 0, negative or too large.
        #[error("{0} cannot be asked for; an amount is more than 0 and at most {max} minor units", max = Money::MAX_TOTAL)]
        AmountOutOfRange(Money) = "amount-out-of-range",
        /// The amount is in another currency than the payment.
        #[error("the payment is in {has}, not in {asked}; ask in its own currency")]
        CurrencyMismatch {
            /// Currency of the payment.
            has: Currency,
            /// Currency of the command.
            asked: Currency,
        } = "currency-mismatch",
        /// No money is authorized that could be captured.
        #[error("the payment is not authorized; capture after its authorization, or start another payment")]
        NotAuthorized = "payment-not-authorized",
        /// The money is authorized, and the authorization has not lapsed.
        #[error("the payment is authorized and its hold has not lapsed; capture or void it")]
        PaymentAuthorized = "payment-authorized",
        /// The amount is more than what is authorized.
        #[error("{asked} is more than the {authorized} authorized; capture at most that")]
        CaptureExceedsAuthorized {
            /// Amount of the command.
            asked: Money,
            /// Amount that is authorized.
            authorized: Money,
        } = "capture-exceeds-authorized",
        /// A capture is open.
        #[error("a capture is open; wait for its outcome")]
        CaptureOpen = "capture-open",
        /// A void is open.
        #[error("a void is open; wait for its outcome")]
        VoidOpen = "void-open",
        /// The money was captured.
        #[error("the payment is captured; refund it to give the money back")]
        AlreadyCaptured = "payment-captured",
        /// No money was captured.
        #[error("the payment is not captured, there is nothing to refund; void it instead")]
        NotCaptured = "payment-not-captured",
        /// The amount is more than what can still be refunded.
        #[error("{asked} is more than the {refundable} still to refund; refund at most that")]
        RefundExceedsCaptured {
            /// Amount of the command.
            asked: Money,
            /// Amount that was captured and is neither refunded nor being refunded.
            refundable: Money,
        } = "refund-exceeds-captured",
        /// All that was captured is refunded or being refunded.
        #[error("all that was captured is refunded or being refunded; there is nothing left to refund")]
        NothingToRefund = "nothing-to-refund",
        /// The payment succeeded after its end.
        #[error("the payment succeeded after its end; void or refund it")]
        SucceededLate = "payment-succeeded-late",
        /// The id of the request is taken by another request.
        #[error("request {0} was made for something else; make another request")]
        RequestReused(RequestId) = "request-reused",
        /// The payment has made the most requests that it may.
        #[error("this payment made {max} requests, the most there may be; start another payment", max = MAX_REQUESTS)]
        TooManyRequests = "too-many-requests",
        /// The result names a request that the payment did not make.
        #[error("the payment made no request {0}; keep the result for reconciliation")]
        UnknownRequest(RequestId) = "unknown-request",
        /// The kind of result does not fit the request.
        #[error("request {0} cannot have this result; keep it for reconciliation")]
        ResultMismatch(RequestId) = "result-mismatch",
        /// The result's amount is more than was requested, or in another currency.
        #[error("the provider says {told}, where at most {asked} was asked for; keep the result for reconciliation")]
        AmountMismatch {
            /// Amount that the provider reports.
            told: Money,
            /// Amount that was requested.
            asked: Money,
        } = "amount-mismatch",
    }
}
