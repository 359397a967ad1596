//! The contract of the log as it is followed: AsyncAPI 3.1 of `GET /v1/events`, one channel a category, one message a
//! version of an event.
//!
//! Source: AsyncAPI 3.1.0; HTTP bindings 0.3.0; server-sent events, WHATWG HTML §9.2. A message's payload is what stands
//! in `data:`, the event in its envelope. Its schemas are JSON Schema draft 07, which every AsyncAPI tool reads: there a
//! `$ref` hides what stands beside it, so both become parts of an `allOf`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::catalogue::{self, Contract};

/// AsyncAPI 3.1 of all events.
pub fn document() -> Value {
    let events = catalogue::events();
    let messages: Map<String, Value> = events.iter().map(|event| (name_of(event), message(event))).collect();
    let mut schemas: Map<String, Value> = events.iter().map(|event| (name_of(event), payload_of(event))).collect();
    schemas.insert("Envelope".to_owned(), envelope());
    schemas.insert("Metadata".to_owned(), metadata());
    let mut channels = Map::new();
    let mut operations = Map::new();
    for (category, names) in categories(&events) {
        channels.insert(category.clone(), channel(&category, &names));
        operations.insert(format!("follow_{category}"), operation(&category, &names, Some(&category)));
    }
    let all: BTreeSet<String> = events.iter().map(name_of).collect();
    channels.insert("log".to_owned(), channel("log", &all));
    operations.insert("follow_log".to_owned(), operation("log", &all, None));
    json!({
        "asyncapi": "3.1.0",
        "info": info(),
        "defaultContentType": "application/json",
        "servers": { "local": {
            "host": "127.0.0.1:7400", "protocol": "http", "description": "`backstitch serve` as it comes"
        } },
        "channels": channels,
        "operations": operations,
        "components": { "schemas": schemas, "messages": messages },
        "x-cloudevents": cloudevents(),
    })
}

/// The message that carries this version of an event: `OrderPlaced.v1`.
pub fn name_of(event: &Contract) -> String {
    format!("{}.v{}", event.name, event.version)
}

/// The categories of streams that events come from; a saga's events from those of every saga there is.
fn categories(events: &[Contract]) -> BTreeMap<String, BTreeSet<String>> {
    let sagas: BTreeSet<&str> = saga_orchestrator::sagas::ALL.iter().map(|definition| definition.name).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        let of = match event.aggregate {
            "saga" => sagas.iter().map(|name| format!("saga_{name}")).collect(),
            other => vec![other.to_owned()],
        };
        of.into_iter().for_each(|category| _ = found.entry(category).or_default().insert(name_of(event)));
    }
    found
}

fn info() -> Value {
    json!({
        "title": "Backstitch: the events of the log",
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache-2.0" },
        "description": "Everything that has happened, in commit order, as `GET /v1/events` gives it with \
            `Accept: text/event-stream`. Each event comes at least once: know it by its `id`, or pass by what is at or \
            below the `version` of its stream that you have seen. After a break go on with `Last-Event-ID`, the \
            `position` of the last one; nothing is left out. Lines that begin with `:` keep the connection alive. \
            Within a version an event only gains optional fields; ignore what you do not know. Without that header the \
            same events come as pages of JSON: see /openapi.json. The envelope is our own, not a CloudEvent; \
            `x-cloudevents` says how to make one of it.",
    })
}

fn channel(category: &str, messages: &BTreeSet<String>) -> Value {
    let description = match category {
        "log" => "All streams.".to_owned(),
        _ => format!("The streams `{category}-…`."),
    };
    let named = messages.iter().map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })));
    json!({
        "address": "/v1/events",
        "description": description,
        "servers": [{ "$ref": "#/servers/local" }],
        "messages": named.collect::<Map<_, _>>(),
    })
}

/// What the server sends to the clients that follow a channel.
fn operation(channel: &str, messages: &BTreeSet<String>, category: Option<&str>) -> Value {
    let after = json!({
        "type": "integer", "minimum": 0, "description": "Only what comes after this position; what comes next without it."
    });
    let mut query = json!({ "type": "object", "properties": { "after": after } });
    if let Some(category) = category {
        query["properties"]["category"] = json!({ "type": "string", "const": category });
        query["required"] = json!(["category"]);
    }
    let named = messages.iter().map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") }));
    json!({
        "action": "send",
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": format!("Follows {}.", category.unwrap_or("the whole log")),
        "messages": named.collect::<Vec<_>>(),
        "bindings": { "http": { "method": "GET", "query": query, "bindingVersion": "0.3.0" } },
    })
}

