//! The log of every release is read for ever, and folds to what it folded to then. Nothing here writes one: that is
//! `schemas golden-log <version> --from <export>`, once a release.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use schemas::{catalogue, golden_log};
use serde_json::Value;
use service_kit::postgres::testing::fresh_database;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn versions() -> Vec<String> {
    let versions = golden_log::versions(folder()).expect("the folder can be listed");
    assert!(!versions.is_empty(), "there are golden logs");
    versions
}

#[tokio::test]
async fn the_log_of_every_release_folds_to_what_it_folded_to_then() {
    for version in versions() {
        let kept = golden_log::kept(folder(), &version).expect("kept");
        let database = fresh_database().await.expect("a database");
        let file = golden_log::log_file(folder(), &version);
        let folded = golden_log::fold(&file, &database).await.expect("folded");
        assert_eq!(folded.events, kept.events, "{version}");
        let facts = golden_log::facts::of(&golden_log::events(folder(), &version).expect("read")).expect("folded");
        for (stream, hash) in &kept.streams {
            let now = folded.streams.get(stream);
            assert_eq!(now, Some(hash), "{version}: {stream} folds to something else now: {:#}", facts[stream]);
        }
        assert_eq!(folded.streams.len(), kept.streams.len(), "{version}");
        // A table that is younger than the log's release is not among those kept.
        for (table, rows) in &kept.tables {
            assert_eq!(folded.tables.get(table), Some(rows), "{version}: the table {table} says something else now");
        }
    }
}

#[test]
fn every_event_of_every_release_fits_the_schema_that_its_version_has_today() {
    let schemas = catalogue::events();
    for version in versions() {
        for event in golden_log::events(folder(), &version).expect("read") {
            let named = |c: &&catalogue::Contract| c.name == &*event.event_type && c.version == event.schema_version;
            let contract = schemas.iter().find(named).unwrap_or_else(|| panic!("{} has no contract", event.event_type));
            let validator = jsonschema::validator_for(&contract.schema).expect("a schema");
            let data: Value = serde_json::from_str(event.data.get()).expect("JSON");
            assert!(validator.is_valid(&data), "{version}: {} v{} does not fit", event.stream, event.version);
        }
    }
}

#[test]
fn the_logs_show_every_end_that_an_order_can_have() {
    let mut seen = BTreeSet::new();
    for version in versions() {
        let facts = golden_log::facts::of(&golden_log::events(folder(), &version).expect("read")).expect("folded");
        for (stream, facts) in facts {
            let category = stream.split('-').next().unwrap_or_default();
            for field in ["status", "state"] {
                seen.extend(facts[field].as_str().map(|value| format!("{category} {}", value.to_lowercase())));
            }
        }
    }
    let ends = ["completed", "cancelled", "rejected"].map(|end| format!("order {end}"));
    let money = ["captured", "refunded", "voided", "declined"].map(|end| format!("payment {end}"));
    let sagas = ["completed", "compensated", "handed_over", "needs_attention", "waiting"];
    let sagas = sagas.map(|end| format!("saga_order_fulfilment {end}"));
    let missing: Vec<_> = ends.iter().chain(&money).chain(&sagas).filter(|end| !seen.contains(*end)).collect();
    assert!(missing.is_empty(), "no golden log shows {missing:?}; it shows {seen:?}");
}

#[test]
fn a_fold_that_says_something_else_is_noticed() {
    let version = &versions()[0];
    let mut events = golden_log::events(folder(), version).expect("read");
    let all = golden_log::facts::of(&events).expect("folded");
    let captured = events.iter().rposition(|event| &*event.event_type == "PaymentCaptured").expect("money was taken");
    let stream = events.remove(captured).stream.to_string();
    assert_ne!(golden_log::facts::of(&events).expect("folded")[&stream], all[&stream]);
}

#[test]
fn a_golden_log_is_never_overwritten() {
    let version = &versions()[0];
    let copy = tempfile::tempdir().expect("a folder");
    fs::create_dir(copy.path().join("golden-logs")).expect("made");
    let file = golden_log::log_file(copy.path(), version);
    fs::write(&file, "kept").expect("written");
    let from = golden_log::log_file(folder(), version);
    let mut command = Command::new(env!("CARGO_BIN_EXE_schemas"));
    command.args(["golden-log", version, "--from"]).arg(from).arg("--folder").arg(copy.path());
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stays as it is"), "{output:?}");
    assert_eq!(fs::read_to_string(file).expect("it is there"), "kept");
}
