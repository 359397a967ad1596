//! What was released binds: changes that its data can follow pass, all others are refused; over real files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const ORDER: &str = "events/order/OrderPlaced.v1.json";

/// A folder with today's contracts, and a release 0.0.9 that said something else of one of them.
fn released_with(path: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    schemas::write(folder.path()).expect("written");
    let mut old = schemas::generated().remove(path).unwrap_or(Value::Null);
    change(&mut old);
    let file = folder.path().join("released/0.0.9").join(path);
    fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("made");
    fs::write(file, schemas::as_file(&old)).expect("written");
    folder
}

fn schemas(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_schemas"));
    command.args(words).arg("--folder").arg(folder).output().expect("the program runs")
}

#[track_caller]
fn passes(path: &str, change: impl FnOnce(&mut Value)) {
    let folder = released_with(path, change);
    let output = schemas(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[track_caller]
fn refused(path: &str, because: &str, change: impl FnOnce(&mut Value)) {
    let folder = released_with(path, change);
    let output = schemas(folder.path(), &["check"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(because) && said.contains("0.0.9"), "expected `{because}` in: {said}");
}

fn remove(value: &mut Value, name: &str) {
    value.as_object_mut().expect("an object").remove(name).unwrap_or_else(|| panic!("there was a `{name}`"));
}

fn not_required(value: &mut Value, name: &str) {
    value["required"].as_array_mut().expect("a list").retain(|field| field != name);
}

#[test]
fn what_is_as_it_was_released_passes() {
    passes(ORDER, |_| {});
}

#[test]
fn an_optional_field_that_was_added_since_passes() {
    passes("events/payment/PaymentCaptured.v1.json", |old| {
        remove(&mut old["properties"], "provider_ref"); // It is optional today.
    });
}

#[test]
fn an_alternative_and_an_enum_value_that_were_added_since_pass() {
    passes("events/order/OrderHeld.v1.json", |old| {
        old["$defs"]["HoldReason"]["oneOf"].as_array_mut().expect("reasons").pop();
    });
    passes("commands/payment/RecordProviderResult.v1.json", |old| {
        old["$defs"]["ProviderResult"]["oneOf"].as_array_mut().expect("results").pop();
    });
}

#[test]
fn a_range_that_was_widened_since_passes_and_one_that_was_narrowed_does_not() {
    let path = "events/payment/PaymentAuthorizationRequested.v1.json";
    passes(path, |old| old["properties"]["attempt_group"]["minimum"] = json!(5)); // It is 0 today.
    refused(path, "`minimum` is now 0", |old| old["properties"]["attempt_group"]["minimum"] = json!(-5));
}

#[test]
fn a_field_that_is_gone_is_refused() {
    refused(ORDER, "/gift_note: is gone", |old| old["properties"]["gift_note"] = json!({ "type": "string" }));
}

#[test]
fn a_field_that_became_required_is_refused() {
    refused(ORDER, "/totals: became required", |old| not_required(old, "totals"));
}

#[test]
fn a_type_that_changed_is_refused() {
    refused(ORDER, "was `integer`", |old| old["properties"]["number"] = json!({ "type": "integer" }));
}

#[test]
fn an_enum_value_that_is_gone_is_refused() {
    refused("events/order/OrderHeld.v1.json", "BAD_WEATHER", |old| {
        let reasons = old["$defs"]["HoldReason"]["oneOf"].as_array_mut().expect("reasons");
        reasons.push(json!({ "const": "BAD_WEATHER", "type": "string" }));
    });
}

#[test]
fn an_event_or_a_command_that_is_gone_is_refused() {
    for path in ["events/order/OrderTeleported.v1.json", "commands/order/TeleportOrder.v1.json"] {
        refused(path, &format!("schemas/{path} is gone"), |old| *old = json!({ "type": "object" }));
    }
}

#[test]
fn a_change_of_the_http_contract_passes_only_if_it_is_told() {
    let old = |old: &mut Value| old["paths"]["/v1/oracle"] = json!({ "get": { "responses": { "200": {} } } });
    refused("openapi.json", "GET /v1/oracle: is gone", old);
    let folder = released_with("openapi.json", old);
    let told = "* `GET /v1/oracle: is gone`: nobody asked it.\n";
    fs::write(folder.path().join("http-changes.md"), told).expect("written");
    let output = schemas(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_checked_in_file_that_differs_from_the_code_is_told_and_mended() {
    let folder = released_with(ORDER, |_| {});
    let file = folder.path().join(ORDER);
    let mut other = schemas::generated().remove(ORDER).expect("there is one");
    other["description"] = json!("Other words.");
    fs::write(&file, schemas::as_file(&other)).expect("written");
    let output = schemas(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("differs from the code"));
    assert_eq!(schemas(folder.path(), &["write"]).status.code(), Some(0));
    assert_eq!(schemas(folder.path(), &["check"]).status.code(), Some(0));
}

#[test]
fn a_release_is_frozen_once_and_never_overwritten() {
    let folder = released_with(ORDER, |_| {});
    assert_eq!(schemas(folder.path(), &["freeze", "0.1.0"]).status.code(), Some(0));
    let frozen = folder.path().join("released/0.1.0").join(ORDER);
    let first = fs::read_to_string(&frozen).expect("it is there");
    let again = schemas(folder.path(), &["freeze", "0.1.0"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("frozen already"));
    assert_eq!(fs::read_to_string(&frozen).expect("it is there"), first);
    assert_eq!(schemas(folder.path(), &["check"]).status.code(), Some(0));
    assert_eq!(schemas(folder.path(), &["freeze", "../0.2.0"]).status.code(), Some(1), "a version is no path");
}

#[test]
fn what_is_not_in_order_is_not_released() {
    let folder = released_with(ORDER, |old| old["properties"]["gift_note"] = json!({ "type": "string" }));
    let output = schemas(folder.path(), &["freeze", "0.1.0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!folder.path().join("released/0.1.0").exists());
}

#[test]
fn what_is_not_understood_is_answered_with_the_usage() {
    let output = schemas(Path::new("."), &["chekc"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: schemas"));
}
