//! A command with its address: it is stored by a saga, carried by a bus and decided by the owner of a stream.

use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, PaymentId, ShipmentId, Sku, StockId};
use crate::{order, payment, product, shipment, stock};

/// A command and the one aggregate it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "aggregate", rename_all = "snake_case")]
pub enum Command {
    /// A command to an order.
    Order {
        /// The order's id.
        id: OrderId,
        /// The command itself.
        command: order::Command,
    },
    /// A command to a payment.
    Payment {
        /// The payment's id.
        id: PaymentId,
        /// The command itself.
        command: payment::Command,
    },
    /// A command to a stock item.
    Stock {
        /// The stock item's id.
        id: StockId,
        /// The command itself.
        command: stock::Command,
    },
    /// A command to a shipment.
    Shipment {
        /// The shipment's id.
        id: ShipmentId,
        /// The command itself.
        command: shipment::Command,
    },
    /// A command to a product.
    Product {
        /// The product's SKU.
        id: Sku,
        /// The command itself.
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

    use serde_json::Value;

    use super::*;
    use crate::Kind;

    /// Commands as the events of sagas store them. The file is never generated again, because it must be readable for
    /// ever.
    const STORED: &str = include_str!("../golden/commands.json");

    fn stored() -> Vec<Value> {
        serde_json::from_str(STORED).unwrap()
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
        let all = stored();
        let of = |aggregate: &str| -> BTreeSet<&str> {
            let these = all.iter().filter(|value| value["aggregate"] == aggregate);
            these.map(|value| value["command"]["type"].as_str().unwrap()).collect()
        };
        for kind in Kind::ALL {
            assert_eq!(of(kind.category), kind.commands.iter().copied().collect(), "the commands of {}", kind.category);
        }
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
