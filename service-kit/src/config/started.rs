//! The settings that a process was started with, each with its origin, for the operator who asks the process itself.
//!
//! *Invariant:* a value is masked when it is put in here, as its type requires (crate `secret`). No secret is kept.

use std::path::Path;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use secret::{MASK, SecretUrl};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ConfigError, ExposedFile, Said, Shown, keys, shown};

/// The example settings file: every key of every process, with its default or, where there is none, as a comment.
pub const DOCUMENTED: &str = include_str!("../../../docs/backstitch.toml");

/// The path at which the process itself answers with [`Started`].
pub const PATH: &str = "/settings";
/// The variable that takes precedence over `filter` of `[log]`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Reads the defaults from `docs/backstitch.toml`.
///
/// # Errors
/// [`ConfigError`] if the file is not TOML, which a test prevents.
pub fn defaults() -> Result<Said, ConfigError> {
    Said::text(DOCUMENTED, Path::new("docs/backstitch.toml"))
}

/// One setting with its value, as it may be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Key of the setting, such as `http.listen`.
    pub key: String,
    /// Value, masked as its type requires; `null` if it is not set and has no default.
    pub value: Value,
    /// Origin of the value: `default`, the path of a file, the name of a variable or an option.
    pub from: String,
    #[serde(skip)]
    shown: Shown,
}

/// The settings that a process runs with.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Started {
    /// The process, by the name with which people start it; empty if it was not started from settings.
    process: &'static str,
    /// Version of the program.
    version: &'static str,
    items: Vec<Setting>,
    #[serde(skip)]
    exposed: Vec<ExposedFile>,
}

impl Started {
    /// Everything that a process whose settings have the shape `T` reads.
    ///
    /// # Errors
    /// As [`defaults`].
    pub fn of<T: DeserializeOwned>(process: &'static str, said: &Said) -> Result<Self, ConfigError> {
        let defaults = defaults()?;
        let setting = |key: String| {
            let (value, from) = match said.get::<T>(&key) {
                Some((value, origin)) => (value, origin.to_string()),
                None => (defaults.get::<T>(&key).map_or(Value::Null, |(value, _)| value), "default".to_owned()),
            };
            let shown = shown::<T>(&key);
            Setting { value: masked(shown, value), key, from, shown }
        };
        let items = keys::<T>().into_iter().map(setting).collect();
        let mut started = Self { process, version: env!("CARGO_PKG_VERSION"), items, exposed: said.exposed::<T>() };
        if let Some(filter) = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty()) {
            started.option("log.filter", filter, FILTER_VARIABLE);
        }
        Ok(started)
    }

    /// Logs a warning for each file of a secret that every user of the machine can read. Call it once, when logging has
    /// begun; [`Port::serve`](crate::serve::Port::serve) does so. It is no error: Kubernetes mounts secrets with mode
    /// 0644.
    pub fn warn_of_exposed(&self) {
        for ExposedFile { variable, path, mode } in &self.exposed {
            tracing::warn!(
                variable, file = %path.display(), mode = format!("{mode:04o}"),
                "every user of this machine can read a file with a secret; chmod 600, or have it mounted with mode 0400"
            );
        }
    }

    /// Sets the value of a key that an option of the command line, or a variable of its own, gives.
    pub fn option(&mut self, key: &str, value: impl Into<Value>, option: &str) {
        if let Some(setting) = self.items.iter_mut().find(|setting| setting.key == key) {
            setting.value = masked(setting.shown, value.into());
            option.clone_into(&mut setting.from);
        }
    }

    /// Sets the default of a key whose default depends on the machine or the user.
    pub fn default_value(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(setting) = self.items.iter_mut().find(|setting| setting.key == key && setting.value.is_null()) {
            setting.value = masked(setting.shown, value.into());
        }
    }

    /// The route of `GET /settings`.
    pub(crate) fn router(&self) -> Router {
        let started = Arc::new(self.clone());
        Router::new().route(PATH, get(async move || Json(Arc::clone(&started))))
    }
}

/// Masks a value as its type requires. A URL in a setting that has no credentials of its own is shown without any that
/// the URL contains.
pub fn masked(shown: Shown, value: Value) -> Value {
    match (shown, value) {
        (_, Value::Object(below)) => {
            Value::Object(below.into_iter().map(|(name, value)| (name, masked(shown, value))).collect())
        }
        (_, Value::Array(entries)) => Value::Array(entries.into_iter().map(|entry| masked(shown, entry)).collect()),
        (_, Value::Null) => Value::Null,
        (Shown::Masked, Value::Bool(_) | Value::Number(_) | Value::String(_)) => Value::String(MASK.to_owned()),
        (Shown::Url, Value::String(url)) => Value::String(SecretUrl::new(url).to_string()),
        (Shown::Url, Value::Bool(_) | Value::Number(_)) => Value::String(MASK.to_owned()),
        (Shown::Plain, Value::String(text)) => Value::String(listed(&text)),
        (Shown::Plain, value @ (Value::Bool(_) | Value::Number(_))) => value,
    }
}

fn listed(text: &str) -> String {
    let without = |part: &str| if part.contains("://") { SecretUrl::new(part).to_string() } else { part.to_owned() };
    text.split(',').map(without).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[test]
    fn a_value_is_shown_as_its_type_allows() {
        let masks = |shown, value: Value| masked(shown, value);
        assert_eq!(masks(Shown::Masked, Value::String("x".to_owned())), Value::String("***".to_owned()));
        assert_eq!(masks(Shown::Masked, Value::from(4711)), Value::String("***".to_owned()));
        assert_eq!(masks(Shown::Url, "postgres://a:pw@b/c".into()), Value::from("postgres://a:***@b/c"));
        assert_eq!(masks(Shown::Plain, "backstitch.events".into()), Value::from("backstitch.events"));
        assert_eq!(masks(Shown::Plain, "http://a:1,http://b:pw@c".into()), Value::from("http://a:1,http://b:***@c"));
        let below = serde_json::json!({ "sasl_username": "shop", "ssl_key_pem": "-----BEGIN" });
        assert_eq!(masks(Shown::Masked, below), serde_json::json!({ "sasl_username": "***", "ssl_key_pem": "***" }));
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Settings {
        data: Data,
        postgres: Postgres,
        run: Run,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Data {
        dir: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Postgres {
        url: Option<SecretUrl>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields are asked for")]
    struct Run {
        sagas: bool,
    }

    #[test]
    fn a_process_tells_each_value_with_who_said_it_and_an_option_wins() {
        let variable = ("DATABASE_URL".to_owned(), "postgres://shop:geheim@db/shop".to_owned());
        let said = Said::read_from(None, BTreeMap::from([variable])).unwrap();
        let mut started = Started::of::<Settings>("serve", &said).unwrap();
        started.option("run.sagas", false, "--no-sagas");
        started.default_value("data.dir", "/srv/shop");
        started.default_value("run.sagas", true);
        let told = serde_json::to_value(&started).unwrap();
        let expected = serde_json::json!([
            { "key": "data.dir", "value": "/srv/shop", "from": "default" },
            { "key": "postgres.url", "value": "postgres://shop:***@db/shop", "from": "DATABASE_URL" },
            { "key": "run.sagas", "value": false, "from": "--no-sagas" },
        ]);
        assert_eq!((&told["process"], &told["items"]), (&"serve".into(), &expected));
        started.option("postgres.url", "postgres://shop:geheim@db/other", "--postgres");
        assert!(!serde_json::to_string(&started).unwrap().contains("geheim"), "an option is masked as well");
    }
}
