//! The contract of the HTTP port: what each service says of its routes, put together as the port serves it.

use serde_json::Value;

/// OpenAPI 3.1 of the whole port.
pub fn document() -> Value {
    let mut whole = service_kit::api::description();
    let parts = [
        service_kit::health::openapi(),
        command_service::http::openapi(),
        projection_service::http::openapi(),
        saga_orchestrator::http::openapi(),
    ];
    parts.into_iter().for_each(|part| whole.merge(part));
    serde_json::to_value(&whole).expect("an OpenAPI document is strings, lists and maps with string keys")
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
