//! The read models: one file a table (or a table with those that depend on it), each with its DDL, fold and upsert.

pub mod order_timeline;
pub mod orders;
pub mod payments;
pub mod payments_ledger;
pub mod products;
pub mod saga_view;
pub mod sales_by_day;
pub mod shipments;
pub mod stock;

use event_store::StreamName;
use uuid::Uuid;

use crate::applied;
use crate::projection::Projection;

/// All DDL of a generation, in the order in which it can be run.
pub const DDL: &[&str] = &[
    applied::DDL,
    orders::DDL,
    payments::DDL,
    payments_ledger::DDL,
    shipments::DDL,
    stock::DDL,
    products::DDL,
    saga_view::DDL,
    order_timeline::DDL,
    sales_by_day::DDL,
    include_str!("views.sql"),
];

/// The names of all read models.
pub const NAMES: &[&str] = &[
    orders::NAME,
    payments::NAME,
    shipments::NAME,
    stock::NAME,
    products::NAME,
    saga_view::NAME,
    order_timeline::NAME,
    sales_by_day::NAME,
];

/// Every read model, with nothing kept in memory yet.
pub fn all() -> Vec<Box<dyn Projection>> {
    vec![
        Box::new(orders::Orders::default()),
        Box::new(payments::Payments::default()),
        Box::new(shipments::Shipments::default()),
        Box::new(stock::Stock::default()),
        Box::new(products::Products::default()),
        Box::new(saga_view::SagaView::default()),
        Box::new(order_timeline::OrderTimeline::default()),
        Box::new(sales_by_day::SalesByDay::default()),
    ]
}

/// The UUID after the category in a stream's name; streams without one are not ours to show.
fn uuid_of(stream: &StreamName) -> Option<Uuid> {
    Uuid::try_parse(stream.id()).ok()
}

/// The ids of these streams; those without a UUID are left out.
fn uuids_of(streams: &[StreamName]) -> Vec<Uuid> {
    streams.iter().filter_map(uuid_of).collect()
}

/// The stream of a category with this id.
fn stream_named(category: &str, id: impl std::fmt::Display) -> Option<StreamName> {
    format!("{category}-{id}").parse().ok()
}
