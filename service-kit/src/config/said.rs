//! The values of the settings in a file and in the environment, each with its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use config::{FileFormat, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::{ConfigError, PREFIX, SECTIONS, Shown, schema};

/// The longest file that contains one value, in bytes: a certificate chain is some 10 kB.
const MAX_VALUE_FILE: u64 = 64 * 1024;

/// The bits of a file's mode that let every user of the machine read and change it.
const READ_BY_ALL: u32 = 0o004;
const WRITTEN_BY_ALL: u32 = 0o002;

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This settings file.
    File(PathBuf),
    /// The environment variable with this name.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// One value. Below a key whose value is a table, each entry is a value of its own.
#[derive(Debug, Clone)]
struct Leaf {
    /// The path as it was spelt, such as `http`, `listen`.
    path: Vec<String>,
    value: Value,
    origin: Origin,
    /// The file whose text is the value, with its mode.
    file: Option<(PathBuf, u32)>,
}

/// A file with a secret that every user of the machine can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedFile {
    /// Name of the environment variable that names the file.
    pub variable: String,
    /// Path of the file with the secret.
    pub path: PathBuf,
    /// Mode of the file, such as `0o644`.
    pub mode: u32,
}

/// All values of the settings, before any type has read them.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The values of the file come first: a later value wins.
    leaves: Vec<Leaf>,
}

impl Said {
    /// Reads the file, if one is given, and the environment of this process.
    ///
    /// # Errors
    /// [`ConfigError`] where the file is missing or is no TOML, or a `…_FILE` names what cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        // Names or values that are not Unicode are none of ours.
        let all =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::read_from(file, all.collect())
    }

    /// As [`Said::read`], from variables that are given: for looking at what another process would be started with.
    ///
    /// # Errors
    /// As [`Said::read`].
    pub fn read_from(file: Option<&Path>, environment: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut leaves = Vec::new();
        if let Some(path) = file {
            if !path.is_file() {
                return Err(ConfigError::Missing(path.to_owned()));
            }
            leaves = taken_apart(&config::File::from(path).format(FileFormat::Toml), path)?;
        }
        for (name, value) in environment {
            leaves.extend(variable(name, value)?);
        }
        Ok(Self { leaves })
    }

    /// Reads the settings file whose text is given; `name` is its path in messages.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] where it is no TOML.
    pub fn text(text: &str, name: &Path) -> Result<Self, ConfigError> {
        Ok(Self { leaves: taken_apart(&config::File::from_str(text, FileFormat::Toml), name)? })
    }

    /// Reads the settings as a `T`, whose `Default` (by `#[serde(default)]`) fills in missing values.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every fault for `T`.
    pub fn of<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let problems = self.problems::<T>();
        if !problems.is_empty() {
            return Err(ConfigError::Invalid { reason: problems.join("; ") });
        }
        let shape = Shape::of::<T>();
        let read = self.leaves.iter().filter(|leaf| shape.reads(leaf));
        whole(&shape, read).map_err(|reason| ConfigError::Invalid { reason })
    }

    /// Lists every fault for a process whose settings have the shape `T`: unknown sections, unknown keys in its own
    /// sections, values that do not fit. Each names its key and its origin.
    pub fn problems<T: DeserializeOwned>(&self) -> Vec<String> {
        let shape = Shape::of::<T>();
        let mut found = Vec::new();
        for leaf in &self.leaves {
            let section = leaf.section();
            if !shape.sections.contains(&section.as_str()) {
                if !SECTIONS.contains(&section.as_str()) {
                    found.push(format!("there is no section `{section}` (in {})", leaf.origin));
                }
                continue;
            }
            // Alone, so that one fault does not hide the next.
            if let Err(reason) = whole::<T>(&shape, std::iter::once(leaf)) {
                found.push(format!("`{}` in {}: {reason}", shape.spelt(leaf).join("."), leaf.origin));
            }
        }
        found
    }

    /// Lists the files of secrets that a process whose settings have the shape `T` reads, and that every user can read
    /// as well.
    pub fn exposed<T: DeserializeOwned>(&self) -> Vec<ExposedFile> {
        let shape = Shape::of::<T>();
        let secret = |leaf: &&Leaf| {
            let at = shape.spelt(leaf).join(".");
            // A table of secrets is one key.
            let holds = |key: &&String| {
                at.strip_prefix(key.as_str()).is_some_and(|below| matches!(below.chars().next(), None | Some('.')))
            };
            shape.keys.iter().find(holds).is_some_and(|key| schema::shown::<T>(key) != Shown::Plain)
        };
        let exposed = |leaf: &Leaf| {
            let (path, mode) = leaf.file.clone()?;
            (mode & READ_BY_ALL != 0).then(|| ExposedFile { variable: leaf.origin.to_string(), path, mode })
        };
        self.leaves.iter().filter(secret).filter_map(exposed).collect()
    }

    /// Returns the value of `key`, as JSON, and the origin of the last one; `None` if it has no value. A table to which
    /// several origins contribute names the last of them.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<(serde_json::Value, &Origin)> {
        let shape = Shape::of::<T>();
        let wanted: Vec<&str> = key.split('.').collect();
        let of_key =
            |leaf: &&Leaf| shape.spelt(leaf).iter().map(String::as_str).take(wanted.len()).eq(wanted.iter().copied());
        let leaves: Vec<&Leaf> = self.leaves.iter().filter(of_key).collect();
        let origin = &leaves.last()?.origin;
        let mut root = serde_json::Map::new();
        for leaf in leaves {
            put(&mut root, &shape.spelt(leaf), json(&leaf.value));
        }
        let mut value = serde_json::Value::Object(root);
        for part in wanted {
            value = value.get_mut(part)?.take();
        }
        Some((value, origin))
    }
}