/// An event in its envelope. In server-sent events its `position` is also the `id:` of the frame.
fn message(event: &Contract) -> Value {
    let title = event.schema.get("title").and_then(Value::as_str).unwrap_or(event.name);
    let mut message = json!({
        "name": event.name,
        "title": format!("{title}, version {}", event.version),
        "contentType": "application/json",
        "correlationId": { "location": "$message.payload#/metadata/correlation_id" },
        "payload": { "allOf": [
            { "$ref": "#/components/schemas/Envelope" },
            { "type": "object", "properties": {
                "type": { "type": "string", "const": event.name },
                "schema_version": { "type": "integer", "const": event.version },
                "data": { "$ref": format!("#/components/schemas/{}", name_of(event)) },
            } },
        ] },
        "bindings": { "http": {
            "statusCode": 200,
            "headers": { "type": "object", "properties": {
                "Content-Type": { "type": "string", "const": "text/event-stream" }
            } },
            "bindingVersion": "0.3.0",
        } },
    });
    if let Some(what) = event.schema.get("description") {
        message["summary"] = what.clone();
    }
    message
}

/// The event's own schema, at home in this document.
fn payload_of(event: &Contract) -> Value {
    let mut schema = rehomed(&event.schema, &format!("#/components/schemas/{}", name_of(event)));
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema"); // It names the draft of a document of its own.
    }
    schema
}

/// The schema with its references begun at `home`, each the only thing where it stands.
fn rehomed(schema: &Value, home: &str) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), rehomed(value, home))).collect();
            let Some(Value::String(target)) = fields.get("$ref") else { return Value::Object(fields) };
            let reference = json!({ "$ref": target.replacen('#', home, 1) });
            fields.remove("$ref");
            if fields.is_empty() {
                return reference;
            }
            fields.insert("allOf".to_owned(), json!([reference]));
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(|item| rehomed(item, home)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

fn envelope() -> Value {
    json!({
        "type": "object",
        "description": "An event of the log with what stands around it.",
        "required": ["id", "stream", "version", "position", "type", "schema_version", "data", "metadata", "recorded_at"],
        "properties": {
            "id": { "type": "string", "format": "uuid", "description": "Its id; a delivery again has the same." },
            "stream": { "type": "string", "minLength": 1, "maxLength": 250, "description": "`<category>-<id>`" },
            "version": { "type": "integer", "minimum": 0, "description": "In its stream, from 0 without holes." },
            "position": { "type": "integer", "minimum": 1, "description": "In the log, strictly increasing." },
            "type": { "type": "string", "description": "Such as `OrderPlaced`." },
            "schema_version": { "type": "integer", "minimum": 1 },
            "data": { "type": "object", "description": "As the event's schema says." },
            "metadata": { "$ref": "#/components/schemas/Metadata" },
            "recorded_at": { "type": "string", "format": "date-time", "description": "When the log wrote it." },
        },
    })
}

fn metadata() -> Value {
    let uuid = |what: &str| json!({ "type": "string", "format": "uuid", "description": what });
    json!({
        "type": "object",
        "description": "Where an event came from.",
        "required": ["partition_key", "correlation_id", "causation_id", "command_id", "actor", "occurred_at"],
        "properties": {
            "partition_key": { "type": "string", "description": "Keeps one order's events together." },
            "correlation_id": uuid("The request that began it all."),
            "causation_id": uuid("The command or event that it follows from."),
            "command_id": uuid("The command that made it."),
            "command_hash": { "type": "string", "description": "SHA-256 (hex) of the request's body." },
            "traceparent": { "type": "string", "description": "W3C trace context." },
            "tracestate": { "type": "string", "description": "What tracing systems add to `traceparent`." },
            "actor": { "type": "string", "description": "Who asked: a principal, `saga:<type>`, `provider:<name>`." },
            "occurred_at": { "type": "string", "format": "date-time", "description": "When it was decided." },
        },
    })
}

/// How a CloudEvent 1.0 is made of the envelope: its attributes, and where in the payload their values stand.
fn cloudevents() -> Value {
    json!({
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "from": {
            "id": "/id", "subject": "/stream", "type": "/type", "time": "/metadata/occurred_at", "data": "/data",
            "partitionkey": "/metadata/partition_key", "sequence": "/position", "traceparent": "/metadata/traceparent",
        },
    })
}
