//! The contract of the HTTP port.

use std::collections::BTreeSet;

use schemas::openapi::{collisions, document, promised_faults};
use serde_json::{Value, json};

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().expect("a document has paths");
    let of = |(path, methods): (&String, &'_ Value)| {
        methods
            .as_object()
            .expect("a path has methods")
            .iter()
            .map(|(m, _)| (path.clone(), m.clone()))
            .collect::<Vec<_>>()
    };
    let all: Vec<(String, String)> = paths.iter().flat_map(of).collect();
    all.into_iter().map(|(path, method)| (path.clone(), method.clone(), &document["paths"][path][method])).collect()
}

#[test]
fn the_port_promises_no_fault_of_its_own_but_503() {
    assert_eq!(promised_faults(&document()), vec![]);
    let faulty = json!({"paths": {"/x": {"get": {"responses": {"200": {}, "500": {}, "503": {}}}}}});
    assert_eq!(promised_faults(&faulty), [("/x".to_owned(), "get".to_owned(), "500".to_owned())]);
}

#[test]
fn it_is_openapi_3_1_with_a_name_for_every_operation() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let ids: Vec<String> = operations(&document)
        .iter()
        .map(|(path, method, operation)| {
            operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId")).to_owned()
        })
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an operationId stands twice: {ids:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let lost: Vec<_> = found.iter().filter(|r| document.pointer(r.trim_start_matches('#')).is_none()).collect();
    assert!(!found.is_empty() && lost.is_empty(), "{lost:?}");
}

#[test]
fn every_command_asks_for_an_idempotency_key() {
    let document = document();
    let mut commands = 0;
    for (path, method, operation) in operations(&document) {
        // A provider signs its webhooks and repeats them under its own ids; the simulated one's actions are its own.
        if method != "post" || path.contains("/webhooks/") || path.starts_with("/v1/provider") {
            continue;
        }
        let named = operation["parameters"].as_array().into_iter().flatten().any(|p| p["name"] == "Idempotency-Key");
        assert!(named, "{method} {path} does not name its Idempotency-Key");
        commands += 1;
    }
    assert!(commands >= 15, "only {commands} commands");
}

#[test]
fn every_refusal_is_a_problem_document() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("an operation has responses") {
            let response = match response["$ref"].as_str() {
                Some(reference) => {
                    document.pointer(reference.trim_start_matches('#')).expect("references lead somewhere")
                }
                None => response,
            };
            if status.starts_with('4') || status.starts_with('5') {
                let content = &response["content"]["application/problem+json"];
                assert!(content.is_object(), "{method} {path} answers {status} with {}", response["content"]);
            }
        }
    }
}

#[test]
fn a_type_means_the_same_in_every_service() {
    assert_eq!(collisions(), vec![]);
}
