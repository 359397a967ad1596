//! What changed in the HTTP contract since a release so that a client of that release notices it.
//!
//! Before 1.0 such changes are allowed, and each is told: [`FILE`] names it with its reason. Compared are operations,
//! parameters, bodies and answers with a status of 2xx. Noticed is what is gone, what a request must say from now on, and
//! what has another type. Bounds and patterns are not compared: most state a rule that was there before it was stated.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The list of told changes, below `schemas/`: a line ``* `CHANGE`: REASON`` each, where `*` in a change stands for any text.
pub const FILE: &str = "http-changes.md";

/// A part of a contract with the document that it stands in.
type Place<'a> = (&'a Value, &'a Value);

/// Schemas within schemas that are followed: deeper than any answer is, and an end for one that contains itself.
const MAX_DEPTH: usize = 16;

/// The changes from the contract `old` to `new` that a client of `old` notices.
pub fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let (before, now) = (operations(old), operations(new));
    let mut found = Vec::new();
    for (name, before) in before {
        let Some(now) = now.get(&name) else {
            found.push(format!("{name}: is gone"));
            continue;
        };
        parameters(&name, (before, old), (now, new), &mut found);
        bodies(&name, (before, old), (now, new), &mut found);
        answers(&name, (before, old), (now, new), &mut found);
    }
    // One schema may be in several places of an operation.
    let mut seen = BTreeSet::new();
    found.retain(|change| seen.insert(change.clone()));
    found
}

/// The changes since `version` that `told` does not name, and its lines that name no change.
pub fn untold(changes: &[String], told: &str, version: &str) -> Vec<String> {
    let lines: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("* `")).collect();
    let mut faults = Vec::new();
    let mut patterns = Vec::new();
    for line in lines {
        match line.split_once("`: ").filter(|(_, reason)| !reason.trim().is_empty()) {
            Some((pattern, _)) => patterns.push(pattern),
            None => faults.push(format!("schemas/{FILE}: a line without a reason: `{line}")),
        }
    }
    let idle = |pattern: &&&str| !changes.iter().any(|change| fits(pattern, change));
    faults.extend(
        patterns
            .iter()
            .filter(idle)
            .map(|pattern| format!("schemas/{FILE}: `{pattern}` names no change since {version}; remove it")),
    );
    let untold = changes.iter().filter(|change| !patterns.iter().any(|pattern| fits(pattern, change)));
    faults.extend(untold.map(|change| {
        format!("schemas/openapi.json: {change}; {version} has it otherwise, name it with the reason in schemas/{FILE}")
    }));
    faults
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => text
            .strip_prefix(before)
            .is_some_and(|text| text.char_indices().any(|(at, _)| fits(rest, &text[at..])) || fits(rest, "")),
    }
}

/// The operations by method and path; the names of a path's parameters may change.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let methods = |(path, methods): (&String, &'_ Value)| -> Vec<(String, String)> {
        entries(methods).map(|(method, _)| (path.clone(), method.clone())).collect()
    };
    let all = entries(&document["paths"]).flat_map(methods).collect::<Vec<_>>();
    let nameless = |path: &str| {
        let segment = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
        path.split('/').map(segment).collect::<Vec<_>>().join("/")
    };
    let named = |(path, method): &(String, String)| {
        (format!("{} {}", method.to_uppercase(), nameless(path)), &document["paths"][path][method])
    };
    all.iter().map(named).collect()
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn parameters(name: &str, old: Place<'_>, new: Place<'_>, found: &mut Vec<String>) {
    let of = |operation: &'_ Value| -> BTreeMap<String, Value> {
        let list = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = list.into_iter().filter(|parameter| parameter["in"] != "path");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        named.map(|one| (format!("{} {}", text(&one["in"]), text(&one["name"])), one)).collect()
    };
    let (before, now) = (of(old.0), of(new.0));
    for (parameter, was) in &before {
        let at = format!("{name} {parameter}");
        match now.get(parameter) {
            Some(is) => {
                // The type of a parameter is not compared: it travels as text. Its words are.
                let (was, is) = (Shape::of((&was["schema"], old.1), 0), Shape::of((&is["schema"], new.1), 0));
                words(&at, &was, &is, found);
            }
            None => found.push(format!("{at}: is gone")),
        }
    }
    let required = |parameter: Option<&Value>| parameter.is_some_and(|one| one["required"] == true);
    let new_required = now.iter().filter(|(parameter, is)| required(Some(is)) && !required(before.get(*parameter)));
    found.extend(new_required.map(|(parameter, _)| format!("{name} {parameter}: became required")));
}

fn bodies(name: &str, old: Place<'_>, new: Place<'_>, found: &mut Vec<String>) {
    let at = format!("{name} body");
    if new.0["requestBody"]["required"] == true && old.0["requestBody"]["required"] != true {
        found.push(format!("{at}: became required"));
    }
    let of = |place: Place<'_>| {
        let schema = &place.0["requestBody"]["content"]["application/json"]["schema"];
        (!schema.is_null()).then(|| Shape::of((schema, place.1), 0))
    };
    if let (Some(was), Some(is)) = (of(old), of(new)) {
        asked(&at, &was, &is, found);
    }
}

