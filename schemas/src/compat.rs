//! What may change in the schema of a stored event or command, and what may not.
//!
//! *Invariant:* whatever was written under the old schema is read under the new one. So a field may be added only as
//! optional; it may not go, become required or change its type; a named alternative or enum value may be added, never
//! taken away; a range may only widen. Descriptions are free.
//! Source: Young, "Versioning in an Event Sourced System" (2017), weak schema.

use serde_json::{Map, Value};

/// What old data cannot follow in the change from `old` to `new`; empty: compatible.
pub fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", (old, old), (new, new), &mut found);
    found
}

/// A schema with the document in which its `$ref`s are looked up.
type Place<'a> = (&'a Value, &'a Value);

fn compare(at: &str, old: Place<'_>, new: Place<'_>, found: &mut Vec<String>) {
    let ((old, old_doc), (new, new_doc)) = (resolve(old), resolve(new));
    if old == new && old_doc == new_doc {
        return;
    }
    let here = if at.is_empty() { "/" } else { at };
    for (keyword, value) in facts(old) {
        match keyword.as_str() {
            "type" => types(here, value, new.get("type"), found),
            "properties" => properties(at, (old, old_doc), (new, new_doc), found),
            "oneOf" | "anyOf" => alternatives(here, (value, old_doc), (new.get(keyword), new_doc), found),
            "$ref" => match (target(old, old_doc), target(new, new_doc)) {
                (Some(old), Some(new)) => compare(at, (old, old_doc), (new, new_doc), found),
                (Some(_), None) | (None, _) => found.push(format!("{here}: no longer refers to {value}")),
            },
            "enum" => values(here, value, new.get("enum"), found),
            "const" if new.get("const") != Some(value) => found.push(format!("{here}: is no longer {value}")),
            "items" | "additionalProperties" if value.is_object() => {
                if let Some(new_value) = new.get(keyword) {
                    compare(&format!("{at}/{keyword}"), (value, old_doc), (new_value, new_doc), found);
                }
            }
            _ => {}
        }
    }
    narrowed(here, old, new, found);
    let old_required = names(old.get("required"));
    for field in names(new.get("required")).into_iter().filter(|field| !old_required.contains(field)) {
        found.push(format!("{at}/{field}: became required, and old data may lack it"));
    }
}

/// Follows `$ref` within the document, as often as there is nothing beside it. A tagged alternative has its tag beside
/// the reference: that one is compared as it stands, the reference as one of its keywords.
fn resolve<'a>((mut schema, doc): Place<'a>) -> Place<'a> {
    const MAX_HOPS: usize = 16; // A reference to a reference is rare; a circle of bare references is not a schema.
    for _ in 0..MAX_HOPS {
        match target(schema, doc) {
            Some(target) if schema.get("properties").is_none() => schema = target,
            Some(_) | None => break,
        }
    }
    (schema, doc)
}

fn target<'a>(schema: &Value, doc: &'a Value) -> Option<&'a Value> {
    schema.get("$ref").and_then(Value::as_str).and_then(|path| doc.pointer(path.strip_prefix('#')?))
}

fn facts(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.as_object().into_iter().flat_map(Map::iter)
}

fn names(list: Option<&Value>) -> Vec<&str> {
    match list {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => vec![],
    }
}

fn types(at: &str, old: &Value, new: Option<&Value>, found: &mut Vec<String>) {
    let Some(new) = new else { return }; // No type any more: everything passes.
    let new = names(Some(new));
    for gone in names(Some(old)).into_iter().filter(|name| !new.contains(name)) {
        if gone == "integer" && new.contains(&"number") {
            continue;
        }
        found.push(format!("{at}: was `{gone}`, now only `{}`", new.join("` or `")));
    }
}

fn properties(at: &str, old: Place<'_>, new: Place<'_>, found: &mut Vec<String>) {
    let new_fields = new.0.get("properties");
    for (field, old_schema) in old.0.get("properties").into_iter().flat_map(facts) {
        let at = format!("{at}/{field}");
        match new_fields.and_then(|fields| fields.get(field)) {
            Some(new_schema) => compare(&at, (old_schema, old.1), (new_schema, new.1), found),
            None => found.push(format!("{at}: is gone, and what it said in old data is lost")),
        }
    }
}

/// The alternatives of a tagged enum, matched by their tag (the properties with a `const`), else by being the same.
fn alternatives(at: &str, old: (&Value, &Value), new: (Option<&Value>, &Value), found: &mut Vec<String>) {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let new_list = list(new.0);
    for alternative in list(Some(old.0)) {
        let tag = tag(resolve((&alternative, old.1)).0);
        let same = new_list.iter().find(|candidate| match &tag {
            Some(tag) => self::tag(resolve((candidate, new.1)).0).as_ref() == Some(tag),
            None => {
                let mut differences = Vec::new();
                compare("", (&alternative, old.1), (candidate, new.1), &mut differences);
                differences.is_empty()
            }
        });
        match same {
            Some(same) => compare(at, (&alternative, old.1), (same, new.1), found),
            None => found.push(format!("{at}: the alternative {} is gone", tag.unwrap_or(alternative.to_string()))),
        }
    }
}

fn tag(schema: &Value) -> Option<String> {
    if let Some(value) = schema.get("const") {
        return Some(value.to_string());
    }
    let fields = schema.get("properties")?;
    facts(fields).find_map(|(name, field)| field.get("const").map(|value| format!("{name}={value}")))
}

fn values(at: &str, old: &Value, new: Option<&Value>, found: &mut Vec<String>) {
    let Some(new) = new else { return };
    let new = new.as_array().cloned().unwrap_or_default();
    for gone in old.as_array().into_iter().flatten().filter(|value| !new.contains(value)) {
        found.push(format!("{at}: the value {gone} is gone"));
    }
}

/// Bounds that old data may lie beyond.
fn narrowed(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let bound = |schema: &Value, name: &str| schema.get(name).and_then(Value::as_f64);
    for (name, upper) in [
        ("maximum", true),
        ("maxLength", true),
        ("maxItems", true),
        ("minimum", false),
        ("minLength", false),
        ("minItems", false),
    ] {
        let Some(now) = bound(new, name) else { continue };
        let fits = bound(old, name).is_some_and(|before| if upper { now >= before } else { now <= before });
        if !fits {
            found.push(format!("{at}: `{name}` is now {now}, which old data may be beyond"));
        }
    }
    if new.get("pattern").is_some() && new.get("pattern") != old.get("pattern") {
        found.push(format!("{at}: the pattern changed"));
    }
    let closed = |schema: &Value| schema.get("additionalProperties") == Some(&Value::Bool(false));
    if closed(new) && !closed(old) {
        found.push(format!("{at}: unknown fields are refused now"));
    }
}
