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

/// Every schema within a value, with the path to it.
fn schemas<'a>(at: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = format!("{at}/{name}");
                if name == "properties" {
                    let named = inner.as_object().into_iter().flatten();
                    found.extend(named.map(|(property, schema)| (format!("{path}/{property}"), schema)));
                }
                schemas(&path, inner, found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| schemas(&format!("{at}/{index}"), item, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every property of every schema, with its path.
fn properties(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    schemas("", &document["components"]["schemas"], &mut found);
    found
}

#[test]
fn every_property_parameter_response_and_schema_is_described() {
    let document = document();
    let described = |value: &Value| value["description"].as_str().is_some_and(|text| text.trim().len() > 3);
    let mut bare: Vec<String> =
        properties(&document).into_iter().filter(|(_, schema)| !described(schema)).map(|(path, _)| path).collect();
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().expect("an operation has responses") {
            if !described(response) {
                bare.push(format!("{method} {path} {status}"));
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if !described(parameter) {
                bare.push(format!("{method} {path} {}", parameter["name"]));
            }
        }
        if operation["summary"].as_str().is_none_or(str::is_empty) {
            bare.push(format!("{method} {path}: no summary"));
        }
    }
    let schemas = document["components"]["schemas"].as_object().expect("a document has schemas");
    bare.extend(schemas.iter().filter(|(_, schema)| !described(schema)).map(|(name, _)| name.clone()));
    assert_eq!(bare, Vec::<String>::new(), "without a description");
}

/// Words that say too little as the name of a class in somebody's program.
const FORBIDDEN: &[&str] = &[
    "Comparison",
    "Compensation",
    "Counts",
    "Dependency",
    "Difference",
    "Discarded",
    "Edge",
    "Entry",
    "EntryState",
    "Format",
    "Found",
    "Generation",
    "Graph",
    "Incident",
    "Kind",
    "Lifetime",
    "Line",
    "Node",
    "NoBody",
    "Nothing",
    "Partition",
    "Projections",
    "Rebuild",
    "Replay",
    "Retire",
    "RollBack",
    "Stage",
    "Stale",
    "Standing",
    "State",
    "Statement",
    "Status",
    "Step",
    "Timeline",
    "Totals",
    "Trouble",
    "Verdict",
    "Wait",
    "Why",
];

#[test]
fn the_name_of_a_schema_can_be_a_class_in_somebody_s_program() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("a document has schemas");
    let bad = |name: &&String| {
        FORBIDDEN.contains(&name.as_str())
            || !name.chars().all(|c| c.is_ascii_alphanumeric())
            || name.starts_with(char::is_lowercase)
    };
    assert_eq!(schemas.keys().filter(bad).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn answers_take_words_from_open_lists_and_requests_from_closed_ones() {
    let document = document();
    let words = [
        "status",
        "payment_status",
        "fulfilment_status",
        "state",
        "saga_state",
        "kind",
        "direction",
        "error_kind",
        "cause",
    ];
    let resolve = |schema: &'_ Value| -> Value {
        let ways: Vec<&Value> =
            schema["oneOf"].as_array().into_iter().flatten().filter(|way| way["type"] != "null").collect();
        let schema = ways.first().copied().unwrap_or(schema);
        let path = schema["$ref"].as_str().map(|path| path.trim_start_matches('#').to_owned());
        path.map_or_else(|| schema.clone(), |path| document.pointer(&path).cloned().unwrap_or_default())
    };
    let mut lists = 0;
    for (path, schema) in properties(&document) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let body = path.contains("Body/") || path.starts_with("/Problem/");
        if !words.contains(&name) || body || path == "/SagaTimelineEntry/properties/cause" {
            continue;
        }
        let schema = resolve(schema);
        let ways = schema["anyOf"].as_array().unwrap_or_else(|| panic!("{path} is no open list: {schema}"));
        assert!(ways[0]["enum"].is_array() && ways[1]["type"] == "string" && ways.len() == 2, "{path}: {schema}");
        lists += 1;
    }
    assert!(lists >= 20, "only {lists} fields are lists of words");
    for (path, method, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if words.iter().any(|word| parameter["name"] == *word) {
                assert!(parameter["schema"]["enum"].is_array(), "{method} {path}: {parameter}");
            }
        }
    }
}

