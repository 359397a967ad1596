//! The contract of the HTTP port: what each service says of its routes, put together as the port serves it.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::OpenApi;

/// OpenAPI 3.1 of the whole port.
pub fn document() -> Value {
    let mut whole = service_kit::api::description();
    parts().into_iter().for_each(|(_, part)| whole.merge(part));
    service_kit::api::document(&whole)
}

/// Names of types that two services use for different things: put together, one would stand for the other. As
/// (type, service, other service).
pub fn collisions() -> Vec<(String, &'static str, &'static str)> {
    let mut first: BTreeMap<String, (&'static str, Value)> = BTreeMap::new();
    let mut found = Vec::new();
    for (service, part) in parts() {
        for (name, schema) in entries(as_value(&part).pointer("/components/schemas")) {
            match first.get(name) {
                Some((other, known)) if known != schema => found.push((name.clone(), *other, service)),
                Some(_) => {}
                None => _ = first.insert(name.clone(), (service, schema.clone())),
            }
        }
    }
    found
}

fn parts() -> [(&'static str, OpenApi); 4] {
    [
        ("service-kit", service_kit::health::openapi()),
        ("command-service", command_service::http::openapi()),
        ("projection-service", projection_service::http::openapi()),
        ("saga-orchestrator", saga_orchestrator::http::openapi()),
    ]
}

fn as_value(document: &OpenApi) -> Value {
    serde_json::to_value(document).expect("an OpenAPI document is strings, lists and maps with string keys")
}

/// Status codes of the server's own faults that the document promises, other than 503: there must be none, as
/// (path, method, status).
pub fn promised_faults(document: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, methods) in entries(document.get("paths")) {
        for (method, operation) in entries(Some(methods)) {
            for (status, _) in entries(operation.get("responses")) {
                if status.starts_with('5') && status != "503" {
                    found.push((path.clone(), method.clone(), status.clone()));
                }
            }
        }
    }
    found
}

fn entries(object: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    object.and_then(Value::as_object).into_iter().flatten()
}
