//! The rules that are the same for every operation, applied to the document once: the headers of answers, the refusals
//! of a body, pages by reference. An operation cannot forget them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::text;

const SCHEMAS: &str = "#/components/schemas/";

/// Adds to an OpenAPI document everything that holds for every operation.
pub fn complete(mut document: Value) -> Value {
    pages(&mut document);
    descriptions(&mut document);
    let schemas = document["components"]["schemas"].clone();
    for methods in fields(&mut document["paths"]) {
        for operation in fields(methods) {
            parameters(operation);
            body(operation, &schemas);
            headers(operation);
        }
    }
    texts(&mut document);
    document["components"]["headers"] = known_headers();
    document
}

/// The texts of bodies, as those of queries, have no character that acts on a terminal (`request::parse` refuses it): said
/// where a text has no narrower rule of its own.
fn texts(document: &mut Value) {
    let mut names = BTreeSet::new();
    for operation in fields(&mut document["paths"]).flat_map(fields) {
        if let Some(body) = operation.get("requestBody") {
            referred(body, &mut names);
        }
    }
    let schemas = &mut document["components"]["schemas"];
    let mut done = BTreeSet::new();
    while let Some(name) = names.pop_first() {
        if done.insert(name.clone()) {
            referred(&schemas[&name], &mut names);
            patterns(&mut schemas[&name]);
        }
    }
}

