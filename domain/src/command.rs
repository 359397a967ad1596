//! A command with its address: what a saga stores, a bus carries and a stream's owner decides.

use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, PaymentId, ShipmentId, Sku, StockId};
use crate::{order, payment, product, shipment, stock};

/// A command and the one aggregate it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "aggregate", rename_all = "snake_case")]
pub enum Command {
    /// For an order.
    Order {
        /// The order's id.
        id: OrderId,
        /// What is asked.
        command: order::Command,
    },
    /// For a payment.
    Payment {
        /// The payment's id.
        id: PaymentId,
        /// What is asked.
        command: payment::Command,
    },
    /// For a stock item.
    Stock {
        /// The stock item's id.
        id: StockId,
        /// What is asked.
        command: stock::Command,
    },
    /// For a shipment.
    Shipment {
        /// The shipment's id.
        id: ShipmentId,
        /// What is asked.
        command: shipment::Command,
    },
    /// For a product.
    Product {
        /// The product's SKU.
        id: Sku,
        /// What is asked.
        command: product::Command,
    },
}

impl Command {
    /// The name of the stream that the command is for.
    pub fn stream(&self) -> String {
        match self {
            Self::Order { id, .. } => id.stream(),
            Self::Payment { id, .. } => id.stream(),
            Self::Stock { id, .. } => id.stream(),
            Self::Shipment { id, .. } => id.stream(),
            Self::Product { id, .. } => id.product_stream(),
        }
    }

    /// The command's own name, such as `ReserveStock`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Order { command, .. } => command.name(),
            Self::Payment { command, .. } => command.name(),
            Self::Stock { command, .. } => command.name(),
            Self::Shipment { command, .. } => command.name(),
            Self::Product { command, .. } => command.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemars::{JsonSchema, schema_for};
    use serde_json::Value;

    use super::*;

    /// Commands as they were stored in the events of sagas. Never generated again: what it holds must be read for ever.
    const STORED: &str = include_str!("../golden/commands.json");

    fn stored() -> Vec<Value> {
        serde_json::from_str(STORED).unwrap()
    }

    fn names_of<T: JsonSchema>() -> BTreeSet<String> {
        let schema = schema_for!(T).to_value();
        let alternatives = schema["oneOf"].as_array().unwrap().clone();
        alternatives.iter().map(|one| one["properties"]["type"]["const"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn stored_commands_are_read_for_ever_under_their_own_names() {
        for value in stored() {
            let command: Command = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"));
            assert_eq!(command.name(), value["command"]["type"], "{value}");
            assert_eq!(serde_json::to_value(&command).unwrap(), value);
        }
    }

    #[test]
    fn every_command_is_among_the_stored_ones() {
        let of = |aggregate: &str| -> BTreeSet<String> {
            let all = stored();
            let these = all.iter().filter(|value| value["aggregate"] == aggregate);
            these.map(|value| value["command"]["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(of("order"), names_of::<order::Command>());
        assert_eq!(of("payment"), names_of::<payment::Command>());
        assert_eq!(of("product"), names_of::<product::Command>());
        assert_eq!(of("shipment"), names_of::<shipment::Command>());
        assert_eq!(of("stock"), names_of::<stock::Command>());
    }

    #[test]
    fn a_command_names_its_stream() {
        let streams: BTreeSet<String> =
            stored().into_iter().map(|value| serde_json::from_value::<Command>(value).unwrap().stream()).collect();
        let id = |last: u8| format!("00000000-0000-0000-0000-00000000000{last}");
        let expected = [
            format!("order-{}", id(1)),
            format!("payment-{}", id(2)),
            "product-MUG-1".to_owned(),
            format!("shipment-{}", id(3)),
            "stock-MUG-1@main".to_owned(),
        ];
        assert_eq!(streams, BTreeSet::from(expected));
    }
}
