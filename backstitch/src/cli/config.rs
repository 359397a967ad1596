//! `backstitch config`: the settings that processes would run with here, who said them, and whether they are sound.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use service_kit::config::{self, SECTIONS, Said};

use super::output::{self, Table, Tone};
use super::{Exit, Failure};
use crate::processes::{self, PROCESSES, Process};

/// Settings: what every process would run with and who said so; whether a file is sound.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All processes read one file and one environment: first the defaults, then the file, then the environment
(BACKSTITCH__SECTION__KEY, or BACKSTITCH__SECTION__KEY_FILE, which names a file with the value); the last one
wins. docs/backstitch.toml has every key.

Examples:
  backstitch config show
  backstitch config check /etc/backstitch/backstitch.toml && systemctl restart backstitch")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Every setting with its value and with who said it. Secrets are not shown.
    #[command(after_help = "\
Examples:
  backstitch config show | grep -v default           # what somebody said
  BACKSTITCH__HTTP__LISTEN=0.0.0.0:80 backstitch config show --service serve --json")]
    Show {
        /// Only what this process reads.
        #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PROCESSES.iter().map(|process| process.name)))]
        service: Option<String>,
        /// The settings file [default: backstitch.toml, if it is there].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// As JSON: an array with key, value, from, services.
        #[arg(long)]
        json: bool,
    },
    /// Names everything that is wrong with a settings file and the environment. Exits with 1 if anything is.
    #[command(after_help = "\
Example:
  backstitch config check /etc/backstitch/backstitch.toml")]
    Check {
        /// The settings file [default: backstitch.toml, if it is there].
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Only what this process reads.
        #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PROCESSES.iter().map(|process| process.name)))]
        service: Option<String>,
        /// As JSON: the file, and its problems.
        #[arg(long)]
        json: bool,
    },
}

