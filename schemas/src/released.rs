//! The schemas of the releases, kept in `schemas/released/<version>/`: what was written under any of them is read for
//! ever.
//!
//! *Invariant:* the folder of a release never changes: [`freeze`] refuses to overwrite. A version of an event or a
//! command that was once released neither goes nor changes but as `compat.rs` allows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{as_file, compat, http_compat, proto_compat};

/// What data of a release is made of: events, and the commands that sagas have stored to send them again.
const FROZEN: [&str; 2] = ["events/", "commands/"];

/// The HTTP contract, which a client of a release was generated from.
const HTTP: &str = "openapi.json";

/// The changes from any release to `generated` (by path below `schemas/`) that data of that release cannot follow.
///
/// # Errors
/// A file that cannot be read or is not JSON.
pub fn breaks(folder: &Path, generated: &BTreeMap<String, Value>) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for version in versions(folder)? {
        for (path, old) in files_of(folder, &version)? {
            match generated.get(&path) {
                Some(new) => faults.extend(
                    compat::breaks(&old, new)
                        .into_iter()
                        .map(|what| format!("schemas/{path}: {what}; {version} wrote it, make a new version instead")),
                ),
                None => faults.push(format!("schemas/{path} is gone, and {version} wrote it: it is read for ever")),
            }
        }
    }
    Ok(faults)
}

/// The changes from any release to what is below `folder`'s `proto/` that a program built from that release cannot follow.
///
/// # Errors
/// A file that cannot be read or is not protobuf.
pub fn proto_breaks(folder: &Path) -> Result<Vec<String>> {
    let now = proto_compat::read(folder)?;
    let mut faults = Vec::new();
    for version in versions(folder)? {
        let then = proto_compat::read(&folder.join("released").join(&version))?;
        let broken = proto_compat::breaks(&then, &now).into_iter();
        faults.extend(broken.map(|what| format!("schemas/proto: {what}; {version} has it, add beside it instead")));
    }
    Ok(faults)
}

/// The changes of the HTTP contract since the last release that a client notices and that `http-changes.md` does not name.
///
/// # Errors
/// A file that cannot be read or is not JSON.
pub fn http_breaks(folder: &Path, generated: &BTreeMap<String, Value>) -> Result<Vec<String>> {
    let told = read_if_there(&folder.join(http_compat::FILE))?.unwrap_or_default();
    for version in versions(folder)?.iter().rev() {
        let Some(text) = read_if_there(&folder.join("released").join(version).join(HTTP))? else { continue };
        let old = serde_json::from_str(&text).with_context(|| format!("{version}/{HTTP} is not JSON"))?;
        let changes = generated.get(HTTP).map(|new| http_compat::breaks(&old, new)).unwrap_or_default();
        return Ok(http_compat::untold(&changes, &told, version));
    }
    Ok(http_compat::untold(&[], &told, "no release"))
}

/// The text of a file; none where there is no file.
fn read_if_there(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Keeps what is in `generated`, and the files below `proto/`, as the release `version`; the number of files.
///
/// # Errors
/// A release of that version is there already; a version that is not a folder's name; a file that cannot be written.
pub fn freeze(folder: &Path, version: &str, generated: &BTreeMap<String, Value>) -> Result<usize> {
    ensure!(is_version(version), "`{version}` is not a version: give three numbers, such as 0.2.0");
    let target = folder.join("released").join(version);
    ensure!(!target.exists(), "{version} is frozen already, and what is released never changes: take the next version");
    // Put together beside it and renamed: half a release cannot be left behind.
    let draft = folder.join("released").join(format!(".{version}"));
    let mut count = 0;
    let is_kept = |path: &str| path == HTTP || FROZEN.iter().any(|part| path.starts_with(part));
    for (path, value) in generated.iter().filter(|(path, _)| is_kept(path)) {
        let file = draft.join(path);
        fs::create_dir_all(file.parent().unwrap_or(&draft)).with_context(|| format!("cannot write {path}"))?;
        fs::write(&file, as_file(value)).with_context(|| format!("cannot write {}", file.display()))?;
        count += 1;
    }
    for path in proto_compat::files(folder)? {
        let (from, to) = (folder.join(proto_compat::FOLDER).join(&path), draft.join(proto_compat::FOLDER).join(&path));
        fs::create_dir_all(to.parent().unwrap_or(&draft)).with_context(|| format!("cannot write {path}"))?;
        fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        count += 1;
    }
    fs::rename(&draft, &target).with_context(|| format!("cannot make {}", target.display()))?;
    Ok(count)
}

/// The versions that are frozen, oldest first.
///
/// # Errors
/// The folder cannot be listed, other than for being absent.
pub fn versions(folder: &Path) -> Result<Vec<String>> {
    let mut found: Vec<String> = list(&folder.join("released"))?.into_iter().filter(|name| is_version(name)).collect();
    let numbers = |name: &String| name.split('.').map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>();
    found.sort_by_key(numbers); // 0.10.0 is after 0.9.0.
    Ok(found)
}

/// Three numbers with points between: a name that is no path.
pub(crate) fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').count() == 3 && text.split('.').all(number)
}

/// The files of a release by their path below it, as the generated ones are named.
fn files_of(folder: &Path, version: &str) -> Result<Vec<(String, Value)>> {
    let release = folder.join("released").join(version);
    let mut found = Vec::new();
    for part in FROZEN {
        for aggregate in list(&release.join(part))? {
            for name in list(&release.join(part).join(&aggregate))? {
                let path = format!("{part}{aggregate}/{name}");
                let text = fs::read_to_string(release.join(&path)).with_context(|| format!("cannot read {path}"))?;
                let value = serde_json::from_str(&text).with_context(|| format!("{version}/{path} is not JSON"))?;
                found.push((path, value));
            }
        }
    }
    Ok(found)
}

/// The names in a folder; none where there is no folder.
fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
