//! Product.

pub mod commands;
pub mod decide;
pub mod events;
pub mod state;

pub use commands::*;
pub use decide::Rejection;
pub use events::*;
pub use state::Product;
