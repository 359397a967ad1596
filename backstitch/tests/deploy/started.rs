//! A process as a file starts it, whichever file that is; and what must hold of each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use backstitch::cli::Cli;
use backstitch::cli::processes::{self, Process};
use clap::Parser as _;
use service_kit::config::Said;

/// Ports of the programs that are not ours. Source: their manuals.
const FOREIGN: &[(&str, u16)] =
    &[("docker.kurrent.io/kurrent-latest/kurrentdb", 2113), ("apache/kafka", 9092), ("postgres", 5432)];

/// A process that a file starts.
#[derive(Debug, Clone)]
pub struct Started {
    /// The file, and what it is called there.
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Variables that it was given on purpose; the others came along in a list for all.
    pub own: BTreeSet<String>,
}

impl Started {
    pub fn is_ours(&self) -> bool {
        self.image.split(':').next() == Some("backstitch")
    }

    /// The arguments as `backstitch` takes them: every service is a binary of its own and a sub-command.
    fn arguments(&self) -> Vec<String> {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        let rest = self.command.iter().skip(usize::from(program == "backstitch")).cloned();
        std::iter::once("backstitch".to_owned()).chain(rest).collect()
    }

    /// The process that it is, by the last of its words: `backstitch projection prepare` is `prepare`.
    pub fn process(&self) -> &'static Process {
        let words = self.arguments();
        let name = words.iter().skip(1).take_while(|word| !word.starts_with('-')).last();
        let name = name.unwrap_or_else(|| panic!("{}: no sub-command in {words:?}", self.name));
        processes::named(name).unwrap_or_else(|| panic!("{}: there is no process `{name}`", self.name))
    }

    /// Where it listens.
    pub fn ports(&self) -> BTreeSet<u16> {
        if !self.is_ours() {
            let repository = self.image.rsplit_once(':').map_or(self.image.as_str(), |(repository, _)| repository);
            return FOREIGN.iter().filter(|(name, _)| *name == repository).map(|(_, port)| *port).collect();
        }
        let keys = (self.process().keys)();
        // Variables for another process that came along do not open a port here.
        let read = |name: &str| keys.contains(&key_of(name).unwrap_or_default());
        let said = self.environment.iter().filter(|(name, _)| name.ends_with("__LISTEN") && read(name));
        let arguments = self.command.iter().filter_map(|word| word.strip_prefix("--listen="));
        let addresses = said.map(|(_, address)| address.as_str()).chain(arguments);
        addresses.map(|address| address.rsplit(':').next().unwrap().parse().unwrap()).collect()
    }

    /// What is wrong with its command.
    pub fn wrong_command(&self) -> Option<String> {
        Cli::try_parse_from(self.arguments()).err().map(|error| format!("{}: {error}", self.name))
    }

    /// What is wrong with its variables: what its own settings do not take, and what it was given and does not read.
    pub fn wrong_variables(&self) -> Vec<String> {
        let process = self.process();
        // Its secrets lie in files that are not here: others of the same kind stand in for them.
        let mut files = Vec::new();
        let mut environment = BTreeMap::new();
        for (name, value) in &self.environment {
            let value = if name.ends_with("_FILE") { stand_in(value, &mut files) } else { value.clone() };
            environment.insert(name.clone(), value);
        }
        let mut wrong = match Said::read_from(None, environment) {
            Ok(said) => (process.problems)(&said),
            Err(error) => vec![error.to_string()],
        };
        let keys = (process.keys)();
        wrong.extend(self.own.iter().filter_map(|name| match key_of(name) {
            Some(key) if keys.contains(&key) => None,
            Some(key) => Some(format!("{name} is given, but `{}` does not read `{key}`", process.name)),
            None => Some(format!("{name} is given, but nothing reads it")),
        }));
        wrong.into_iter().map(|problem| format!("{}: {problem}", self.name)).collect()
    }

    /// Secrets that stand in the file itself.
    pub fn open_secrets(&self) -> Vec<String> {
        let said = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let words = self.command.iter().map(|word| word.split_once('=').unwrap_or((word, "")));
        said.chain(words)
            .filter(|(name, value)| {
                let name = name.to_lowercase();
                let secret = ["password", "secret", "token", "api_key"].iter().any(|word| name.contains(word));
                let user = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
                (secret && !name.ends_with("_file")) || user
            })
            .map(|(name, _)| format!("{}: {name}", self.name))
            .collect()
    }

    /// The `host:port` pairs that it is told to connect to.
    pub fn reaches(&self) -> Vec<(String, u16)> {
        let values = self.environment.iter().filter(|(name, _)| !name.contains("LISTEN")).map(|(_, value)| value);
        let arguments = self.command.iter().filter(|word| !word.starts_with("--listen"));
        values.chain(arguments).flat_map(|value| value.split(',')).filter_map(address).collect()
    }
}

/// `http.listen` of `BACKSTITCH__HTTP__LISTEN` and of `BACKSTITCH__HTTP__LISTEN_FILE`.
fn key_of(name: &str) -> Option<String> {
    let key = name.strip_prefix("BACKSTITCH__")?.replace("__", ".").to_lowercase();
    Some(key.strip_suffix("_file").unwrap_or(&key).to_owned())
}

/// The path of a file with a secret such as the one that `path` will have.
fn stand_in(path: &str, files: &mut Vec<tempfile::NamedTempFile>) -> String {
    let value = match path.rsplit('/').next().unwrap_or_default() {
        "event_store_url" => "kurrentdb://admin:changeit@kurrentdb:2113?tls=false",
        "postgres_url" => "postgres://backstitch:pw@postgres:5432/backstitch",
        "webhook_secret" => "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0ZXN0cw==",
        other => panic!("no secret is called `{other}`"),
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{value}").unwrap();
    files.push(file);
    files.last().unwrap().path().to_str().unwrap().to_owned()
}

/// The host and port of `http://host:port/path` (80 without one), of `--option=http://…` and of `host:port`.
fn address(text: &str) -> Option<(String, u16)> {
    let (scheme, rest) = match text.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, text),
    };
    let place = rest.split(['/', '?']).next()?;
    match place.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None if scheme && !place.is_empty() => Some((place.to_owned(), 80)),
        None => None,
    }
}

#[test]
fn addresses_are_found_in_settings() {
    for (text, found) in [
        ("http://command-service-1:7400", Some(("command-service-1", 7400))),
        ("--webhook-url=http://gateway/v1/payments", Some(("gateway", 80))),
        ("kurrentdb://a:2113?tls=false", Some(("a", 2113))),
        ("kafka:9092", Some(("kafka", 9092))),
        ("json", None),
        ("/run/secrets/webhook_secret", None),
    ] {
        assert_eq!(address(text), found.map(|(host, port)| (host.to_owned(), port)), "{text}");
    }
}