/// What a client of the old contract sends and the new one refuses.
fn asked(at: &str, old: &Shape, new: &Shape, found: &mut Vec<String>) {
    let is_taken = |kind: &String| kind == "null" || new.types.contains(kind);
    if !new.types.is_empty() && !old.types.iter().all(is_taken) {
        found.push(format!("{at}: was {}, is {}", old.types(), new.types()));
        return;
    }
    words(at, old, new, found);
    for (name, was) in &old.properties {
        match new.properties.get(name) {
            Some(is) => asked(&format!("{at}/{name}"), was, is, found),
            None => found.push(format!("{at}/{name}: is gone")),
        }
    }
    found.extend(new.required.difference(&old.required).map(|name| format!("{at}/{name}: became required")));
    if let (Some(was), Some(is)) = (&old.items, &new.items) {
        asked(&format!("{at}[]"), was, is, found);
    }
}

fn words(at: &str, old: &Shape, new: &Shape, found: &mut Vec<String>) {
    if !new.words.is_empty() {
        found.extend(old.words.difference(&new.words).map(|word| format!("{at}: the word {word} is gone")));
    }
}

fn answers(name: &str, old: Place<'_>, new: Place<'_>, found: &mut Vec<String>) {
    for (status, was) in entries(&old.0["responses"]).filter(|(status, _)| status.starts_with('2')) {
        let Some(is) = new.0["responses"].get(status) else {
            found.push(format!("{name} answer {status}: is gone"));
            continue;
        };
        for (kind, content) in entries(&was["content"]) {
            let now = &is["content"][kind]["schema"];
            let at = format!("{name} answer {status}");
            if now.is_null() {
                found.push(format!("{at}: is no longer {kind}"));
            } else {
                read(&at, &Shape::of((&content["schema"], old.1), 0), &Shape::of((now, new.1), 0), found);
            }
        }
    }
}

/// What a client knows of a value.
#[derive(Default)]
struct Shape {
    types: BTreeSet<String>,
    properties: BTreeMap<String, Shape>,
    required: BTreeSet<String>,
    items: Option<Box<Shape>>,
    words: BTreeSet<String>,
}

impl Shape {
    /// Of a schema with its references followed and its alternatives put together.
    fn of((schema, document): Place<'_>, depth: usize) -> Self {
        let mut shape = Self::default();
        if depth > MAX_DEPTH {
            return shape;
        }
        if let Some(target) = schema["$ref"].as_str().and_then(|path| document.pointer(path.strip_prefix('#')?)) {
            shape = Self::of((target, document), depth + 1);
        }
        let kind = &schema["type"];
        shape.types.extend(kind.as_str().map(str::to_owned));
        shape.types.extend(kind.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        for (name, property) in entries(&schema["properties"]) {
            shape.properties.insert(name.clone(), Self::of((property, document), depth + 1));
        }
        shape
            .required
            .extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        shape
            .words
            .extend(schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        if schema["items"].is_object() {
            shape.items = Some(Box::new(Self::of((&schema["items"], document), depth + 1)));
        }
        let all = schema["allOf"].as_array().into_iter().flatten();
        let ways = ["oneOf", "anyOf"].into_iter().filter_map(|way| schema[way].as_array()).flatten();
        for part in all.chain(ways) {
            let part = Self::of((part, document), depth + 1);
            shape.types.extend(part.types);
            shape.properties.extend(part.properties);
            shape.required.extend(part.required);
            shape.items = shape.items.or(part.items);
            shape.words.extend(part.words);
        }
        shape
    }

    fn types(&self) -> String {
        self.types.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
    }
}

/// What a client of the old contract reads and the new one does not answer.
fn read(at: &str, old: &Shape, new: &Shape, found: &mut Vec<String>) {
    let known = |kind: &&String| old.types.contains(*kind) || (*kind == "integer" && old.types.contains("number"));
    if !old.types.is_empty() && !new.types.iter().all(|kind| known(&kind)) {
        found.push(format!("{at}: was {}, is {}", old.types(), new.types()));
        return;
    }
    for (name, was) in &old.properties {
        match new.properties.get(name) {
            Some(is) => read(&format!("{at}/{name}"), was, is, found),
            None => found.push(format!("{at}/{name}: is gone")),
        }
    }
    let optional =
        old.required.iter().filter(|name| new.properties.contains_key(*name) && !new.required.contains(*name));
    found.extend(optional.map(|name| format!("{at}/{name}: may be absent")));
    if let (Some(was), Some(is)) = (&old.items, &new.items) {
        read(&format!("{at}[]"), was, is, found);
    }
}
