//! `backstitch config`: the settings that processes would run with here, who said them, and whether they are sound.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::config::{self, SECTIONS, STARTED_PATH, Said, defaults, masked};
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use super::server::client::{Client, DEFAULT_URL, Target};
use crate::cli::processes::{self, PROCESSES, Process};

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
  backstitch config show --server                    # what the running server was started with
  backstitch config show --url http://10.0.0.7:7411  # what that process of a cluster runs with
  BACKSTITCH__HTTP__LISTEN=0.0.0.0:80 backstitch config show --service serve --json")]
    Show {
        /// Only what this process reads.
        #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PROCESSES.iter().map(|process| process.name)))]
        service: Option<String>,
        /// The settings file [default: backstitch.toml, if it is there].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The settings that a running server was started with, its options included, as it says itself.
        #[arg(long, conflicts_with_all = ["service", "config"])]
        server: bool,
        /// The server, or the process of a cluster, that is asked; implies --server [default: $BACKSTITCH_URL, else
        /// http://127.0.0.1:7400].
        #[arg(long, value_name = "URL", conflicts_with_all = ["service", "config"])]
        url: Option<String>,
        /// As JSON: `items` with key, value, from, services (of a server: key, value, from).
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

/// Said with what is shown: a server that runs was started with its own file, environment and options.
const OF_WHOM: &str = "\
these are the settings that a process started here, with this environment, would run with; a server that runs may have others:
backstitch config show --server asks it
";

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
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Show { server, url, json, .. } if server || url.is_some() => {
                let usual = || std::env::var("BACKSTITCH_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned());
                show_server(Target { url: url.unwrap_or_else(usual), json }).await
            }
            Verb::Show { service, config, json, .. } => {
                let said = read(config.as_deref())?;
                let settings = settings(&said, chosen(service.as_deref()))?;
                output::note(OF_WHOM);
                if json {
                    output::list(&settings, false)?;
                    return Ok(Exit::Done);
                }
                print(settings.into_iter().map(|setting| (setting.key, setting.value, setting.from)));
                Ok(Exit::Done)
            }
            Verb::Check { file, service, json } => check(file, chosen(service.as_deref()), json),
        }
    }
}

/// What a server answers about its settings.
#[derive(Debug, Deserialize)]
struct OfServer {
    process: String,
    version: String,
    items: Vec<SettingOfServer>,
}

/// One of its settings; it has masked what is secret.
#[derive(Debug, Serialize, Deserialize)]
struct SettingOfServer {
    key: String,
    value: Value,
    from: String,
}

async fn show_server(target: Target) -> anyhow::Result<Exit> {
    let OfServer { process, version, items } = Client::new(&target)?.get_as(STARTED_PATH, &[]).await?;
    output::note(format_args!("these are the settings that `{process}` {version} at {} was started with", target.url));
    if target.json {
        output::list(&items, false)?;
    } else {
        print(items.into_iter().map(|setting| (setting.key, setting.value, setting.from)));
    }
    Ok(Exit::Done)
}

/// Settings as a table: key, value, who said it.
fn print(settings: impl Iterator<Item = (String, Value, String)>) {
    let mut table = Table::new(&["key", "value", "from"]);
    for (key, value, from) in settings {
        let tone = if from == "default" { Tone::Faint } else { Tone::Plain };
        table.row(tone, [key, text(&value), from]);
    }
    table.print();
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
    let defaults = defaults()?;
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
            settings.push(Setting {
                value: masked((process.shown)(&key), value),
                key,
                from,
                services: vec![process.name],
            });
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

fn text(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
