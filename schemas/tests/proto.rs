//! What may change in `proto/`, and what may not: both kinds, by example, and over real files of a release.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use schemas::proto_compat;
use tempfile::TempDir;

const SHOP: &str = r#"
syntax = "proto3";
package shop.v1;
service Orders {
  rpc Place(Order) returns (Receipt);
  rpc Follow(Order) returns (stream Receipt);
}
message Order {
  reserved 9;
  string id = 1;
  repeated Line lines = 2;
  optional uint64 version = 3;
  oneof buyer { string guest = 4; string member = 5; }
  Kind kind = 6;
  message Line { uint32 quantity = 1; }
}
message Receipt { bool done = 1; }
message Note { string text = 1; }
enum Kind { KIND_UNSPECIFIED = 0; KIND_GIFT = 1; }
"#;

/// A folder with this `proto/shop.proto`.
fn folder(text: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("proto")).expect("made");
    fs::write(folder.path().join("proto/shop.proto"), text).expect("written");
    folder
}

fn breaks(from: &str, to: &str) -> Vec<String> {
    assert!(SHOP.contains(from), "`{from}` is not in the example");
    let (old, new) = (folder(SHOP), folder(&SHOP.replacen(from, to, 1)));
    let read = |folder: &TempDir| proto_compat::read(folder.path()).expect("it is protobuf");
    proto_compat::breaks(&read(&old), &read(&new))
}

#[track_caller]
fn refused(from: &str, to: &str, because: &str) {
    let found = breaks(from, to);
    assert!(found.iter().any(|what| what.contains(because)), "expected `{because}` among {found:?}");
}

#[track_caller]
fn allowed(from: &str, to: &str) {
    assert_eq!(breaks(from, to), Vec::<String>::new());
}

#[test]
fn what_is_added_breaks_nobody() {
    allowed("bool done = 1;", "bool done = 1; string detail = 2;");
    allowed("message Receipt", "message Refund {}\nmessage Receipt");
    allowed("rpc Place", "rpc Cancel(Order) returns (Receipt);\n  rpc Place");
    allowed("service Orders", "service Stock {}\nservice Orders");
    allowed("KIND_GIFT = 1;", "KIND_GIFT = 1; KIND_SAMPLE = 2;");
    allowed("string member = 5;", "string member = 5; string company = 7;");
    allowed("string id = 1;", "// The order's.\n  string id = 1;");
}

#[test]
fn a_field_that_goes_or_changes_its_number_name_type_or_presence_is_refused() {
    refused("uint32 quantity = 1;", "", "Order.Line.quantity (number 1) is gone");
    refused("string id = 1;", "reserved 1;", "Order.id (number 1) is gone");
    refused("string id = 1;", "string id = 7;", "was number 1, now 7");
    refused("string id = 1;", "string name = 1;", "is now called `name`");
    refused("uint32 quantity", "uint64 quantity", "was `uint32`, now `uint64`");
    refused("Kind kind", "int32 kind", "was `shop.v1.Kind`, now `int32`");
    refused("repeated Line lines", "Line lines", "was repeated, now plain");
    refused("optional uint64 version", "uint64 version", "was optional, now plain");
    refused(
        "{ string guest = 4;",
        "{ string nobody = 8; } string guest = 4; oneof other {",
        "was in `oneof buyer`, now plain",
    );
}

#[test]
fn a_number_that_was_given_back_is_not_given_out_again() {
    refused("reserved 9;", "string late = 9;", "number 9 was given back once");
}

#[test]
fn what_goes_is_refused() {
    refused("message Note { string text = 1; }", "", "the message shop.v1.Note is gone");
    refused("rpc Place(Order) returns (Receipt);", "", "shop.v1.Orders.Place is gone");
    refused("KIND_GIFT = 1;", "", "shop.v1.Kind.KIND_GIFT is gone");
    refused("KIND_GIFT = 1;", "KIND_GIFT = 2;", "was number 1, now 2");
    refused("package shop.v1;", "package shop.v2;", "the service shop.v1.Orders is gone");
}

#[test]
fn a_call_that_changes_its_messages_or_whether_it_streams_is_refused() {
    refused("returns (stream Receipt)", "returns (Receipt)", "Orders.Follow: was");
    refused("rpc Place(Order)", "rpc Place(stream Order)", "Orders.Place: was");
    refused("rpc Place(Order) returns (Receipt)", "rpc Place(Receipt) returns (Receipt)", "Orders.Place: was");
}

fn schemas(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_schemas"));
    command.args(words).arg("--folder").arg(folder).output().expect("the program runs")
}

#[test]
fn a_release_keeps_its_protos_and_what_breaks_them_is_told_with_the_release() {
    let folder = folder(SHOP);
    let (path, file) = (folder.path(), folder.path().join("proto/shop.proto"));
    schemas::write(path).expect("written");
    let frozen = schemas(path, &["freeze", "0.0.9"]);
    assert!(frozen.status.success(), "{}", String::from_utf8_lossy(&frozen.stderr));
    assert_eq!(fs::read_to_string(path.join("released/0.0.9/proto/shop.proto")).expect("kept"), SHOP);
    assert_eq!(schemas(path, &["check"]).status.code(), Some(0), "nothing has changed");
    fs::write(&file, SHOP.replace("string id = 1;", "string id = 1; string more = 8;")).expect("written");
    assert_eq!(schemas(path, &["check"]).status.code(), Some(0), "a field was added");
    fs::write(&file, SHOP.replace("returns (stream Receipt)", "returns (Receipt)")).expect("written");
    let refused = schemas(path, &["check"]);
    let said = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("Orders.Follow") && said.contains("0.0.9"), "{said}");
    fs::remove_file(&file).expect("removed");
    let refused = schemas(path, &["check"]);
    assert!(String::from_utf8_lossy(&refused.stdout).contains("the service shop.v1.Orders is gone"));
}

#[test]
fn what_is_no_protobuf_is_told_with_its_place() {
    let folder = folder("syntax = \"proto3\";\nmessage Order { string id = ; }\n");
    schemas::write(folder.path()).expect("written");
    let refused = schemas(folder.path(), &["check"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("shop.proto"), "{said}");
}

#[test]
fn our_own_protos_are_read_and_have_the_services_that_are_served() {
    let set = proto_compat::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("it is protobuf");
    let services: Vec<&str> = set.file.iter().flat_map(|file| &file.service).map(|service| service.name()).collect();
    assert_eq!(services, ["Commands", "Events"]);
}
