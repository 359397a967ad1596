//! The sagas: one file each, the table first, then its small functions. Definitions that active sagas still follow stay.

pub mod order_fulfilment;
pub mod order_refund;
pub mod payment_reconciliation;

use crate::definition::{Definition, DefinitionError};

/// All definitions, every version that may still be followed.
pub const ALL: &[&Definition] = &[
    &order_fulfilment::ORDER_FULFILMENT_V1,
    &order_fulfilment::ORDER_FULFILMENT,
    &order_refund::ORDER_REFUND,
    &payment_reconciliation::PAYMENT_RECONCILIATION,
];

/// The definition of this name and version.
pub fn definition(name: &str, version: u32) -> Option<&'static Definition> {
    ALL.iter().copied().find(|definition| definition.name == name && definition.version == version)
}

/// The newest definition of this name.
pub fn newest(name: &str) -> Option<&'static Definition> {
    ALL.iter().copied().filter(|definition| definition.name == name).max_by_key(|definition| definition.version)
}

/// The newest definition that starts on this event.
pub fn started_by(event_type: &str) -> Option<&'static Definition> {
    let starts = |definition: &&'static Definition| definition.starts_on.contains(&event_type);
    ALL.iter().copied().filter(starts).max_by_key(|definition| definition.version)
}

/// Checks all tables.
///
/// # Errors
/// [`DefinitionError`] of the first that cannot be followed.
pub fn validate() -> Result<(), DefinitionError> {
    ALL.iter().try_for_each(|definition| definition.validate())
}

/// The stream of a saga: `saga_<type>-<id>`. The id is the order's where an order has at most one of the type.
pub fn stream(name: &str, id: impl std::fmt::Display) -> String {
    format!("saga_{name}-{id}")
}
