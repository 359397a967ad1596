//! Settings: what the program says by default, then a file, then the environment; the later one wins.
//!
//! A key of the file such as `listen` in `[http]` is `BACKSTITCH__HTTP__LISTEN` in the environment. A secret need not
//! stand there: `BACKSTITCH__POSTGRES__URL_FILE` names a file whose text is the value. `DATABASE_URL` is
//! `url` in `[postgres]`.
//!
//! All processes read one file and may be given one environment. A process takes its own sections from it; of the others
//! it only asks that there is such a section ([`SECTIONS`]). In its own, a key that nobody knows is an error.

mod said;
mod schema;
mod started;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};

pub use said::{ExposedFile, Origin, Said};
pub use schema::{Shown, keys, sections, shown};
pub use started::{DOCUMENTED, PATH as STARTED_PATH, Setting, Started, defaults, masked};

/// What names of the environment begin with.
const PREFIX: &str = "BACKSTITCH";

/// The sections of all processes. A section belongs to one crate, which has its type; `docs/backstitch.toml` has its keys.
pub const SECTIONS: &[&str] = &[
    "http",
    "limits",
    "pricing",
    "data",
    "postgres",
    "projections",
    "provider",
    "saga",
    "log",
    "run",
    "event_store",
    "bus",
    "grpc",
    "command",
    "gateway",
];

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file was asked for and is not there.
    #[error("the settings file `{0}` does not exist; create it, or leave the option out")]
    Missing(PathBuf),
    /// A section or key is unknown, or has a value that does not fit.
    #[error("the settings are not valid: {reason}; see `backstitch config show`")]
    Invalid {
        /// What is wrong, with the key and where it came from; several faults are parted by `; `.
        reason: String,
    },
}

/// The file to read: the one that was asked for, else `backstitch.toml` in this folder if there is one.
pub fn file(asked: Option<&Path>) -> Option<PathBuf> {
    let here = Path::new("backstitch.toml");
    asked.or_else(|| here.is_file().then_some(here)).map(Path::to_owned)
}

/// Reads settings of the shape `T`: a struct with a field for each of its sections, whose `Default` (by
/// `#[serde(default)]`) fills what is not said. `file` must exist if it is given; a section's type should refuse unknown
/// fields, so that a misspelt key is an error.
///
/// # Errors
/// [`ConfigError`], naming every key at fault.
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    Said::read(file)?.of()
}

/// The same, with what the process is to tell of them.
///
/// # Errors
/// As [`load`].
pub fn load_to_tell<T: DeserializeOwned>(
    process: &'static str,
    file: Option<&Path>,
) -> Result<(T, Started), ConfigError> {
    let said = Said::read(file)?;
    Ok((said.of()?, Started::of::<T>(process, &said)?))
}

/// For `#[serde(deserialize_with = "service_kit::config::list")]`: a list, or text with commas between its entries, which
/// is how the environment says one. Blanks around an entry and empty entries do not count.
///
/// # Errors
/// Those of the list's entries.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Said {
        Text(String),
        List(Vec<String>),
    }
    match Said::deserialize(deserializer)
        .map_err(|_| de::Error::custom("give a list, or text with commas in between"))?
    {
        Said::List(entries) => Ok(entries),
        Said::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
        }
    }
}

