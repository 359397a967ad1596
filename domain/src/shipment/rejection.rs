//! Why a command on a shipment is refused: each rejection with its code and its sentence.

use eventsourcing::rejections;

use super::decide::{MAX_LINES, MAX_REASON_CHARS};

rejections! {
    /// Why a command on a shipment is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// The shipment was never planned.
        #[error("there is no such shipment; it is planned when its order is confirmed")]
        NotFound = "not-found",
        /// The id is taken by another shipment.
        #[error("this shipment is already planned for another order or with other lines; plan it under another id")]
        AlreadyExists = "already-exists",
        /// The shipment has no lines, or too many.
        #[error("{0} lines cannot be shipped together; give 1 to {max}", max = MAX_LINES)]
        LineCount(usize) = "line-count",
        /// The reason is too long.
        #[error("a reason of {0} characters does not fit; give at most {max}", max = MAX_REASON_CHARS)]
        ReasonLength(usize) = "reason-length",
        /// The shipment was cancelled.
        #[error("the shipment is cancelled; plan another one")]
        Cancelled = "shipment-cancelled",
        /// The shipment is not packed yet.
        #[error("the shipment is not packed yet; mark it ready first")]
        NotReady = "shipment-not-ready",
        /// The shipment has not left.
        #[error("the shipment has not left the house; it is dispatched when its order is paid and released")]
        NotDispatched = "shipment-not-dispatched",
        /// The shipment has left.
        #[error("the shipment has left the house and cannot be cancelled; have it returned")]
        Dispatched = "shipment-dispatched",
        /// The shipment has arrived.
        #[error("the shipment was delivered; it cannot be lost")]
        Delivered = "shipment-delivered",
        /// The shipment was reported lost.
        #[error("the shipment was reported lost; a person settles what follows")]
        Lost = "shipment-lost",
    }
}
