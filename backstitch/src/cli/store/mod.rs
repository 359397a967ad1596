//! `backstitch store`: the log on disk, read beside a running server or without one; or served to other processes.

mod check;
mod copy;
mod place;
mod postgres;
#[cfg(feature = "cluster")]
mod serve;

use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use clap::Subcommand;
use event_store::sqlite;
use event_store::{OpenError, StoreStats};
use serde::Serialize;
use service_kit::secret::SecretUrl;
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};

use self::place::{Log, Place};
#[cfg(not(feature = "cluster"))]
use crate::cli::clustered as serve;

/// The log on disk: check, count, back up, export, import, serve. Works beside a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch store check
  backstitch store stats --data /srv/shop --json
  backstitch store backup /backups/shop --url http://127.0.0.1:7400   # the log of that server
  backstitch store backup /backups/shop-$(date +%F)
  backstitch store backup /tmp/before --at 2026-11-21T09:55:00Z
  backstitch store export --to shop.jsonl
  backstitch store import shop.jsonl --data /srv/copy
  backstitch store serve --data /srv/log --listen 127.0.0.1:2113

Without --data and --url the verbs look into the data folder of the settings, and say on stderr which one
that is and whether a server runs on it. With --url, `stats` asks that server; `check`, `backup` and `export`
read the folder that it names, on its machine.

To restore a backup: stop the server and serve a copy of the backup's folder, or put its `events.db` in place of the one that
is lost (and remove `events.mark`, `events.db-wal` and `events.db-shm` beside it). A plain copy of the `events.db` of a running
server is not all of its log; `store backup` makes a whole one. The read models are folded again from it.")]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    verb: Verb,
}

/// Where a log is made.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Folder {
    /// The data folder [default: /var/lib/backstitch for root, else ~/.local/share/backstitch].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

impl Folder {
    /// The folder that is named, else that of the settings (`[data] dir`), which is said.
    pub(super) fn dir(&self) -> PathBuf {
        if let Some(dir) = &self.data {
            return dir.clone();
        }
        let dir = place::default_dir();
        output::note(format_args!("the data folder is {} (no --data was given)", dir.display()));
        dir
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Verifies every event (checksums, the chain, versions without holes, the indexes), and that no reader has seen more
    /// than the log holds: read models, sagas, the mark of the last clean stop. Exit 1 if it finds anything.
    Check {
        #[command(flatten)]
        log: Log,
        /// The read models' Postgres, if it is not the private one of the folder.
        #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
        postgres: Option<SecretUrl>,
    },
    /// Events, streams, bytes, and events per category.
    Stats {
        #[command(flatten)]
        log: Log,
    },
    /// Copies the log, as it is now or as it was, to a new folder that can be served, and verifies the copy.
    Backup {
        #[command(flatten)]
        log: Log,
        #[command(flatten)]
        until: copy::Until,
        /// The new folder.
        to: PathBuf,
    },
    /// Writes the log as text: JSON Lines, each with a checksum that covers the line and the one before it.
    Export {
        #[command(flatten)]
        log: Log,
        #[command(flatten)]
        what: copy::Export,
    },
    /// Restores a log from an export, into a new folder or one that an interrupted import left.
    Import {
        #[command(flatten)]
        folder: Folder,
        /// The export; `-`: stdin.
        file: PathBuf,
    },
    /// Serves the log, and nothing else, to other processes over KurrentDB's gRPC protocol.
    Serve(serve::Args),
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Check { log, postgres } => check::run(&log, postgres.as_ref()).await,
            Verb::Stats { log } => stats(&log).await,
            Verb::Backup { log, until, to } => copy::backup(&log, &to, &until).await,
            Verb::Export { log, what } => copy::export(&log, &what).await,
            Verb::Import { folder, file } => copy::import(&folder, &file),
            Verb::Serve(args) => args.run().await,
        }
    }
}

/// The numbers, and whose they are.
#[derive(Debug, Serialize)]
struct Stats {
    #[serde(flatten)]
    numbers: StoreStats,
    /// The folder of the log; none: the server that was asked does not say.
    folder: Option<PathBuf>,
    /// The server that was asked; none: the folder was read.
    server: Option<String>,
}

async fn stats(log: &Log) -> anyhow::Result<Exit> {
    let (numbers, folder, server) = match log.place().await? {
        Place::Server { url, numbers, folder } => (numbers, folder, Some(url)),
        Place::Folder(dir) => {
            let numbers = sqlite::stats(&dir).map_err(|error| no_log(&error, &dir))?;
            (numbers, Some(dir), None)
        }
    };
    let stats = Stats { numbers, folder, server };
    if log.json {
        output::json(&stats)?;
        return Ok(Exit::Done);
    }
    let stats = stats.numbers;
    let last =
        stats.last_recorded_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let mut table = Table::new(&["log", ">value"]);
    for (name, value) in [
        ("events", stats.events.to_string()),
        ("streams", stats.streams.to_string()),
        ("on disk", output::size(stats.bytes)),
        ("position", stats.position.to_string()),
        ("last event", last),
    ] {
        table.row(Tone::Plain, [name.to_owned(), value]);
    }
    table.print();
    output::line("");
    let mut table = Table::new(&["category", ">events"]);
    for (category, events) in &stats.categories {
        table.row(Tone::Plain, [category.clone(), events.to_string()]);
    }
    table.print();
    Ok(Exit::Done)
}

pub(super) fn no_log(error: &OpenError, dir: &Path) -> anyhow::Error {
    Failure::no_answer(
        error,
        format!("ls -l {}   # the folder that `serve` names; --data names another", dir.display()),
    )
}
