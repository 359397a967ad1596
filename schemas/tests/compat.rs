//! What may change in a contract, and what may not: both kinds, by example.

use schemas::compat::breaks;
use serde_json::{Value, json};

fn object(properties: Value, required: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[track_caller]
fn allowed(old: Value, new: Value) {
    assert_eq!(breaks(&old, &new), Vec::<String>::new());
}

#[track_caller]
fn refused(old: Value, new: Value, because: &str) {
    let found = breaks(&old, &new);
    assert!(found.iter().any(|what| what.contains(because)), "expected `{because}` among {found:?}");
}

#[test]
fn an_optional_field_may_be_added_and_a_description_changed() {
    let old = object(json!({"a": {"type": "string", "description": "x"}}), json!(["a"]));
    let new = object(json!({"a": {"type": "string"}, "b": {"type": ["string", "null"]}}), json!(["a"]));
    allowed(old, new);
}

#[test]
fn a_required_field_may_become_optional() {
    let fields = json!({"a": {"type": "string"}});
    allowed(object(fields.clone(), json!(["a"])), object(fields, json!([])));
}

#[test]
fn a_field_may_not_be_added_as_required() {
    let old = object(json!({}), json!([]));
    let new = object(json!({"b": {"type": "string"}}), json!(["b"]));
    refused(old, new, "/b: became required");
}

#[test]
fn a_field_may_not_go() {
    let old = object(json!({"a": {"type": "string"}}), json!([]));
    refused(old, object(json!({}), json!([])), "/a: is gone");
}

#[test]
fn a_type_may_widen_but_not_change() {
    allowed(json!({"type": "integer"}), json!({"type": "number"}));
    allowed(json!({"type": "string"}), json!({"type": ["string", "null"]}));
    refused(json!({"type": "string"}), json!({"type": "integer"}), "was `string`");
    refused(json!({"type": ["string", "null"]}), json!({"type": "string"}), "was `null`");
}

#[test]
fn a_value_of_an_enum_may_be_added_but_not_taken_away() {
    allowed(json!({"enum": ["a"]}), json!({"enum": ["a", "b"]}));
    refused(json!({"enum": ["a", "b"]}), json!({"enum": ["a"]}), "the value \"b\" is gone");
}

#[test]
fn an_alternative_may_be_added_but_not_taken_away_or_narrowed() {
    let card = |required: Value| json!({"properties": {"kind": {"const": "card"}, "n": {"type": "string"}}, "required": required});
    let cash = json!({"properties": {"kind": {"const": "cash"}}, "required": ["kind"]});
    allowed(json!({"oneOf": [card(json!(["kind"]))]}), json!({"oneOf": [cash, card(json!(["kind"]))]}));
    refused(json!({"oneOf": [card(json!(["kind"])), cash]}), json!({"oneOf": [cash]}), "kind=\"card\" is gone");
    refused(
        json!({"oneOf": [card(json!(["kind"]))]}),
        json!({"oneOf": [card(json!(["kind", "n"]))]}),
        "/n: became required",
    );
}

#[test]
fn a_range_may_widen_but_not_narrow() {
    allowed(json!({"type": "integer", "maximum": 10}), json!({"type": "integer", "maximum": 20}));
    refused(json!({"type": "integer", "maximum": 10}), json!({"type": "integer", "maximum": 5}), "`maximum` is now 5");
    refused(json!({"type": "string"}), json!({"type": "string", "pattern": "^a"}), "the pattern changed");
}

#[test]
fn a_change_behind_a_reference_is_found() {
    let schema = |inner: Value| json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": inner}});
    let old = schema(object(json!({"x": {"type": "string"}}), json!([])));
    refused(old, schema(object(json!({}), json!([]))), "/a/x: is gone");
}

#[test]
fn a_change_inside_a_list_is_found() {
    let list = |items: Value| json!({"type": "array", "items": items});
    refused(list(json!({"type": "string"})), list(json!({"type": "integer"})), "/items: was `string`");
}

#[test]
fn unknown_fields_may_not_be_refused_from_now_on() {
    let open = object(json!({}), json!([]));
    let mut closed = open.clone();
    closed["additionalProperties"] = json!(false);
    refused(open, closed, "unknown fields are refused now");
}
