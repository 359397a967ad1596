//! The payment provider: the port, the driver that calls it, what it tells us, and a simulated one.

pub mod config;
pub mod driver;
pub mod inbox;
pub mod intake;
pub mod port;
pub mod signature;
pub mod simulated;
pub mod start;
pub mod statement;
#[cfg(test)]
mod tests;
pub mod wake;

pub use config::{Mode, ProviderConfig};
pub use port::{PaymentProvider, ProviderError};
pub use start::{LEDGER, Opened, Provider, open};
pub use wake::{Cause, Queue, Wake, channel};
