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

/// A read model: its tables, and what folds events into them.
#[derive(Debug)]
pub struct ReadModel {
    /// Its name, for ever: checkpoints and generations are kept under it.
    pub name: &'static str,
    /// What makes its tables, in the order in which it can be run.
    ddl: &'static [&'static str],
    /// Its tables; `applied`, which read models share, is not among them.
    pub tables: &'static [&'static str],
    /// Whether it keeps marks in `applied`.
    pub marks: bool,
    /// Raised when its fold changes what it writes without a change of DDL: rows of older programs are folded again.
    folds: u32,
    /// With nothing kept in memory yet.
    pub make: fn() -> Box<dyn Projection>,
}

impl ReadModel {
    /// What makes its tables, and `applied` where it needs that.
    pub fn ddl(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.marks.then_some(applied::DDL).into_iter().chain(self.ddl.iter().copied())
    }

    /// A fingerprint of its tables and of its fold.
    pub fn shape(&self) -> String {
        let text: String = self.ddl().collect();
        domain::ids::derive(&["read-model-shape", &self.folds.to_string(), &text]).simple().to_string()
    }
}

/// The views over tables of several read models; they are made where readers look tables up.
pub const VIEWS: &str = include_str!("views.sql");

/// All read models.
pub const ALL: &[ReadModel] = &[
    ReadModel {
        name: orders::NAME,
        ddl: &[orders::DDL],
        tables: &["orders", "order_lines"],
        marks: false,
        folds: 1,
        make: || Box::new(orders::Orders::default()),
    },
    ReadModel {
        name: payments::NAME,
        ddl: &[payments::DDL, payments_ledger::DDL],
        tables: &["payments", "payments_ledger"],
        marks: false,
        folds: 1,
        make: || Box::new(payments::Payments::default()),
    },
    ReadModel {
        name: shipments::NAME,
        ddl: &[shipments::DDL],
        tables: &["shipments"],
        marks: false,
        folds: 1,
        make: || Box::new(shipments::Shipments::default()),
    },
    ReadModel {
        name: stock::NAME,
        ddl: &[stock::DDL],
        tables: &["stock_levels", "reservations"],
        marks: false,
        folds: 1,
        make: || Box::new(stock::Stock::default()),
    },
    ReadModel {
        name: products::NAME,
        ddl: &[products::DDL],
        tables: &["products"],
        marks: false,
        folds: 1,
        make: || Box::new(products::Products::default()),
    },
    ReadModel {
        name: saga_view::NAME,
        ddl: &[saga_view::DDL],
        tables: &["saga_view"],
        marks: false,
        folds: 2,
        make: || Box::new(saga_view::SagaView::default()),
    },
    ReadModel {
        name: order_timeline::NAME,
        ddl: &[order_timeline::DDL],
        tables: &["order_timeline"],
        marks: true,
        folds: 1,
        make: || Box::new(order_timeline::OrderTimeline::default()),
    },
    ReadModel {
        name: sales_by_day::NAME,
        ddl: &[sales_by_day::DDL],
        tables: &["sales_by_day"],
        marks: true,
        folds: 1,
        make: || Box::new(sales_by_day::SalesByDay::default()),
    },
];

/// Every read model, with nothing kept in memory yet.
pub fn all() -> Vec<Box<dyn Projection>> {
    ALL.iter().map(|model| (model.make)()).collect()
}

/// The read model of this name.
pub fn named(name: &str) -> Option<&'static ReadModel> {
    ALL.iter().find(|model| model.name == name)
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