impl Leaf {
    fn section(&self) -> String {
        self.path.first().map(|section| self.case(section)).unwrap_or_default()
    }

    /// Names of the environment are in capitals; those of a file stay as they are.
    fn case(&self, part: &str) -> String {
        match self.origin {
            Origin::File(_) => part.to_owned(),
            Origin::Environment(_) => part.to_lowercase(),
        }
    }
}

/// What a type reads.
struct Shape {
    sections: &'static [&'static str],
    keys: Vec<String>,
}

impl Shape {
    fn of<T: DeserializeOwned>() -> Self {
        Self { sections: schema::sections::<T>(), keys: schema::keys::<T>() }
    }

    fn reads(&self, leaf: &Leaf) -> bool {
        self.sections.contains(&leaf.section().as_str())
    }

    /// The leaf's path with names of the environment in small letters, but for what is data below a key: `EUR` in
    /// `BACKSTITCH__PRICING__SHIPPING__EUR` is a currency's name.
    fn spelt(&self, leaf: &Leaf) -> Vec<String> {
        let small: Vec<String> = leaf.path.iter().map(|part| leaf.case(part)).collect();
        let key = (1..small.len()).find(|length| self.keys.contains(&small[..*length].join(".")));
        match key {
            Some(length) => small[..length].iter().chain(&leaf.path[length..]).cloned().collect(),
            None => small,
        }
    }
}

/// `T` with nothing said but `leaves`.
fn whole<'a, T: DeserializeOwned>(shape: &Shape, leaves: impl Iterator<Item = &'a Leaf>) -> Result<T, String> {
    let mut root = Value::new(None, ValueKind::Table(config::Map::new()));
    for leaf in leaves {
        set(&mut root, &shape.spelt(leaf), leaf.value.clone());
    }
    T::deserialize(root).map_err(|error| error.to_string())
}

/// Puts `value` at `path`; what was there and is no table makes way.
fn set(at: &mut Value, path: &[String], value: Value) {
    let Some((first, below)) = path.split_first() else {
        *at = value;
        return;
    };
    if !matches!(at.kind, ValueKind::Table(_)) {
        at.kind = ValueKind::Table(config::Map::new());
    }
    if let ValueKind::Table(table) = &mut at.kind {
        let empty = || Value::new(None, ValueKind::Table(config::Map::new()));
        set(table.entry(first.clone()).or_insert_with(empty), below, value);
    }
}

