//! The commands' contracts are all of the code's commands.

use std::collections::BTreeSet;

use domain::{order, payment, product, shipment, stock};
use schemars::{JsonSchema, schema_for};
use schemas::catalogue;
use serde_json::Value;

/// The names that a command's tag may have.
fn names_of<T: JsonSchema>() -> BTreeSet<String> {
    let schema = schema_for!(T).to_value();
    let alternatives = schema["oneOf"].as_array().expect("a command is one of several").clone();
    let tag = |one: &Value| one["properties"]["type"]["const"].as_str().expect("each has its name as tag").to_owned();
    alternatives.iter().map(tag).collect()
}

#[test]
fn every_command_of_the_code_has_a_contract() {
    let in_code = [
        ("order", names_of::<order::Command>()),
        ("payment", names_of::<payment::Command>()),
        ("product", names_of::<product::Command>()),
        ("shipment", names_of::<shipment::Command>()),
        ("stock", names_of::<stock::Command>()),
    ];
    for (aggregate, names) in in_code {
        let listed: BTreeSet<String> =
            catalogue::commands().iter().filter(|c| c.aggregate == aggregate).map(|c| c.name.to_owned()).collect();
        assert_eq!(listed, names, "the commands of {aggregate}");
    }
}
