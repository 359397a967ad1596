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
use projection_engine::{EarlierShapes, Projection, ReadModel, ReadModels};
use uuid::Uuid;

/// The views over tables of several read models; they are made where readers look tables up.
pub const VIEWS: &str = include_str!("views.sql");

/// The read models of the shop, in the order in which they are listed.
pub const ALL: &[ReadModel] = &[
    ReadModel {
        name: orders::NAME,
        ddl: &[orders::DDL],
        indexes: &[orders::INDEXES],
        tables: &["orders", "order_lines"],
        marks: false,
        begins_row: true,
        folds: 1,
        earlier: Some(EarlierShapes {
            of: "8eb1ab8ff1bf50cfb0c3b6d220c7cbb3",
            names: &["1e3ca27f19105411b9537ac80679d206"],
        }),
        make: || Box::new(orders::Orders::default()),
    },
    ReadModel {
        name: payments::NAME,
        ddl: &[payments::DDL, payments_ledger::DDL],
        indexes: &[payments::INDEXES, payments_ledger::INDEXES],
        tables: &["payments", "payments_ledger"],
        marks: false,
        begins_row: true,
        folds: 1,
        earlier: Some(EarlierShapes {
            of: "c1e78f35f68b5f2dbedcaf298bb965a5",
            names: &["c25cde9abdb85c75af065b15f8ed7c73"],
        }),
        make: || Box::new(payments::Payments::default()),
    },
    ReadModel {
        name: shipments::NAME,
        ddl: &[shipments::DDL],
        indexes: &[shipments::INDEXES],
        tables: &["shipments"],
        marks: false,
        begins_row: true,
        folds: 1,
        earlier: Some(EarlierShapes {
            of: "606dd2f13aba5db3af78113d15d1803a",
            names: &["6ece564d51a35c059a8139670293d1fd", "2bfb75018c2b5e769715c27918197b7e"],
        }),
        make: || Box::new(shipments::Shipments::default()),
    },
    ReadModel {
        name: stock::NAME,
        ddl: &[stock::DDL],
        indexes: &[stock::INDEXES],
        tables: &["stock_levels", "reservations"],
        marks: false,
        begins_row: false,
        folds: 1,
        earlier: Some(EarlierShapes {
            of: "a5ce46b8b9cf5ad7a380b62c067ecb8d",
            names: &["b3b124bfbaf757a8984c4dc722e91bb7", "1c9251518f94551faec90e7176a88c87"],
        }),
        make: || Box::new(stock::Stock::default()),
    },
    ReadModel {
        name: products::NAME,
        ddl: &[products::DDL],
        indexes: &[],
        tables: &["products"],
        marks: false,
        begins_row: true,
        folds: 1,
        earlier: None,
        make: || Box::new(products::Products::default()),
    },
    ReadModel {
        name: saga_view::NAME,
        ddl: &[saga_view::DDL],
        indexes: &[saga_view::INDEXES],
        tables: &["saga_view"],
        marks: false,
        begins_row: true,
        folds: 2,
        earlier: Some(EarlierShapes {
            of: "8b3b366877b757e4aeb3d42a00ff01ef",
            names: &["e901bef8f3ea5ad89aec569348d8af8e"],
        }),
        make: || Box::new(saga_view::SagaView::default()),
    },
    ReadModel {
        name: order_timeline::NAME,
        ddl: &[order_timeline::DDL],
        indexes: &[order_timeline::INDEXES],
        tables: &["order_timeline"],
        marks: true,
        begins_row: false,
        folds: 1,
        earlier: Some(EarlierShapes {
            of: "80757d556e7a5e1b93f1a99c5bcf97ed",
            names: &["de2ff4730c7f5aa180c1c3a78b60f3c2"],
        }),
        make: || Box::new(order_timeline::OrderTimeline::default()),
    },
    ReadModel {
        name: sales_by_day::NAME,
        ddl: &[sales_by_day::DDL],
        indexes: &[],
        tables: &["sales_by_day"],
        marks: true,
        begins_row: false,
        folds: 1,
        earlier: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An index is known by its name: of two with one name the second would never be made.
    #[test]
    fn every_index_has_a_name_of_its_own() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|model| model.indexes()).map(|index| index.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(all > 20 && names.len() == all, "{names:?}");
    }

    #[test]
    fn the_names_of_earlier_shapes_stand_for_the_tables_that_there_are() {
        for model in ALL {
            if let Some(earlier) = model.earlier {
                assert_eq!(model.shape(domain::ids::NAMESPACE), earlier.of, "{}: take `earlier` away", model.name);
            }
        }
    }
}
