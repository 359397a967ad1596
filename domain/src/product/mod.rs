//! Product: what is sold, and at which net price. An order snapshots name and price when it is placed.
//!
//! | from | command | to |
//! |---|---|---|
//! | (nothing) | CreateProduct | Inactive, or Active at once |
//! | Inactive, Discontinued | ActivateProduct | Active |
//! | Active, Inactive | DiscontinueProduct | Discontinued |
//! | any | ChangeProductPrice | the same, in the same currency |

pub mod commands;
pub mod decide;
pub mod events;
pub mod rejection;
pub mod state;
#[cfg(test)]
mod tests;

pub use commands::*;
pub use decide::{MAX_NAME_CHARS, MAX_PRICE};
pub use events::*;
pub use rejection::Rejection;
pub use state::{Created, Product, Status};
