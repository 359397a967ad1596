//! The payment provider: the port, the driver that calls it, and a simulated one.

pub mod port;
pub mod statement;
pub mod wake;

pub use port::{PaymentProvider, ProviderError};
pub use wake::{Cause, Queue, Wake, channel};