#[test]
fn a_word_has_one_casing() {
    fn enums(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                let words = fields.get("enum").and_then(Value::as_array).into_iter().flatten();
                found.extend(words.filter_map(Value::as_str).map(str::to_owned));
                fields.values().for_each(|inner| enums(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|item| enums(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    enums(&document(), &mut found);
    let snake = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    // A part of a path: paths have hyphens, as those of problems.
    let others: Vec<&String> = found.iter().filter(|word| !snake(word) && *word != "hand-over").collect();
    assert!(found.len() > 50 && others.is_empty(), "{others:?}");
}

#[test]
fn a_position_and_an_amount_of_money_have_one_type() {
    let document = document();
    let positions = ["position", "head", "target", "to_position"];
    let amounts = [
        "total",
        "captured",
        "authorized",
        "refunded",
        "voided",
        "gross",
        "net",
        "tax",
        "shipping",
        "discount",
        "price",
    ];
    let refers = |schema: &Value, to: &str| {
        let ways = schema["oneOf"].as_array().map_or_else(|| vec![schema], |ways| ways.iter().collect());
        ways.iter().any(|way| way["$ref"] == format!("#/components/schemas/{to}"))
    };
    let mut seen = (0, 0);
    for (path, schema) in properties(&document) {
        let name = path.rsplit('/').next().unwrap_or_default();
        // A search goes through the log or through one stream. The provider's own account is in its own words.
        if positions.contains(&name) && !path.contains("/FoundEvents/") && path != "/SagaCommand/properties/target" {
            assert!(refers(schema, "LogPosition"), "{path} is no LogPosition: {schema}");
            seen.0 += 1;
        }
        if amounts.contains(&name)
            && !path.starts_with("/ProviderTotals/")
            && !path.starts_with("/ProviderLedgerEntry/")
        {
            // A request's price has the bounds of a price.
            let kind = if path.contains("Body/") { "Price" } else { "Money" };
            assert!(refers(schema, kind), "{path} is no {kind}: {schema}");
            seen.1 += 1;
        }
    }
    assert!(seen.0 >= 12 && seen.1 >= 20, "{seen:?}");
}

#[test]
fn lists_and_texts_say_their_bounds_and_answers_their_headers() {
    let document = document();
    let mut limits = 0;
    for (path, method, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let schema = &parameter["schema"];
            assert!(
                !schema.to_string().contains("\"null\""),
                "{method} {path}: a parameter is never null: {parameter}"
            );
            if parameter["name"] == "limit" && path != "/v1/provider/ledger" {
                assert_eq!((&schema["minimum"], &schema["maximum"]), (&json!(1), &json!(200)), "{method} {path}");
                limits += 1;
            }
            if parameter["name"] == "cursor" || parameter["name"] == "Idempotency-Key" {
                assert!(schema["maxLength"].is_number() || schema["$ref"].is_string(), "{method} {path}: {parameter}");
            }
        }
        let keyed = operation["parameters"].as_array().into_iter().flatten().any(|p| p["name"] == "Idempotency-Key");
        for (status, response) in operation["responses"].as_object().expect("an operation has responses") {
            let header = |name: &str| response["headers"].get(name).is_some();
            assert!(!keyed || header("Idempotent-Replayed"), "{method} {path} {status}");
            assert!(status != "201" || header("Location"), "{method} {path} {status}");
            assert!(status != "503" || header("Retry-After"), "{method} {path} {status}");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(
                operation["responses"]["415"].is_object() && operation["responses"]["413"].is_object(),
                "{method} {path}"
            );
            assert!(body["required"].is_boolean(), "{method} {path}");
        }
    }
    assert!(limits >= 15, "only {limits} lists");
}
