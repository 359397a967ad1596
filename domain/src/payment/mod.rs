//! Payment: one authorization at the provider and what follows from it. An order's second authorization is another
//! payment. A request is an event before the provider is called; a result matches exactly one request.
//!
//! | from | by | to |
//! |---|---|---|
//! | (nothing) | RequestPaymentAuthorization | Requested |
//! | (nothing) | RequestPaymentVoid | Voided, a mark: the late authorization is then refused |
//! | Requested | result ActionRequired | ActionRequired |
//! | Requested, ActionRequired | result Authorized, Captured, Declined, Expired, Voided | the same name |
//! | Requested, ActionRequired; Authorized past its `capture_before` | ExpirePayment | Expired |
//! | Authorized | result Captured, Voided, Expired | the same name; CaptureFailed and VoidFailed stay |
//! | Captured | result Refunded, for all of it | Refunded; RefundFailed and a part stay |
//! | Voided, Expired, Declined | result Authorized or Captured for the first time | SucceededLate, never a silent resurrection |
//! | Requested, ActionRequired, Authorized; a void was requested and no capture since | result Captured | SucceededLate: the money goes back, whatever becomes of the void |
//! | SucceededLate | result Voided, Refunded | the same name |
//!
//! `PaymentOutcomeUnknown` marks an open *request*, in any state; only a result closes it. RequestPaymentVoid is
//! accepted in every state before capture, also while the authorization is open: both requests are then open, and
//! Voided closes both. A late failure never downgrades a payment, and a result that is already known changes nothing.

pub mod commands;
pub mod decide;
pub mod events;
pub mod rejection;
mod results;
pub mod state;
#[cfg(test)]
mod tests;

pub use commands::*;
pub use decide::MAX_REQUESTS;
pub use events::*;
pub use rejection::Rejection;
pub use state::{OpenRequest, Payment, Request, RequestKind, RequestState, Status};
