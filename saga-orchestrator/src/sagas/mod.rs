//! The sagas: one file each, the table first, then its small functions. Definitions that active sagas still follow stay.

pub mod order_fulfilment;
pub mod order_refund;
pub mod payment_reconciliation;
pub mod shop;

use shop::{Definition, ShopSagas};

use saga_engine::process::Process as _;

/// All definitions, every version that may still be followed.
pub const ALL: &[&Definition] = &[
    &order_fulfilment::ORDER_FULFILMENT_V1,
    &order_fulfilment::ORDER_FULFILMENT,
    &order_refund::ORDER_REFUND,
    &payment_reconciliation::PAYMENT_RECONCILIATION,
];

/// The definition of this name and version.
pub fn definition(name: &str, version: u32) -> Option<&'static Definition> {
    ShopSagas::definition(name, version)
}

/// The newest definition of this name.
pub fn newest(name: &str) -> Option<&'static Definition> {
    ShopSagas::newest(name)
}

/// The stream of a saga: `saga_<type>-<id>`. The id is the order's where an order has at most one of the type.
pub fn stream(name: &str, id: impl std::fmt::Display) -> String {
    ShopSagas::stream(name, id)
}
