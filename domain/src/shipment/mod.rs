//! Shipment: what the warehouse packs and the carrier carries. Core: one shipment an order.
//!
//! | from | command | to |
//! |---|---|---|
//! | (nothing) | PlanShipment | Planned |
//! | (nothing) | CancelShipment | Cancelled, a mark: the late plan is then refused |
//! | Planned | MarkShipmentReady | Ready |
//! | Planned, Ready | CancelShipment | Cancelled |
//! | Ready | DispatchShipment (only the saga, after OrderDispatchAllowed) | Dispatched |
//! | Dispatched | DeliverShipment | Delivered |
//! | Dispatched | ReportShipmentLost | Lost |

pub mod commands;
pub mod decide;
pub mod events;
pub mod rejection;
pub mod state;
#[cfg(test)]
mod tests;

pub use commands::*;
pub use decide::{MAX_LINES, MAX_REASON_CHARS};
pub use events::*;
pub use rejection::Rejection;
pub use state::{Shipment, Status};