fn put(at: &mut serde_json::Map<String, serde_json::Value>, path: &[String], value: serde_json::Value) {
    let Some((first, below)) = path.split_first() else { return };
    if below.is_empty() {
        at.insert(first.clone(), value);
        return;
    }
    let slot = at.entry(first.clone()).or_insert_with(|| serde_json::json!({}));
    if !slot.is_object() {
        *slot = serde_json::json!({});
    }
    if let serde_json::Value::Object(table) = slot {
        put(table, below, value);
    }
}

fn json(value: &Value) -> serde_json::Value {
    value.clone().try_deserialize().unwrap_or(serde_json::Value::Null)
}

/// The values of a file.
fn taken_apart(source: &impl config::Source, name: &Path) -> Result<Vec<Leaf>, ConfigError> {
    let table =
        source.collect().map_err(|error| ConfigError::Invalid { reason: without_excerpt(&error.to_string()) })?;
    let mut leaves = Vec::new();
    flatten(table, &Origin::File(name.to_owned()), &mut Vec::new(), &mut leaves);
    Ok(leaves)
}

/// What is wrong with a file, without the lines of it that a parser shows: they may hold a secret.
fn without_excerpt(error: &str) -> String {
    let is_excerpt = |line: &str| {
        let (before, bar) = line.split_once('|').map_or((line, false), |(before, _)| (before, true));
        bar && before.trim().bytes().all(|byte| byte.is_ascii_digit())
    };
    let told: Vec<&str> = error.lines().map(str::trim).filter(|line| !line.is_empty() && !is_excerpt(line)).collect();
    told.join(": ")
}

/// Takes a table apart. An empty table says nothing, and a list is one value.
fn flatten(table: config::Map<String, Value>, origin: &Origin, path: &mut Vec<String>, found: &mut Vec<Leaf>) {
    for (name, value) in table {
        path.push(name);
        if let ValueKind::Table(below) = value.kind {
            flatten(below, origin, path, found);
        } else {
            found.push(Leaf { path: path.clone(), value, origin: origin.clone(), file: None });
        }
        path.pop();
    }
}

/// What a variable says: nothing if it is none of ours.
fn variable(name: String, value: String) -> Result<Option<Leaf>, ConfigError> {
    let Some((prefix, path)) = name.split_once("__") else {
        let url = name == "DATABASE_URL" && !value.is_empty();
        return Ok(url.then(|| leaf(&name, vec!["postgres".to_owned(), "url".to_owned()], value)));
    };
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return Ok(None);
    }
    let mut path: Vec<String> = path.split("__").map(str::to_owned).collect();
    let file =
        path.last().and_then(|key| key.strip_suffix("_FILE").or_else(|| key.strip_suffix("_file"))).map(str::to_owned);
    let (Some(key), Some(last)) = (file, path.last_mut()) else { return Ok(Some(leaf(&name, path, value))) };
    *last = key;
    let (text, mode) =
        contents(Path::new(&value)).map_err(|reason| ConfigError::Invalid { reason: format!("{name}: {reason}") })?;
    Ok(Some(Leaf { file: Some((PathBuf::from(value), mode)), ..leaf(&name, path, text) }))
}

/// Values stay text until a field asks for a number: a secret such as `0012` must not become 12 on its way.
fn leaf(name: &str, path: Vec<String>, text: String) -> Leaf {
    let (value, origin) = (Value::new(None, ValueKind::String(text)), Origin::Environment(name.to_owned()));
    Leaf { path, value, origin, file: None }
}

/// The text of a file that stands for one value, without the line break that editors put at its end; and the file's mode.
/// One that every user of the machine can change is refused: it is not known who set the value. (A device such as `/dev/null`
/// holds no value.)
fn contents(path: &Path) -> Result<(String, u32), String> {
    let file = std::fs::metadata(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    let (size, mode) = (file.len(), file.mode() & 0o7777);
    if file.is_file() && mode & WRITTEN_BY_ALL != 0 {
        let path = path.display();
        return Err(format!(
            "every user can write to `{path}` (mode {mode:04o}); if its text is right: chmod o-w {path}"
        ));
    }
    if size > MAX_VALUE_FILE {
        return Err(format!("`{}` has {size} bytes; a value has at most {MAX_VALUE_FILE}", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok((text.trim_end_matches(['\r', '\n']).to_owned(), mode))
}