/// One setting as it is shown.
#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    /// `null`: nobody said it, and it has no default.
    value: Value,
    /// `default`, a file's path or a variable's name.
    from: String,
    /// Who reads it.
    services: Vec<&'static str>,
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`] when the settings cannot be read at all.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Show { service, config, json } => {
                let said = read(config.as_deref())?;
                let settings = settings(&said, chosen(service.as_deref()))?;
                if json {
                    output::json(&settings)?;
                    return Ok(Exit::Done);
                }
                let mut table = Table::new(&["key", "value", "from"]);
                for setting in settings {
                    let tone = if setting.from == "default" { Tone::Faint } else { Tone::Plain };
                    table.row(tone, [setting.key, text(&setting.value), setting.from]);
                }
                table.print();
                Ok(Exit::Done)
            }
            Verb::Check { file, service, json } => check(file, chosen(service.as_deref()), json),
        }
    }
}

fn check(file: Option<PathBuf>, processes: &[Process], json: bool) -> anyhow::Result<Exit> {
    let file = config::file(file.as_deref());
    // What cannot be read at all is a problem like others: it is the answer, not the lack of one.
    let problems = match Said::read(file.as_deref()) {
        Ok(said) => problems(&said, processes),
        Err(error) => vec![error.to_string()],
    };
    let name = file.as_ref().map_or_else(|| "the environment".to_owned(), |file| file.display().to_string());
    if json {
        output::json(&serde_json::json!({ "file": file, "problems": problems }))?;
    } else if problems.is_empty() {
        output::line(format_args!("{name}: nothing is wrong"));
    } else {
        problems.iter().for_each(output::line);
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::No })
}

fn read(file: Option<&std::path::Path>) -> anyhow::Result<Said> {
    Said::read(config::file(file).as_deref()).map_err(|error| Failure::no_answer(error, "backstitch config check"))
}

/// The process of this name, which clap has looked up already; all of them without.
fn chosen(service: Option<&str>) -> &'static [Process] {
    match service.and_then(processes::named) {
        Some(process) => std::slice::from_ref(process),
        None => PROCESSES,
    }
}

/// What is wrong for any of these, each fault once.
fn problems(said: &Said, processes: &[Process]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = processes.iter().flat_map(|process| (process.problems)(said));
    all.filter(|problem| seen.insert(problem.clone())).collect()
}

/// Every setting that any of these reads, section by section.
fn settings(said: &Said, processes: &[Process]) -> anyhow::Result<Vec<Setting>> {
    let defaults = processes::defaults()?;
    let mut settings: Vec<Setting> = Vec::new();
    for process in processes {
        for key in (process.keys)() {
            if let Some(known) = settings.iter_mut().find(|setting| setting.key == key) {
                known.services.push(process.name);
                continue;
            }
            let default = || (process.get)(&defaults, &key).map(|(value, _)| value);
            let (value, from) = match (process.get)(said, &key) {
                Some((value, origin)) => (value, origin.to_string()),
                None => (default().unwrap_or(Value::Null), "default".to_owned()),
            };
            settings.push(Setting { value: masked(&key, value), key, from, services: vec![process.name] });
        }
    }
    if let Some(filter) = settings.iter_mut().find(|setting| setting.key == "log.filter")
        && let Ok(wins) = std::env::var("RUST_LOG")
    {
        (filter.value, filter.from) = (Value::String(wins), "RUST_LOG".to_owned());
    }
    let place = |setting: &Setting| SECTIONS.iter().position(|section| setting.key.split('.').next() == Some(*section));
    settings.sort_by_key(place);
    Ok(settings)
}

/// A value as it may be seen: not what is secret by its name, nor a password within a URL.
fn masked(key: &str, value: Value) -> Value {
    match value {
        Value::Object(below) => {
            Value::Object(below.into_iter().map(|(name, value)| (name.clone(), masked(&name, value))).collect())
        }
        Value::Array(entries) => Value::Array(entries.into_iter().map(|entry| masked(key, entry)).collect()),
        Value::Null => value,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let name = key.rsplit('.').next().unwrap_or_default().to_lowercase();
            if ["password", "secret", "token", "jaas"].iter().any(|word| name.contains(word)) {
                return Value::String("***".to_owned());
            }
            if let Value::String(text) = value { Value::String(without_password(&text)) } else { value }
        }
    }
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // The last `@`: a password may have one that nobody escaped. Rather hide too much than too little.
    let rest = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let shown = match rest.split_once("password=") {
        Some((before, after)) => {
            let further = after.split_once('&').map_or(String::new(), |(_, further)| format!("&{further}"));
            format!("{before}password=***{further}")
        }
        None => rest,
    };
    format!("{scheme}://{shown}")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://shop:pw@db/shop", "postgres://shop:***@db/shop"),
            ("postgres://shop:p@w:/x@db/shop", "postgres://shop:***@db/shop"),
            (
                "postgres://db/shop?user=a&password=pw&sslmode=require",
                "postgres://db/shop?user=a&password=***&sslmode=require",
            ),
            ("kurrentdb://admin:changeit@h1:2113,h2:2113?tls=false", "kurrentdb://admin:***@h1:2113,h2:2113?tls=false"),
            ("http://127.0.0.1:7401", "http://127.0.0.1:7401"),
            ("backstitch.events", "backstitch.events"),
        ] {
            assert_eq!(without_password(url), shown);
        }
        assert_eq!(masked("provider.webhook_secret", Value::String("x".to_owned())), Value::String("***".to_owned()));
        assert_eq!(masked("http.listen", Value::String("x".to_owned())), Value::String("x".to_owned()));
        let below = serde_json::json!({ "sasl_username": "shop", "SASL_PASSWORD": "pw", "urls": ["http://a:pw@b"] });
        let shown = serde_json::json!({ "sasl_username": "shop", "SASL_PASSWORD": "***", "urls": ["http://a:***@b"] });
        assert_eq!(masked("bus.client", below), shown);
    }
}
