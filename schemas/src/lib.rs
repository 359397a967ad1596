//! The contracts of the outside and of the past: JSON Schema of every event and command version, golden payloads that
//! must decode for ever, OpenAPI, AsyncAPI. Generated from the types and checked in; nobody imports this crate.

pub mod asyncapi;
pub mod catalogue;
pub mod compat;
pub mod golden_log;
pub mod http_compat;
pub mod openapi;
pub mod proto_compat;
pub mod released;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The generated files by their path below `schemas/`.
pub fn generated() -> BTreeMap<String, Value> {
    let events = catalogue::events().into_iter().map(|c| (format!("events/{}", c.file()), c.schema));
    let commands = catalogue::commands().into_iter().map(|c| (format!("commands/{}", c.file()), c.schema));
    let edges = [("openapi.json", openapi::document()), ("asyncapi.json", asyncapi::document())];
    events.chain(commands).chain(edges.map(|(path, document)| (path.to_owned(), document))).collect()
}

/// A value as its file has it: indented, one line break at the end.
pub fn as_file(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What is wrong below `folder`: files that are not what the code generates, and changes that what a release has
/// written, or what was built from it, cannot follow.
///
/// # Errors
/// A file that cannot be read, other than for being absent; one below `proto/` that is no protobuf.
pub fn check(folder: &Path) -> Result<Vec<String>> {
    let generated = generated();
    let mut faults = released::breaks(folder, &generated)?;
    faults.extend(released::proto_breaks(folder)?);
    faults.extend(released::http_breaks(folder, &generated)?);
    for (path, value) in generated {
        match fs::read_to_string(folder.join(&path)) {
            Ok(text) if text == as_file(&value) => {}
            Ok(text) => {
                let old = serde_json::from_str(&text).with_context(|| format!("schemas/{path} is not JSON"))?;
                let broken = compat::breaks(&old, &value);
                faults.extend(broken.iter().map(|what| format!("schemas/{path}: {what}; make a new version instead")));
                if broken.is_empty() {
                    faults.push(format!("schemas/{path} differs from the code; run `cargo run -p schemas -- write`"));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                faults.push(format!("schemas/{path} is missing; run `cargo run -p schemas -- write`"));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read schemas/{path}")),
        }
    }
    Ok(faults)
}

/// Writes the generated files below `folder`; the paths of those that changed.
///
/// # Errors
/// A change that old events or commands cannot follow, in which case nothing is written; a file that cannot be written.
pub fn write(folder: &Path) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (path, value) in generated() {
        let file = folder.join(&path);
        let old = fs::read_to_string(&file).unwrap_or_default();
        if old == as_file(&value) {
            continue;
        }
        if let Ok(old) = serde_json::from_str(&old) {
            let broken = compat::breaks(&old, &value);
            if !broken.is_empty() {
                bail!(
                    "schemas/{path} would break what is stored:\n  {}\nmake a new version instead",
                    broken.join("\n  ")
                );
            }
        }
        changed.push((path, file, value));
    }
    for (path, file, value) in &changed {
        fs::create_dir_all(file.parent().unwrap_or(folder)).with_context(|| format!("cannot write schemas/{path}"))?;
        fs::write(file, as_file(value)).with_context(|| format!("cannot write schemas/{path}"))?;
    }
    Ok(changed.into_iter().map(|(path, ..)| path).collect())
}

/// Keeps the schemas below `folder` as those of the release `version`; the number of files.
///
/// # Errors
/// They are not what the code says; the release is there already; a file that cannot be written.
pub fn freeze(folder: &Path, version: &str) -> Result<usize> {
    let faults = check(folder)?;
    if !faults.is_empty() {
        bail!("what is not in order is not released:\n  {}", faults.join("\n  "));
    }
    released::freeze(folder, version, &generated())
}
