//! Which log a verb of `store` looks at: the folder that was named, that of a server that was named, or that of the settings.
//!
//! *Invariant:* a folder that nobody named is told on stderr before it is read, with whether a server runs on it; one that a
//! server names is read only if it is that server's here, on this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use all_in_one::config;
use chrono::{DateTime, Utc};
use event_store::sqlite::{self, LOG_FILE, LogFile};
use event_store::{Position, StoreStats};
use serde::Deserialize;
use service_kit::health::HealthReport;
use terminal::{Failure, output};

use crate::cli::server::client::{Client, DEFAULT_URL, Target};

/// How long the server at the usual address may take to say which log it has, where nobody named it: only a note hangs on it.
const NOTE_WITHIN: Duration = Duration::from_secs(2);
/// The dependency of `/health` whose detail is the file of the embedded log.
const EVENT_LOG: &str = "event-log";

/// Which log.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Log {
    /// The data folder; wins over --url [default: that of the settings: /var/lib/backstitch for root, else
    /// ~/.local/share/backstitch].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The running server whose log it is.
    #[arg(long, env = "BACKSTITCH_URL", value_name = "URL")]
    url: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where numbers about a log come from.
#[derive(Debug)]
pub(super) enum Place {
    /// They are the answer of a server.
    Server { url: String, numbers: StoreStats, folder: Option<PathBuf> },
    /// They are to be read in this folder.
    Folder(PathBuf),
}

/// The data folder of the settings.
pub(super) fn default_dir() -> PathBuf {
    config::load(None).map_or_else(|_| config::default_dir(), |settings| settings.data.dir)
}

impl Log {
    /// Where the numbers of the log are found: at the server that was named, or that runs on the folder at the usual address.
    pub(super) async fn place(&self) -> anyhow::Result<Place> {
        match (&self.data, &self.url) {
            (Some(dir), _) => Ok(Place::Folder(dir.clone())),
            (None, Some(url)) => {
                let server = Server::at(url)?;
                let (numbers, folder) = (server.numbers().await?, server.folder().await?);
                match &folder {
                    Some(folder) => {
                        output::note(format_args!("the server at {url} answers, whose log is in {}", folder.display()))
                    }
                    None => output::note(format_args!("the server at {url} answers; it does not say where its log is")),
                }
                Ok(Place::Server { url: url.clone(), numbers, folder })
            }
            (None, None) => {
                let dir = default_dir();
                let usual = note_default(&dir).await;
                let Some(server) = usual else { return Ok(Place::Folder(dir)) };
                let numbers = server.numbers().await?;
                Ok(Place::Server { url: server.url, numbers, folder: Some(dir) })
            }
        }
    }

    /// The folder to read.
    pub(super) async fn dir(&self) -> anyhow::Result<PathBuf> {
        match (&self.data, &self.url) {
            (Some(dir), _) => Ok(dir.clone()),
            (None, Some(url)) => {
                let dir = Server::at(url)?.folder_here().await?;
                output::note(format_args!("looking into {}, on which the server at {url} runs", dir.display()));
                Ok(dir)
            }
            (None, None) => {
                let dir = default_dir();
                note_default(&dir).await;
                Ok(dir)
            }
        }
    }
}

/// Says which folder is meant where nobody named one, and which server there is. The server at the usual address, if it runs
/// on this folder.
async fn note_default(dir: &Path) -> Option<Server> {
    let runs = if sqlite::is_served(dir) { "a server is running on it" } else { "no server is running on it" };
    let usual = Server::at(DEFAULT_URL).ok();
    let of_usual = match &usual {
        Some(server) => tokio::time::timeout(NOTE_WITHIN, server.folder()).await.ok().and_then(Result::ok).flatten(),
        None => None,
    };
    let (here, elsewhere) = match of_usual {
        Some(folder) => (is_same(&folder, dir), Some(folder)),
        None => (false, None),
    };
    let whose = if here { format!(", at {DEFAULT_URL}") } else { String::new() };
    output::note(format_args!(
        "the data folder is {} (neither --data nor --url was given); {runs}{whose}",
        dir.display()
    ));
    if let Some(folder) = elsewhere.filter(|_| !here) {
        let other = folder.display();
        output::note(format_args!(
            "the server at {DEFAULT_URL} has its log elsewhere, in {other}: --url {DEFAULT_URL} or --data {other} means that one"
        ));
    }
    usual.filter(|_| here)
}

/// Whether two names are those of one folder.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// A running server that is asked about its log.
struct Server {
    url: String,
    client: Client,
}

/// What `GET /v1/store/stats` answers.
#[derive(Debug, Deserialize)]
struct Numbers {
    events: u64,
    streams: u64,
    bytes: u64,
    position: u64,
    last_recorded_at: Option<DateTime<Utc>>,
    categories: BTreeMap<String, u64>,
}

impl Server {
    fn at(url: &str) -> anyhow::Result<Self> {
        let client = Client::new(&Target { url: url.to_owned(), json: false })?;
        Ok(Self { url: url.to_owned(), client })
    }

    async fn numbers(&self) -> anyhow::Result<StoreStats> {
        let found: Numbers = self.client.get_as("/v1/store/stats", &[]).await?;
        let Numbers { events, streams, bytes, position, last_recorded_at, categories } = found;
        let (position, categories) = (Position(position), categories.into_iter().collect());
        Ok(StoreStats { events, streams, bytes, position, last_recorded_at, categories })
    }

    /// The folder of the log that is embedded in the server; none: it has no such log, or it does not know of it just now.
    async fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        let health: HealthReport = self.client.get_as("/health", &[]).await?;
        let file = health.dependencies.get(EVENT_LOG).and_then(|log| log.detail.as_ref()).map(PathBuf::from);
        let file = file.filter(|file| file.file_name().is_some_and(|name| name == LOG_FILE));
        Ok(file.and_then(|file| file.parent().map(Path::to_owned)))
    }

    /// The folder of the server's log, if it is one of this machine: its server runs, and its log is as long as the server
    /// says. The same path of another machine, or of a container, would be another log.
    async fn folder_here(&self) -> anyhow::Result<PathBuf> {
        let Some(dir) = self.folder().await? else {
            let what =
                format!("the server at {} does not say where its log is: it may be that of another process", self.url);
            return Err(Failure::no_answer(
                what,
                "--data DIR   # the folder of `backstitch serve` or `backstitch store serve`",
            ));
        };
        let foreign = |why: &dyn fmt::Display| {
            let (url, folder) = (&self.url, dir.display());
            Failure::no_answer(
                format!("the server at {url} has its log in {folder}, but {why}"),
                format!("run this where the server runs; --data {folder} looks there all the same"),
            )
        };
        if !sqlite::is_served(&dir) {
            return Err(foreign(&"no server runs on that folder of this machine"));
        }
        let before = self.numbers().await?.position;
        let here = LogFile::open_as_it_is(&dir).map_err(|error| foreign(&error))?.head();
        let after = self.numbers().await?.position;
        match here {
            Ok(here) if (before..=after).contains(&here) => Ok(dir),
            Ok(here) => Err(foreign(&format_args!(
                "the one of this machine ends at position {here} and the server's at {after}: it is another log"
            ))),
            Err(error) => Err(foreign(&error)),
        }
    }
}
