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
        /// Which.
        id: OrderId,
        /// What is asked.
        command: order::Command,
    },
    /// For a payment.
    Payment {
        /// Which.
        id: PaymentId,
        /// What is asked.
        command: payment::Command,
    },
    /// For a stock item.
    Stock {
        /// Which.
        id: StockId,
        /// What is asked.
        command: stock::Command,
    },
    /// For a shipment.
    Shipment {
        /// Which.
        id: ShipmentId,
        /// What is asked.
        command: shipment::Command,
    },
    /// For a product.
    Product {
        /// Which.
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
