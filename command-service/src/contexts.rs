//! Which kinds of aggregates a process serves: one process can have all, or each kind processes of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A kind of aggregate, with its routes and commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// All of them, as settings name them.
    pub const ALL: [(&'static str, Self); 5] = [
        ("order", Self::Order),
        ("payment", Self::Payment),
        ("stock", Self::Stock),
        ("product", Self::Product),
        ("shipment", Self::Shipment),
    ];

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
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Stock => "stock",
            Self::Product => "product",
            Self::Shipment => "shipment",
        }
    }
}

/// Some of them, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts(BTreeSet<Context>);

impl Default for Contexts {
    fn default() -> Self {
        Self(Context::ALL.map(|(_, context)| context).into())
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
            let found = Context::ALL.iter().find(|(known, _)| *known == name).map(|(_, context)| *context);
            found.ok_or_else(|| format!("`{name}` is no context; there are order, payment, stock, product, shipment"))
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
        assert!("orders".parse::<Contexts>().is_err_and(|error| error.contains("`orders`")));
        assert!(" ,".parse::<Contexts>().is_err());
    }

    #[test]
    fn each_context_is_named_as_the_list_of_all_names_it() {
        assert!(Context::ALL.iter().all(|(name, context)| context.name() == *name));
    }
}
