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

use std::sync::Arc;

use event_store::StreamName;
use projection_engine::{Projection, ReadModel, ReadModels};
use uuid::Uuid;

/// The views over tables of several read models; they are made where readers look tables up.
pub const VIEWS: &str = include_str!("views.sql");

/// All read models.
pub const ALL: &[ReadModel] = &[
    ReadModel {
        name: orders::NAME,
        ddl: &[orders::DDL],
        tables: &["orders", "order_lines"],
        marks: false,
        begins_row: true,
        folds: 1,
        make: || Box::new(orders::Orders::default()),
    },
    ReadModel {
        name: payments::NAME,
        ddl: &[payments::DDL, payments_ledger::DDL],
        tables: &["payments", "payments_ledger"],
        marks: false,
        begins_row: true,
        folds: 1,
        make: || Box::new(payments::Payments::default()),
    },
    ReadModel {
        name: shipments::NAME,
        ddl: &[shipments::DDL],
        tables: &["shipments"],
        marks: false,
        begins_row: true,
        folds: 1,
        make: || Box::new(shipments::Shipments::default()),
    },
    ReadModel {
        name: stock::NAME,
        ddl: &[stock::DDL],
        tables: &["stock_levels", "reservations"],
        marks: false,
        begins_row: false,
        folds: 1,
        make: || Box::new(stock::Stock::default()),
    },
    ReadModel {
        name: products::NAME,
        ddl: &[products::DDL],
        tables: &["products"],
        marks: false,
        begins_row: true,
        folds: 1,
        make: || Box::new(products::Products::default()),
    },
    ReadModel {
        name: saga_view::NAME,
        ddl: &[saga_view::DDL],
        tables: &["saga_view"],
        marks: false,
        begins_row: true,
        folds: 2,
        make: || Box::new(saga_view::SagaView::default()),
    },
    ReadModel {
        name: order_timeline::NAME,
        ddl: &[order_timeline::DDL],
        tables: &["order_timeline"],
        marks: true,
        begins_row: false,
        folds: 1,
        make: || Box::new(order_timeline::OrderTimeline::default()),
    },
    ReadModel {
        name: sales_by_day::NAME,
        ddl: &[sales_by_day::DDL],
        tables: &["sales_by_day"],
        marks: true,
        begins_row: false,
        folds: 1,
        make: || Box::new(sales_by_day::SalesByDay::default()),
    },
];

/// Which orders are settled, for those who wait for one.
const SETTLED: &str = "select order_id from order_settled where order_id = any($1) and settled";

/// All read models, as the engine is given them.
pub fn read_models() -> Arc<ReadModels> {
    Arc::new(ReadModels::new(domain::ids::NAMESPACE, ALL.iter().copied()).with_views(VIEWS).with_at_rest(SETTLED))
}

/// Every read model, with nothing kept in memory yet.
pub fn all() -> Vec<Box<dyn Projection>> {
    ALL.iter().map(|model| (model.make)()).collect()
}

/// The read model of this name.
pub fn named(name: &str) -> Option<ReadModel> {
    ALL.iter().find(|model| model.name == name).copied()
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