/// For `#[serde(deserialize_with = "service_kit::config::within::<1, 300, _, _>")]`: a whole number from `MIN` to `MAX`. Every
/// duration and every count among the settings has such a range: a wait of 0 spins, a bound of 0 lets nothing pass, and what
/// is far too large overflows or waits for ever.
///
/// # Errors
/// The value is not a whole number, or is out of the range; both ends are named.
pub fn within<'de, const MIN: i64, const MAX: i64, N, D>(deserializer: D) -> Result<N, D::Error>
where
    N: Deserialize<'de> + Copy + fmt::Display + TryInto<i64>,
    D: Deserializer<'de>,
{
    let number = N::deserialize(deserializer)?;
    match number.try_into() {
        Ok(value) if (MIN..=MAX).contains(&value) => Ok(number),
        Ok(_) | Err(_) => Err(de::Error::custom(format!("must be between {MIN} and {MAX}, got {number}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Settings {
        http: Http,
        pricing: Pricing,
        postgres: Postgres,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Http {
        listen: String,
        #[serde(deserialize_with = "within::<1, 64, _, _>")]
        workers: u32,
        open: bool,
        secret: Option<String>,
        #[serde(deserialize_with = "list")]
        peers: Vec<String>,
    }

    impl Default for Http {
        fn default() -> Self {
            let (listen, peers) = ("127.0.0.1:7400".to_owned(), Vec::new());
            Self { listen, workers: 2, open: false, secret: None, peers }
        }
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Pricing {
        shipping: BTreeMap<String, i64>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Postgres {
        url: Option<String>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn environment(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read(text: &str, values: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        Said::read_from(Some(file(text).path()), environment(values))?.of()
    }

    #[test]
    fn what_the_file_does_not_say_is_the_default() {
        let settings = read("[http]\nworkers = 8\n", &[]).unwrap();
        assert_eq!(settings, Settings { http: Http { workers: 8, ..Http::default() }, ..Settings::default() });
        let nothing: Settings = Said::read_from(None, BTreeMap::new()).unwrap().of().unwrap();
        assert_eq!(nothing, Settings::default());
    }

    #[test]
    fn the_environment_wins_over_the_file_and_text_stays_as_it_is() {
        let said = [
            ("BACKSTITCH__HTTP__WORKERS", "16"),
            ("BACKSTITCH__HTTP__OPEN", "true"),
            ("BACKSTITCH__HTTP__SECRET", "0012"),
            ("BACKSTITCH__HTTP__PEERS", "http://a, http://b,"),
            ("BACKSTITCH_URL", "http://elsewhere"),
            ("BACKSTITCHES__HTTP__WORKERS", "17"),
        ];
        let settings = read("[http]\nworkers = 8\nlisten = \"a\"\npeers = [\"c\"]\n", &said).unwrap();
        let (secret, peers) = (Some("0012".to_owned()), vec!["http://a".to_owned(), "http://b".to_owned()]);
        assert_eq!(settings.http, Http { listen: "a".to_owned(), workers: 16, open: true, secret, peers });
    }

    #[test]
    fn sections_of_other_processes_are_passed_by_and_unknown_ones_are_named() {
        let theirs = read("[gateway]\nlisten = \"a\"\n[bus]\n", &[("BACKSTITCH__EVENT_STORE__URL", "kurrentdb://x")]);
        assert_eq!(theirs.unwrap(), Settings::default());
        let error = read("[gatewya]\nlisten = \"a\"\n", &[("BACKSTITCH__HTPT__LISTEN", "x")]).unwrap_err().to_string();
        assert!(error.contains("`gatewya`") && error.contains("`htpt`"), "{error}");
        assert!(error.contains("BACKSTITCH__HTPT__LISTEN") && error.contains(".toml"), "{error}");
    }

    #[test]
    fn every_fault_is_named_with_its_key_and_its_place() {
        let said =
            [("BACKSTITCH__HTTP__WORKERS", "many"), ("BACKSTITCH__HTTP__LISTEN_ON", "x"), ("BACKSTITCH__HTTP", "y")];
        let error = read("[http]\nopened = true\n[pricing]\nshipping = 3\n", &said).unwrap_err().to_string();
        for named in [
            "`http.workers`",
            "`http.listen_on`",
            "`http`",
            "`http.opened`",
            "`pricing.shipping`",
            "__WORKERS",
            ".toml",
        ] {
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn a_number_out_of_its_range_is_refused_by_name_with_both_ends() {
        for (text, said) in [("[http]\nworkers = 0\n", vec![]), ("", vec![("BACKSTITCH__HTTP__WORKERS", "0")])] {
            let error = read(text, &said).unwrap_err().to_string();
            assert!(error.contains("`http.workers`"), "{error}");
            assert!(error.contains("must be between 1 and 64, got 0"), "{error}");
        }
        assert!(read("[http]\nworkers = 65\n", &[]).is_err());
        assert_eq!(read("[http]\nworkers = 64\n", &[]).unwrap().http.workers, 64);
    }

    #[test]
    fn what_stands_below_a_key_keeps_its_capitals() {
        let settings =
            read("[pricing]\nshipping = { USD = 590 }\n", &[("BACKSTITCH__PRICING__SHIPPING__EUR", "490")]).unwrap();
        assert_eq!(settings.pricing.shipping, BTreeMap::from([("EUR".to_owned(), 490), ("USD".to_owned(), 590)]));
    }

    #[test]
    fn a_secret_may_lie_in_a_file_of_its_own() {
        let secret = file("postgres://shop:pw@db/shop\n");
        let path = secret.path().to_str().unwrap();
        let settings = read("", &[("BACKSTITCH__POSTGRES__URL_FILE", path)]).unwrap();
        assert_eq!(settings.postgres.url.as_deref(), Some("postgres://shop:pw@db/shop"));
        let error = read("", &[("BACKSTITCH__POSTGRES__URL_FILE", "/nonexistent/url")]).unwrap_err().to_string();
        assert!(error.contains("BACKSTITCH__POSTGRES__URL_FILE") && error.contains("/nonexistent/url"), "{error}");
    }

    /// Settings with secrets by type.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct WithSecrets {
        postgres: ByUrl,
        http: Http,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct ByUrl {
        url: Option<secret::SecretUrl>,
    }

    #[test]
    fn a_secret_file_that_all_can_read_is_told_and_one_that_all_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let secret = file("postgres://shop:pw@db/shop\n");
        let path = secret.path().to_str().unwrap();
        let exposed = |mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            let names =
                ["BACKSTITCH__POSTGRES__URL_FILE", "BACKSTITCH__HTTP__LISTEN_FILE", "BACKSTITCH__BUS__KEY_FILE"];
            let said = Said::read_from(None, environment(&names.map(|name| (name, path))));
            said.map(|said| said.exposed::<WithSecrets>()).map_err(|error| error.to_string())
        };
        assert_eq!((exposed(0o600), exposed(0o640)), (Ok(vec![]), Ok(vec![])));
        let (variable, path_) = ("BACKSTITCH__POSTGRES__URL_FILE".to_owned(), secret.path().to_owned());
        assert_eq!(exposed(0o644), Ok(vec![ExposedFile { variable, path: path_, mode: 0o644 }]));
        let refused = exposed(0o646).unwrap_err();
        for part in ["_FILE", "(mode 0646)", &format!("chmod o-w {path}")] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(!refused.contains("pw@"), "{refused}");
    }

    #[test]
    fn the_database_s_usual_name_wins() {
        let said = [("BACKSTITCH__POSTGRES__URL", "postgres://a"), ("DATABASE_URL", "postgres://b")];
        assert_eq!(read("", &said).unwrap().postgres.url.as_deref(), Some("postgres://b"));
        assert_eq!(read("", &[("DATABASE_URL", "")]).unwrap().postgres.url, None);
    }

    #[test]
    fn a_value_is_shown_with_the_place_that_said_it_last() {
        let file = file("[http]\nworkers = 8\nlisten = \"a\"\n[pricing]\nshipping = { USD = 590 }\n");
        let said = [("BACKSTITCH__HTTP__WORKERS", "16"), ("BACKSTITCH__PRICING__SHIPPING__EUR", "490")];
        let said = Said::read_from(Some(file.path()), environment(&said)).unwrap();
        let get = |key| said.get::<Settings>(key).map(|(value, origin)| (value.to_string(), origin.clone()));
        assert_eq!(get("http.listen"), Some(("\"a\"".to_owned(), Origin::File(file.path().to_owned()))));
        assert_eq!(
            get("http.workers"),
            Some(("\"16\"".to_owned(), Origin::Environment("BACKSTITCH__HTTP__WORKERS".to_owned())))
        );
        assert_eq!(get("http.open"), None);
        assert_eq!(get("pricing.shipping").unwrap().0, r#"{"EUR":"490","USD":590}"#);
    }

    #[test]
    fn an_error_in_a_file_names_the_line_and_does_not_repeat_it() {
        let error = read("[http]\nsecret = \"geheim\nlisten = 1\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn a_file_that_is_asked_for_must_exist() {
        let error = load::<Settings>(Some(Path::new("/nonexistent/backstitch.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Missing(_)));
    }
}