/// The names of the schemas that a value refers to.
fn referred(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let path = object.get("$ref").and_then(Value::as_str);
            names.extend(path.and_then(|path| path.strip_prefix(SCHEMAS)).map(str::to_owned));
            object.values().for_each(|value| referred(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| referred(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn patterns(schema: &mut Value) {
    let kind = &schema["type"];
    let is_text = kind == "string" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "string"));
    if is_text && ["enum", "const", "format", "pattern"].iter().all(|rule| schema.get(rule).is_none()) {
        schema["pattern"] = json!(text::PATTERN);
    }
    if let Some(properties) = schema.get_mut("properties") {
        fields(properties).for_each(patterns);
    }
    for way in ["oneOf", "anyOf", "allOf"] {
        schema.get_mut(way).and_then(Value::as_array_mut).into_iter().flatten().for_each(patterns);
    }
    if let Some(items) = schema.get_mut("items") {
        patterns(items);
    }
}

fn fields(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object.as_object_mut().into_iter().flat_map(Map::values_mut)
}

/// Pages have their items inline, under names such as `Page_Order`: they get a name that a client can bear (`OrderPage`),
/// and refer to their items.
fn pages(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let names: Vec<String> = schemas.keys().filter(|name| name.starts_with("Page_")).cloned().collect();
    for name in &names {
        let item = name.trim_start_matches("Page_");
        let Some(mut page) = schemas.remove(name) else { continue };
        page["properties"]["items"]["items"] = json!({ "$ref": format!("{SCHEMAS}{item}") });
        schemas.insert(format!("{item}Page"), page);
    }
    references(document, &|path| match path.strip_prefix(&format!("{SCHEMAS}Page_")) {
        Some(item) => format!("{SCHEMAS}{item}Page"),
        None => path.to_owned(),
    });
}

fn references(value: &mut Value, renamed: &impl Fn(&str) -> String) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if key == "$ref"
                    && let Value::String(path) = value
                {
                    *path = renamed(path);
                } else {
                    references(value, renamed);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| references(item, renamed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The description of a nullable reference stands at the reference; it belongs to the property.
fn descriptions(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for property in object.get_mut("properties").into_iter().flat_map(fields) {
                merge(property);
                let nullable =
                    property.get("oneOf").and_then(Value::as_array).filter(|_| property.get("description").is_none());
                let text = nullable.and_then(|ways| ways.iter().find_map(|way| way.get("description"))).cloned();
                if let Some(text) = text {
                    property["description"] = text;
                    for way in property["oneOf"].as_array_mut().into_iter().flatten() {
                        way.as_object_mut().map(|way| way.remove("description"));
                    }
                }
            }
            object.values_mut().for_each(descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(descriptions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The description of an inline schema stands beside it in an `allOf`, as an object: nothing would fit both.
fn merge(property: &mut Value) {
    let Some([schema, beside]) = property.get_mut("allOf").and_then(Value::as_array_mut).map(Vec::as_mut_slice) else {
        return;
    };
    if beside["type"] != "object" || beside.get("properties").is_some() || schema.get("$ref").is_some() {
        return;
    }
    let mut merged = schema.take();
    for (name, value) in beside.as_object().into_iter().flatten().filter(|(name, _)| *name != "type") {
        merged[name] = value.clone();
    }
    *property = merged;
}

/// A parameter that is not given is absent, never null.
fn parameters(operation: &mut Value) {
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        not_null(&mut parameter["schema"]);
        if parameter["in"] == "query" {
            patterns(&mut parameter["schema"]);
        }
    }
    if operation["parameters"].is_null() {
        operation.as_object_mut().map(|operation| operation.remove("parameters"));
    }
}

fn not_null(schema: &mut Value) {
    let types: Option<Vec<Value>> =
        schema["type"].as_array().map(|types| types.iter().filter(|kind| *kind != "null").cloned().collect());
    if let Some([only]) = types.as_deref() {
        schema["type"] = only.clone();
    }
    let ways: Option<Vec<Value>> =
        schema["oneOf"].as_array().map(|ways| ways.iter().filter(|way| way["type"] != "null").cloned().collect());
    match ways.as_deref() {
        Some([only]) => *schema = only.clone(),
        Some(_) | None => {
            if let Some(schema) = schema.as_object_mut() {
                schema.retain(|_, value| !value.is_null());
            }
        }
    }
}

/// A body is required where one of its fields is, and what reading it can refuse is the same everywhere.
fn body(operation: &mut Value, schemas: &Value) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    for content in fields(&mut body["content"]) {
        not_null(&mut content["schema"]);
    }
    let schema = &body["content"]["application/json"]["schema"];
    let named =
        schema["$ref"].as_str().and_then(|path| path.strip_prefix(SCHEMAS)).map_or(schema, |name| &schemas[name]);
    let required = named["required"].as_array().is_some_and(|fields| !fields.is_empty());
    body["required"] = Value::Bool(required);
    let answers = &mut operation["responses"];
    refusal(answers, "413", "`body-too-large`: the body has more bytes than this server takes. Nothing was done.");
    refusal(answers, "415", "`unsupported-media-type`: the body is not JSON. Nothing was done.");
}

fn refusal(responses: &mut Value, status: &str, description: &str) {
    if responses.get(status).is_none() {
        let content = json!({ "application/problem+json": { "schema": { "$ref": format!("{SCHEMAS}Problem") } } });
        responses[status] = json!({ "description": description, "content": content });
    }
}

/// The headers that answers of a kind have.
fn headers(operation: &mut Value) {
    let has = |name: &str| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name))
    };
    let (keyed, conditional, read) = (has("Idempotency-Key"), has("If-Match"), has("X-Min-Position"));
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        let mut names: Vec<&str> = match status.as_str() {
            "201" | "202" => vec!["Location"],
            "409" | "503" => vec!["Retry-After"],
            _ => vec![],
        };
        let good = status.starts_with('2');
        if keyed {
            names.push("Idempotent-Replayed");
        }
        if good && conditional {
            names.extend(["ETag", "X-Commit-Position"]);
        }
        if good && read {
            names.extend(["X-Position", "Preference-Applied"]);
        }
        for name in names {
            let reference = json!({ "$ref": format!("#/components/headers/{name}") });
            if response["headers"].get(name).is_none() {
                response["headers"][name] = reference;
            }
        }
        if response["headers"].is_null() {
            response.as_object_mut().map(|response| response.remove("headers"));
        }
    }
}

fn known_headers() -> Value {
    let position = json!({ "$ref": format!("{SCHEMAS}LogPosition") });
    let text = |example: &str| json!({ "type": "string", "examples": [example] });
    json!({
        "ETag": { "description": "The version of what was asked for, or what the command was done to.", "schema": text("\"3\"") },
        "Location": { "description": "The path of what was made, or of what carries the command on.", "schema": text("/v1/orders/7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11") },
        "X-Commit-Position": { "description": "The position of the log when the command was durable: give it as `X-Min-Position` to read what the command did.", "schema": position },
        "X-Position": { "description": "The position that the answer reflects: what is at or below it, and concerns it, is in it.", "schema": position },
        "Preference-Applied": { "description": "The `Prefer: wait` that was applied; absent where the client did not ask to wait.", "schema": text("wait=10") },
        "Idempotent-Replayed": { "description": "`true` where this is the first answer again; else absent.", "schema": { "type": "string", "enum": ["true"] } },
        "Retry-After": { "description": "The seconds after which to try again; absent where trying again does not help.", "schema": { "type": "integer", "minimum": 0 } },
    })
}
