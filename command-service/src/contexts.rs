//! Which kinds of aggregates a process serves: one process can have all, or each kind processes of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

/// A kind of aggregate, with its routes and commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr, VariantArray, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Context {
    /// Orders.
    Order,
    /// Payments, the payment provider and its webhooks.
    Payment,
    /// Stock items.
    Stock,
    /// Products.
    Product,
    /// Shipments.
    Shipment,
}

impl Context {
    /// The one that a command is for.
    pub fn of(command: &domain::Command) -> Self {
        match command {
            domain::Command::Order { .. } => Self::Order,
            domain::Command::Payment { .. } => Self::Payment,
            domain::Command::Stock { .. } => Self::Stock,
            domain::Command::Shipment { .. } => Self::Shipment,
            domain::Command::Product { .. } => Self::Product,
        }
    }

    /// As settings name it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Some of them, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts(BTreeSet<Context>);

impl Default for Contexts {
    fn default() -> Self {
        Self(<Context as VariantArray>::VARIANTS.iter().copied().collect())
    }
}

impl Contexts {
    /// Whether this one is among them.
    pub fn has(&self, context: Context) -> bool {
        self.0.contains(&context)
    }
}

impl FromStr for Contexts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| {
            let known = <Context as VariantNames>::VARIANTS.join(", ");
            name.parse::<Context>().map_err(|_| format!("`{name}` is no context; there are {known}"))
        };
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let contexts = names.map(named).collect::<Result<BTreeSet<_>, _>>()?;
        if contexts.is_empty() {
            return Err("names no context; leave it out to serve all".to_owned());
        }
        Ok(Self(contexts))
    }
}

impl fmt::Display for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|context| context.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl<'de> Deserialize<'de> for Contexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_contexts_is_read_and_what_is_none_is_named() {
        let some: Contexts = "stock, order,".parse().unwrap();
        assert!(some.has(Context::Stock) && some.has(Context::Order) && !some.has(Context::Payment));
        assert_eq!(some.to_string(), "order,stock");
        assert_eq!("order,payment,stock,product,shipment".parse(), Ok(Contexts::default()));
        let no = "orders".parse::<Contexts>().unwrap_err();
        assert_eq!(no, "`orders` is no context; there are order, payment, stock, product, shipment");
        assert!(" ,".parse::<Contexts>().is_err());
    }
}
