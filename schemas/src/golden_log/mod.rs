//! Golden logs: a whole log of each release, with what it folded to. Every later program must fold it to the same, for
//! ever; no test ever writes one again.
//!
//! `schemas/golden-logs/<version>.jsonl` is an export of a real run; `<version>.hashes.json` beside it says, for each
//! stream and each table, a hash of the facts that it folded to. Facts are named one by one (`facts.rs`, `rows.rs`), never
//! a whole state or row: a field or column that is added later changes none of them, a fold that says something else does.
//!
//! Where what was kept was itself wrong it is put right, here and nowhere else: the hashes of `sales_by_day` of 0.1.0 and
//! 0.2.0 were made by a fold that left out late captures and counted rejected orders as sales; they are those of the sums
//! that the same events have. No event and no state of a stream was concerned.
//!
//! *Invariant:* [`keep`] refuses to overwrite. A change of a fold that changes a hash breaks what was promised to old
//! logs: it needs a new event or a new version of one.

pub mod facts;
mod rows;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use event_store::{RecordedEvent, export};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{as_file, released};

/// The result of folding a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Number of events in the log.
    pub events: usize,
    /// By stream, the hash of its facts.
    pub streams: BTreeMap<String, String>,
    /// By table of the read models, the number of rows and the hash of their facts.
    pub tables: BTreeMap<String, Table>,
}

/// A table of the read models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Number of rows in the table.
    pub rows: usize,
    /// Hash of the facts of the rows.
    pub hash: String,
}

/// The golden logs below `folder`, by version.
///
/// # Errors
/// The folder cannot be listed.
pub fn versions(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(logs(folder)).with_context(|| format!("cannot list {}", logs(folder).display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(name.strip_suffix(".jsonl").filter(|version| released::is_version(version)).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

/// The events of a version's golden log, each line verified.
///
/// # Errors
/// There is none; it is not what was written.
pub fn events(folder: &Path, version: &str) -> Result<Vec<RecordedEvent>> {
    read(&log_file(folder, version))
}

/// What a version's golden log folded to when it was kept.
///
/// # Errors
/// There is none; it cannot be read.
pub fn kept(folder: &Path, version: &str) -> Result<Hashes> {
    let file = hashes_file(folder, version);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} does not hold hashes", file.display()))
}

/// What an export folds to with the program of today. Makes its read models in the empty database at `database`.
///
/// # Errors
/// A line that is not what was written, an event that cannot be read, read models that cannot be made.
pub async fn fold(file: &Path, database: &str) -> Result<Hashes> {
    let events = read(file)?;
    let streams = facts::of(&events)?.into_iter().map(|(stream, facts)| (stream, hash(&facts)));
    let tables = rows::of(file, database).await?;
    let table = |(name, rows): (&str, Vec<Value>)| {
        (name.to_owned(), Table { rows: rows.len(), hash: hash(&Value::Array(rows)) })
    };
    Ok(Hashes { events: events.len(), streams: streams.collect(), tables: tables.into_iter().map(table).collect() })
}

/// Keeps an export as the golden log of a version, with what it folds to now; the two files.
///
/// # Errors
/// There is one of that version; the export is not whole or cannot be folded; a file cannot be written.
pub async fn keep(folder: &Path, version: &str, from: &Path, database: &str) -> Result<[PathBuf; 2]> {
    ensure!(released::is_version(version), "`{version}` is not a version: give three numbers, such as 0.2.0");
    let (log, hashes) = (log_file(folder, version), hashes_file(folder, version));
    let there = log.exists() || hashes.exists();
    ensure!(!there, "{version} has its golden log already, and it stays as it is: take the next version");
    let folded = serde_json::to_value(fold(from, database).await?)?;
    fs::create_dir_all(logs(folder)).context("cannot make the folder of golden logs")?;
    // The log last: without it there is no golden log, whatever lies beside it.
    fs::write(&hashes, as_file(&folded)).with_context(|| format!("cannot write {}", hashes.display()))?;
    fs::copy(from, &log).with_context(|| format!("cannot write {}", log.display()))?;
    Ok([log, hashes])
}

/// The file of a version's golden log.
pub fn log_file(folder: &Path, version: &str) -> PathBuf {
    logs(folder).join(format!("{version}.jsonl"))
}

fn hashes_file(folder: &Path, version: &str) -> PathBuf {
    logs(folder).join(format!("{version}.hashes.json"))
}

fn logs(folder: &Path) -> PathBuf {
    folder.join("golden-logs")
}

fn read(file: &Path) -> Result<Vec<RecordedEvent>> {
    let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    export::read(BufReader::new(input)).with_context(|| format!("{} is not a whole export", file.display()))
}

/// SHA-256 (the first 16 hex digits: enough to notice a change) of the value with the fields of its objects in order.
fn hash(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            for (name, value) in fields {
                text.push_str(&format!("{name:?}:"));
                canonical(value, text);
            }
            text.push(';');
        }
        Value::Array(items) => {
            text.push('[');
            items.iter().for_each(|item| canonical(item, text));
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
            text.push(',');
        }
    }
}
