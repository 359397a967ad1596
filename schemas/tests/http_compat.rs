//! Which changes of the HTTP contract a client notices, by example; and that each is told.

use schemas::http_compat::{breaks, untold};
use serde_json::{Value, json};

/// A contract of one operation.
fn contract(parameters: Value, body: Value, answer: Value) -> Value {
    json!({
        "paths": { "/things/{id}": { "post": {
            "parameters": parameters,
            "requestBody": { "content": { "application/json": { "schema": body } } },
            "responses": { "200": { "content": { "application/json": { "schema": answer } } }, "400": {} },
        } } },
        "components": { "schemas": { "Thing": { "type": "object",
            "properties": { "at": { "type": "integer" }, "name": { "type": "string" } }, "required": ["at"] } } },
    })
}

fn object(properties: Value, required: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

fn usual() -> Value {
    contract(
        json!([{ "name": "limit", "in": "query", "required": false, "schema": { "type": "integer" } }]),
        object(json!({ "reason": { "type": "string" } }), json!([])),
        json!({ "type": "object", "properties": { "items": { "type": "array",
            "items": { "$ref": "#/components/schemas/Thing" } } }, "required": ["items"] }),
    )
}

/// What a client notices of a change of the usual contract.
fn noticed(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut new = usual();
    change(&mut new);
    breaks(&usual(), &new)
}

fn operation(contract: &mut Value) -> &mut Value {
    &mut contract["paths"]["/things/{id}"]["post"]
}

fn body(contract: &mut Value) -> &mut Value {
    &mut operation(contract)["requestBody"]["content"]["application/json"]["schema"]
}

#[test]
fn what_only_adds_is_not_noticed() {
    assert_eq!(noticed(|_| {}), Vec::<String>::new());
    let more = noticed(|new| {
        new["paths"]["/other"] = json!({ "get": {} });
        let added = json!({ "name": "since", "in": "query", "required": false, "schema": { "type": "string" } });
        operation(new)["parameters"].as_array_mut().unwrap().push(added);
        operation(new)["responses"]["503"] = json!({});
        body(new)["properties"]["actor"] = json!({ "type": "string" });
        new["components"]["schemas"]["Thing"]["properties"]["colour"] = json!({ "type": "string" });
    });
    assert_eq!(more, Vec::<String>::new());
    let renamed = noticed(|new| {
        let paths = new["paths"].as_object_mut().unwrap();
        let methods = paths.remove("/things/{id}").unwrap();
        paths.insert("/things/{thing}".to_owned(), methods);
    });
    assert_eq!(renamed, Vec::<String>::new(), "the name of a path's parameter is nobody's");
}

#[test]
fn an_operation_or_an_answer_that_is_gone_is_noticed() {
    assert_eq!(noticed(|new| new["paths"] = json!({})), ["POST /things/{}: is gone"]);
    let moved = noticed(|new| {
        let responses = operation(new)["responses"].as_object_mut().unwrap();
        let answer = responses.remove("200").unwrap();
        responses.insert("202".to_owned(), answer);
    });
    assert_eq!(moved, ["POST /things/{} answer 200: is gone"]);
}

#[test]
fn a_parameter_that_is_gone_or_needed_is_noticed() {
    assert_eq!(noticed(|new| operation(new)["parameters"] = json!([])), ["POST /things/{} query limit: is gone"]);
    let needed = noticed(|new| operation(new)["parameters"][0]["required"] = json!(true));
    assert_eq!(needed, ["POST /things/{} query limit: became required"]);
    let bounded = noticed(|new| operation(new)["parameters"][0]["schema"]["maximum"] = json!(200));
    assert_eq!(bounded, Vec::<String>::new());
}

#[test]
fn a_body_that_must_say_more_or_may_say_less_is_noticed() {
    let more = noticed(|new| body(new)["required"] = json!(["reason"]));
    assert_eq!(more, ["POST /things/{} body/reason: became required"]);
    let less = noticed(|new| body(new)["properties"] = json!({}));
    assert_eq!(less, ["POST /things/{} body/reason: is gone"]);
    let other = noticed(|new| body(new)["properties"]["reason"]["type"] = json!("object"));
    assert_eq!(other, ["POST /things/{} body/reason: was string, is object"]);
    let words = |words: Value| {
        let mut contract = usual();
        body(&mut contract)["properties"]["reason"]["enum"] = words;
        contract
    };
    let fewer = breaks(&words(json!(["a", "b"])), &words(json!(["b", "c"])));
    assert_eq!(fewer, ["POST /things/{} body/reason: the word a is gone"]);
    let needed = noticed(|new| operation(new)["requestBody"]["required"] = json!(true));
    assert_eq!(needed, ["POST /things/{} body: became required"]);
}

#[test]
fn a_property_of_an_answer_that_is_gone_optional_or_of_another_type_is_noticed() {
    let thing = |change: fn(&mut Value)| noticed(|new| change(&mut new["components"]["schemas"]["Thing"]));
    let gone = thing(|thing| _ = thing["properties"].as_object_mut().unwrap().remove("name"));
    assert_eq!(gone, ["POST /things/{} answer 200/items[]/name: is gone"]);
    let optional = thing(|thing| thing["required"] = json!([]));
    assert_eq!(optional, ["POST /things/{} answer 200/items[]/at: may be absent"]);
    let text = thing(|thing| thing["properties"]["at"]["type"] = json!("string"));
    assert_eq!(text, ["POST /things/{} answer 200/items[]/at: was integer, is string"]);
    let null = thing(|thing| thing["properties"]["name"]["type"] = json!(["string", "null"]));
    assert_eq!(null, ["POST /things/{} answer 200/items[]/name: was string, is null or string"]);
}

#[test]
fn undeclared_changes_and_lines_without_a_reason_or_a_subject_are_faults() {
    let changes = ["GET /a answer 200/at: was string, is integer".to_owned(), "GET /b: is gone".to_owned()];
    assert_eq!(untold(&changes, "", "0.2.0").len(), 2);
    let told = "# Changes\n\n* `* answer 200*/at: was string, is integer`: positions are integers.\n* `GET /b: is gone`: unused.\n";
    assert_eq!(untold(&changes, told, "0.2.0"), Vec::<String>::new());
    let no_reason = untold(&changes, "* `*`: \n", "0.2.0");
    assert!(no_reason[0].contains("without a reason"), "{no_reason:?}");
    let idle = untold(&changes, "* `*`: all.\n* `GET /c: is gone`: nothing.\n", "0.2.0");
    assert_eq!(idle, ["schemas/http-changes.md: `GET /c: is gone` names no change since 0.2.0; remove it"]);
}
