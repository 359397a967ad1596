//! The contract of the log as it is followed: its document holds together, and events as they are sent fit it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use event_store::{Metadata, Position, RecordedEvent};
use schemas::{asyncapi, catalogue};
use serde_json::{Value, json};

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().expect("an object").iter()
}

fn target<'d>(document: &'d Value, reference: &Value) -> &'d Value {
    let path = reference["$ref"].as_str().unwrap_or_else(|| panic!("{reference} refers to nothing"));
    document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} leads nowhere"))
}

/// The payload's schema as a schema by itself, with all that it refers to.
fn validator(document: &Value, message: &str) -> jsonschema::Validator {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [{ "$ref": format!("#/components/messages/{message}/payload") }],
        "components": document["components"],
    });
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{message}: {error}"))
}

fn golden(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An event as the log gives it, written as `GET /v1/events` writes it.
fn sent(event: &catalogue::Contract) -> Value {
    let id = uuid::Uuid::from_u128(7);
    let at = "2026-11-21T10:15:30Z".parse().expect("a moment");
    let recorded = RecordedEvent {
        id,
        stream: format!("{}-1", event.aggregate).parse().expect("a stream's name"),
        version: 0,
        position: Position(1),
        event_type: event.name.into(),
        schema_version: event.version,
        data: serde_json::from_str(&golden(&event.file())).expect("JSON"),
        metadata: Arc::new(Metadata {
            partition_key: "1".to_owned(),
            correlation_id: id,
            causation_id: id,
            command_id: id,
            command_hash: Some("00".to_owned()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=1".to_owned()),
            actor: "dev".to_owned(),
            occurred_at: at,
        }),
        recorded_at: at,
    };
    serde_json::to_value(recorded).expect("an event serialises")
}

#[test]
fn it_has_what_asyncapi_3_1_asks_for() {
    let document = asyncapi::document();
    assert_eq!(document["asyncapi"], "3.1.0");
    let allowed = ["asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"];
    let unknown: Vec<_> =
        object(&document).filter(|(name, _)| !allowed.contains(&name.as_str()) && !name.starts_with("x-")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for (name, server) in object(&document["servers"]) {
        assert!(server["host"].is_string() && server["protocol"].is_string(), "server {name}");
    }
    for (name, channel) in object(&document["channels"]) {
        let address = channel["address"].as_str().unwrap_or_else(|| panic!("channel {name} has an address"));
        assert!(!address.contains(['?', '#']), "{address}: a query belongs into the bindings");
        channel["servers"].as_array().expect("a list").iter().for_each(|server| _ = target(&document, server));
    }
    for (name, operation) in object(&document["operations"]) {
        assert!(["send", "receive"].contains(&operation["action"].as_str().unwrap_or_default()), "operation {name}");
        let http = &operation["bindings"]["http"];
        assert_eq!((http["method"].as_str(), http["query"]["type"].as_str()), (Some("GET"), Some("object")), "{name}");
    }
    let name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    for (kind, parts) in object(&document["components"]) {
        object(parts).for_each(|(key, _)| assert!(name(key), "components/{kind}/{key}"));
    }
}

#[test]
fn operations_lead_to_channels_and_these_to_messages() {
    let document = asyncapi::document();
    let mut followed = BTreeSet::new();
    for (name, operation) in object(&document["operations"]) {
        let channel = target(&document, &operation["channel"]);
        followed.insert(operation["channel"]["$ref"].to_string());
        let of_channel: BTreeSet<_> = object(&channel["messages"]).map(|(_, message)| message.to_string()).collect();
        for message in operation["messages"].as_array().expect("a list") {
            // An operation names its messages by way of its channel, which refers to the message itself.
            let named = target(&document, message);
            assert!(of_channel.contains(&named.to_string()), "{name}: {message}");
            assert!(target(&document, named)["payload"].is_object(), "{named}");
        }
    }
    assert_eq!(followed.len(), object(&document["channels"]).count(), "each channel is followed");
}

#[test]
fn every_event_is_a_message_of_its_category_and_of_the_whole_log() {
    let document = asyncapi::document();
    for event in catalogue::events() {
        let name = asyncapi::name_of(&event);
        assert!(document["channels"]["log"]["messages"][&name].is_object(), "{name} in the log");
        let category = if event.aggregate == "saga" { "saga_order_fulfilment" } else { event.aggregate };
        assert!(document["channels"][category]["messages"][&name].is_object(), "{name} in {category}");
    }
    assert_eq!(object(&document["components"]["messages"]).count(), catalogue::events().len());
}

#[test]
fn every_reference_leads_somewhere_and_stands_alone() {
    fn look(value: &Value, document: &Value, seen: &mut usize) {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("$ref") {
                    target(document, value);
                    assert_eq!(fields.len(), 1, "draft 07 does not see what stands beside {}", fields["$ref"]);
                    *seen += 1;
                }
                fields.values().for_each(|field| look(field, document, seen));
            }
            Value::Array(items) => items.iter().for_each(|item| look(item, document, seen)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let (document, mut seen) = (asyncapi::document(), 0);
    look(&document, &document, &mut seen);
    assert!(seen > 200, "only {seen} references");
}

#[test]
fn an_event_as_it_is_sent_fits_its_message_and_no_other() {
    let document = asyncapi::document();
    let events = catalogue::events();
    for (index, event) in events.iter().enumerate() {
        let validator = validator(&document, &asyncapi::name_of(event));
        let sent = sent(event);
        let faults: Vec<String> = validator.iter_errors(&sent).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:?}", event.file());
        let other = self::sent(&events[(index + 1) % events.len()]);
        assert!(!validator.is_valid(&other), "{} fits the message of {}", other["type"], event.name);
    }
}

#[test]
fn the_envelope_is_the_code_s_to_the_last_field() {
    let document = asyncapi::document();
    let sent = sent(&catalogue::events()[0]);
    for (schema, value) in [("Envelope", &sent), ("Metadata", &sent["metadata"])] {
        let described: BTreeSet<_> =
            object(&document["components"]["schemas"][schema]["properties"]).map(|(name, _)| name).collect();
        let written: BTreeSet<_> = object(value).map(|(name, _)| name).collect();
        assert_eq!(described, written, "{schema}");
    }
}
