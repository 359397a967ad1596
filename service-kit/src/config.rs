//! Settings: what the program says by default, then a file, then the environment; the later one wins.
//!
//! A key of the file such as `listen` in `[http]` is `BACKSTITCH__HTTP__LISTEN` in the environment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

/// What names of the environment begin with.
const PREFIX: &str = "BACKSTITCH";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file was asked for and is not there.
    #[error("the settings file `{0}` does not exist; create it, or leave the option out")]
    Missing(PathBuf),
    /// A key is unknown or has a value that does not fit.
    #[error("the settings are not valid: {reason}; see `backstitch serve --help`")]
    Invalid {
        /// What is wrong, with the key and where it came from.
        reason: String,
    },
}

/// Reads settings of the shape `T`, whose `Default` (by `#[serde(default)]`) fills what is not said. `file` must exist
/// if it is given; `T` should refuse unknown fields, so that a misspelt key is an error.
///
/// # Errors
/// [`ConfigError`], naming the key.
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    load_from(file, None)
}

/// As [`load`], from an environment of the test's own.
fn load_from<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: Option<HashMap<String, String>>,
) -> Result<T, ConfigError> {
    let mut builder = Config::builder();
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError::Missing(path.to_owned()));
        }
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    // Values stay text until a field asks for a number: a secret such as `0012` must not become 12 on its way.
    let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(environment);
    let settings = builder.add_source(environment).build().and_then(Config::try_deserialize);
    settings.map_err(|error| ConfigError::Invalid { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        http: Http,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Http {
        listen: String,
        workers: u32,
        open: bool,
        secret: Option<String>,
    }

    impl Default for Http {
        fn default() -> Self {
            Self { listen: "127.0.0.1:7400".to_owned(), workers: 2, open: false, secret: None }
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn what_the_file_does_not_say_is_the_default() {
        let file = file("[http]\nworkers = 8\n");
        let settings: Settings = load(Some(file.path())).unwrap();
        assert_eq!(settings, Settings { http: Http { workers: 8, ..Http::default() } });
        assert_eq!(load::<Settings>(None).unwrap(), Settings::default());
    }

    fn environment(values: &[(&str, &str)]) -> Option<HashMap<String, String>> {
        Some(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_text_stays_as_it_is() {
        let file = file("[http]\nworkers = 8\nlisten = \"a\"\n");
        let environment = environment(&[
            ("BACKSTITCH__HTTP__WORKERS", "16"),
            ("BACKSTITCH__HTTP__OPEN", "true"),
            ("BACKSTITCH__HTTP__SECRET", "0012"),
            ("BACKSTITCH_URL", "http://elsewhere"),
        ]);
        let settings: Settings = load_from(Some(file.path()), environment).unwrap();
        let secret = Some("0012".to_owned());
        assert_eq!(settings.http, Http { listen: "a".to_owned(), workers: 16, open: true, secret });
    }

    #[test]
    fn a_misspelt_key_or_value_of_the_environment_is_named() {
        for (name, value) in [("BACKSTITCH__HTTP__LISTEN_ON", "x"), ("BACKSTITCH__HTTP__WORKERS", "many")] {
            let error = load_from::<Settings>(None, environment(&[(name, value)])).unwrap_err().to_string();
            let key = name.rsplit("__").next().unwrap().to_lowercase();
            assert!(error.contains(&key), "{error}");
        }
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let file = file("[http]\nlisten_on = \"x\"\n");
        let error = load::<Settings>(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("listen_on"), "{error}");
    }

    #[test]
    fn a_file_that_is_asked_for_must_exist() {
        let error = load::<Settings>(Some(Path::new("/nonexistent/backstitch.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Missing(_)));
    }
}
