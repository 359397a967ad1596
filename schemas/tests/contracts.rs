//! Code and contracts say the same, and what was written once is read for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use command_service::provider::inbox::ProviderEventRecorded;
use command_service::provider::intake::ProviderEventReceived;
use domain::{EncodedEvent, Kind, order, saga, stock};
use schemas::catalogue::{self, Contract};
use serde_json::Value;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json(path: &str) -> Value {
    let text = fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("schemas/{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("schemas/{path}: {error}"))
}

/// Reads a payload as the program reads the log, and writes it again.
fn through_the_code(contract: &Contract, data: &str) -> EncodedEvent {
    if contract.name == "ProviderEventRecorded" {
        let event: ProviderEventRecorded = serde_json::from_str(data).expect("an event of the inbox");
        let data = serde_json::value::to_raw_value(&event).expect("it was JSON");
        return EncodedEvent { event_type: contract.name, schema_version: contract.version, data };
    }
    if contract.aggregate == "provider_inbox" {
        let event: ProviderEventReceived = serde_json::from_str(data).expect("an event of the inbox");
        let data = serde_json::value::to_raw_value(&event).expect("it was JSON");
        return EncodedEvent { event_type: contract.name, schema_version: contract.version, data };
    }
    let (name, version) = (contract.name, contract.version);
    let event = match Kind::ALL.iter().find(|kind| kind.category == contract.aggregate) {
        Some(kind) => (kind.rewrite)(name, version, data),
        None => saga::Event::decode(name, version, data).map(|e| e.encode()),
    };
    event.unwrap_or_else(|error| panic!("{}: {error:?}", contract.file()))
}

#[test]
fn the_checked_in_schemas_are_what_the_code_says() {
    assert_eq!(schemas::check(folder()).expect("the files can be read"), Vec::<String>::new());
}

#[test]
fn every_event_type_of_the_code_has_a_contract() {
    let listed: BTreeSet<(&str, &str, u16)> =
        catalogue::events().iter().map(|c| (c.aggregate, c.name, c.version)).collect();
    let of = |aggregate: &'static str, types: &'static [(&'static str, u16)]| {
        types.iter().flat_map(move |(name, newest)| (1..=*newest).map(move |version| (aggregate, *name, version)))
    };
    let of_aggregates = Kind::ALL.iter().flat_map(|kind| of(kind.category, kind.events));
    let in_code: BTreeSet<(&str, &str, u16)> = of_aggregates
        .chain(of("saga", saga::Event::TYPES))
        .chain(of("provider_inbox", &[("ProviderEventReceived", 1), ("ProviderEventRecorded", 1)]))
        .collect();
    assert_eq!(listed, in_code);
}

#[test]
fn golden_payloads_are_read_for_ever_and_nothing_in_them_is_lost() {
    for contract in catalogue::events() {
        let golden = json(&format!("golden/{}", contract.file()));
        let again = through_the_code(&contract, &golden.to_string());
        let newest: Value = serde_json::from_str(again.data.get()).expect("encoded payloads are JSON");
        assert_eq!(again.event_type, contract.name);
        if again.schema_version == contract.version {
            assert_eq!(newest, golden, "{} was changed by reading and writing it", contract.file());
        }
    }
}

#[test]
fn golden_payloads_fit_their_schemas() {
    for contract in catalogue::events() {
        let golden = json(&format!("golden/{}", contract.file()));
        let validator = jsonschema::validator_for(&contract.schema).expect("the generated schema is a schema");
        let faults: Vec<String> = validator.iter_errors(&golden).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:?}", contract.file());
    }
}

#[test]
fn a_payload_that_lacks_a_required_field_is_refused_by_code_and_schema_alike() {
    let mut tried = 0;
    for contract in catalogue::events() {
        let golden = json(&format!("golden/{}", contract.file()));
        let validator = jsonschema::validator_for(&contract.schema).expect("the generated schema is a schema");
        let required = contract.schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        for field in required.iter().filter_map(Value::as_str) {
            let mut lacking = golden.clone();
            lacking.as_object_mut().expect("payloads are objects").remove(field);
            assert!(!validator.is_valid(&lacking), "the schema of {} misses no `{field}`", contract.file());
            let decoded = match contract.aggregate {
                "stock" => stock::Event::decode(contract.name, 1, &lacking.to_string()).is_err(),
                "order" => order::Event::decode(contract.name, 1, &lacking.to_string()).is_err(),
                _ => true,
            };
            assert!(decoded, "{} is read without `{field}`", contract.file());
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} fields were tried");
}

#[test]
fn a_newer_schema_version_is_told_apart_from_damage() {
    let error = stock::Event::decode("StockReceived", 2, "{}").expect_err("version 2 does not exist");
    assert!(matches!(error, domain::DecodeError::NewerSchema { found: 2, known: 1, .. }));
}
