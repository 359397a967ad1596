//! The classes of requests. Each class has its own places (`permits`), so that a flood of one kind of request never makes
//! requests of another kind wait: lists cannot starve commands, readers that wait for a position cannot starve either.
//!
//! A request's class follows from its method, its path and two headers, before anything of it is carried out. Requests for
//! health and metrics belong to no class: they are always answered.

use axum::http::{HeaderMap, Method, header};
use strum::{Display, IntoStaticStr, VariantArray};

/// A kind of request, by what it costs and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Class {
    /// Changes something.
    Command,
    /// Reads one thing by its key.
    OneRow,
    /// Reads a page of a list.
    List,
    /// A read that may wait: for a position (`X-Min-Position`) or for a state (`Prefer: wait`).
    LongWait,
    /// Server-sent events: lasts until the client goes away.
    Stream,
    /// Reads, or makes the server read, a large part of the log or of a table.
    Heavy,
}

impl Class {
    /// All classes, in the order of their declaration.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The class's place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The class's name in metrics and log lines.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The class of a request; `None` for health and metrics, which are never refused.
    pub fn of(method: &Method, path: &str, headers: &HeaderMap) -> Option<Self> {
        if is_reserved(path) {
            return None;
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let parts: Vec<&str> = path.strip_prefix("/v1/").map_or(Vec::new(), |rest| rest.split('/').collect());
        Some(match (reads, parts.as_slice()) {
            (true, ["events", "find"] | ["lineage" | "reports", ..] | ["store", "stats"] | ["provider", "ledger"])
            | (false, ["projections" | "dead-letters", ..]) => Self::Heavy,
            (false, _) => Self::Command,
            (true, ["events"]) if wants_events(headers) => Self::Stream,
            _ if waits(headers) => Self::LongWait,
            (true, [_] | ["customers", _, "orders"] | ["sagas", "incidents"] | ["streams", _]) => Self::List,
            (true, _) => Self::OneRow,
        })
    }
}

/// Whether a path is one of those that are always answered: health and metrics.
pub fn is_reserved(path: &str) -> bool {
    path == "/health" || path.starts_with("/health/") || path == "/metrics"
}

fn wants_events(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    kinds.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/event-stream"))
}

fn waits(headers: &HeaderMap) -> bool {
    let preferred = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    headers.contains_key("x-min-position") || preferred.into_iter().any(|value| value.to_lowercase().contains("wait="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Option<Class> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Class::of(&method.parse().unwrap(), path, &headers)
    }

    /// The operations of the contract, as `GET /v1/orders/x`.
    fn operations() -> Vec<(String, String)> {
        let contract = include_str!("../../schemas/openapi.json");
        let contract: serde_json::Value = serde_json::from_str(contract).unwrap();
        let paths = contract["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &serde_json::Value)| {
            let example: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), example.join("/"))).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    #[test]
    fn every_operation_of_the_contract_has_a_class_and_only_health_has_none() {
        let operations = operations();
        assert!(operations.len() > 50, "{operations:?}");
        for (method, path) in operations {
            let class = class(&method, &path, &[]);
            assert_eq!(class.is_none(), path.starts_with("/health"), "{method} {path}: {class:?}");
            if method == "POST" {
                assert!(matches!(class, Some(Class::Command | Class::Heavy)), "{method} {path}: {class:?}");
            }
        }
    }

    #[test]
    fn metrics_and_log_lines_name_each_class() {
        let names: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names, ["command", "one-row", "list", "long-wait", "stream", "heavy"]);
        assert_eq!(Class::LongWait.to_string(), "long-wait");
    }

    #[test]
    fn a_class_follows_from_what_a_request_costs() {
        for (method, path, expected) in [
            ("POST", "/v1/orders", Class::Command),
            ("POST", "/v1/payments/webhooks/simulated", Class::Command),
            ("GET", "/v1/orders/x", Class::OneRow),
            ("GET", "/v1/stock/x/main", Class::OneRow),
            ("GET", "/docs/index.html", Class::OneRow),
            ("GET", "/v1/orders", Class::List),
            ("GET", "/v1/customers/x/orders", Class::List),
            ("GET", "/v1/streams/order-x", Class::List),
            ("GET", "/v1/events", Class::List),
            ("GET", "/v1/events/find", Class::Heavy),
            ("GET", "/v1/reports/sales-by-day", Class::Heavy),
            ("POST", "/v1/projections/orders/rebuild", Class::Heavy),
        ] {
            assert_eq!(class(method, path, &[]), Some(expected), "{method} {path}");
        }
        assert_eq!(class("GET", "/metrics", &[]), None);
    }

    #[test]
    fn waiting_and_live_reads_have_their_own_places_and_no_header_lightens_work() {
        let (live, wait, min) = (("accept", "text/event-stream"), ("prefer", "wait=5"), ("x-min-position", "7"));
        assert_eq!(class("GET", "/v1/events", &[live]), Some(Class::Stream));
        assert_eq!(class("GET", "/v1/orders/x", &[wait]), Some(Class::LongWait));
        assert_eq!(class("GET", "/v1/orders", &[min]), Some(Class::LongWait));
        assert_eq!(class("GET", "/v1/orders", &[live]), Some(Class::List));
        assert_eq!(class("GET", "/v1/events/find", &[live, wait, min]), Some(Class::Heavy));
        assert_eq!(class("POST", "/v1/orders", &[live, wait, min]), Some(Class::Command));
    }
}
