//! `backstitch bench`: how fast, beside the bare limit of what stands beneath, in the same run on the same machine.
//!
//! What is counted is durable. The generator runs on the same machine and takes its share of the cores; its processor
//! time is told apart where it has a thread of its own.

pub mod append;
pub mod classes;
pub mod clients;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod commands;
pub mod everything;
pub mod hot_stream;
pub mod limit;
pub mod lists;
pub mod lives;
pub mod load;
pub mod machine;
pub mod orders;
pub mod projection;
pub mod report;
pub mod saga;
pub mod shop;
#[cfg(feature = "cluster")]
pub mod store;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use terminal::Exit;

use self::report::Row;

/// Measures this machine: how fast, and how far from the bare limit.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch bench append                     # durable events a second, 64 clients
  backstitch bench commands --seconds 30      # POST /v1/orders over 64 connections
  backstitch bench lists                      # every filter of every list over 1 000 000 orders
  backstitch bench everything --json          # sagas and read models on, one JSON object a line

The floor of each figure is shown beside it; exit 1 says that one was missed.")]
pub struct Args {
    /// What to measure.
    #[arg(value_enum)]
    pub what: What,
    /// One JSON object a line, the machine first.
    #[arg(long)]
    pub json: bool,
    /// How long each case runs; `everything` runs for 60 s unless this says otherwise.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: Option<u64>,
    /// Clients at a time (`saga`: orders in flight, 256 unless this says otherwise).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: Option<u32>,
    /// Where the data lies meanwhile; a folder on a real disk.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// The benches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Durable appends to the log, beside SQLite's own batched insert.
    Append,
    /// Orders over HTTP, beside a bare axum; projections and sagas off.
    Commands,
    /// Reservations of one item, beside reservations of many.
    HotStream,
    /// Orders carried by their saga up to OrderConfirmed; read models off.
    Saga,
    /// One read model catching up, beside Postgres's own upsert.
    Projection,
    /// Orders with sagas and read models on, and a second start.
    Everything,
    /// Every list and each of its filters over 1 000 000 orders.
    Lists,
    /// Commands and reads of one row, while other requests flood the shop.
    Classes,
    /// The served log over loopback: appends at once and alone, a subscriber that catches up.
    Store,
    /// The same customers before one process and before clusters of processes.
    Cluster,
}

/// How a bench runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long each case runs.
    pub duration: Duration,
    /// Clients at a time.
    pub clients: usize,
    /// The folder that the data lies in; removed afterwards.
    pub folder: PathBuf,
}

impl Options {
    /// An empty folder of its own for a case.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn folder(&self, case: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(case);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(folder)
    }
}

/// What a bench found.
#[derive(Debug, Default)]
pub struct Found {
    /// The figures.
    pub rows: Vec<Row>,
    /// What must be known to read them, told on stderr.
    pub notes: Vec<String>,
}

impl Args {
    /// Runs the bench on a runtime of its own and prints what it found.
    ///
    /// # Errors
    /// If something could not be measured.
    pub async fn run(self) -> anyhow::Result<Exit> {
        // The command line's runtime has one thread; a bench needs all cores. It is not dropped while waiting.
        tokio::task::spawn_blocking(move || self.measure()).await.context("the bench panicked")?
    }

    fn measure(self) -> anyhow::Result<Exit> {
        let scratch = machine::scratch(self.dir.as_deref())?;
        let machine = machine::Machine::here(scratch.path());
        let (seconds, clients) = self.what.defaults();
        let options = Options {
            duration: Duration::from_secs(self.seconds.unwrap_or(seconds)),
            clients: self.clients.unwrap_or(clients) as usize,
            folder: scratch.path().to_path_buf(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let found = runtime.block_on(self.what.measure(&options))?;
        let reached = report::print(&machine, &found.rows, &found.notes, self.json)?;
        Ok(if reached { Exit::Done } else { Exit::No })
    }
}

impl What {
    /// Seconds and clients, unless told otherwise. Source: the floors are stated for these.
    fn defaults(self) -> (u64, u32) {
        match self {
            Self::Append
            | Self::Commands
            | Self::HotStream
            | Self::Projection
            | Self::Store
            | Self::Lists
            | Self::Classes => (10, 64),
            Self::Saga => (20, 256),
            Self::Cluster => (20, 64),
            Self::Everything => (60, 256),
        }
    }

    async fn measure(self, options: &Options) -> anyhow::Result<Found> {
        match self {
            Self::Append => append::run(options).await,
            Self::Commands => commands::run(options).await,
            Self::HotStream => hot_stream::run(options).await,
            Self::Saga => saga::run(options).await,
            Self::Projection => projection::run(options).await,
            Self::Everything => everything::run(options).await,
            Self::Lists => lists::run(options).await,
            Self::Classes => classes::run(options).await,
            #[cfg(feature = "cluster")]
            Self::Store => store::run(options).await,
            #[cfg(feature = "cluster")]
            Self::Cluster => cluster::run(options).await,
            #[cfg(not(feature = "cluster"))]
            Self::Store | Self::Cluster => Err(terminal::Failure::without_cluster("this bench")),
        }
    }
}

/// A bar for a case, on stderr, only on a terminal.
pub fn bar(what: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg:34} {bar:30} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// A bar that fills with the seconds of a case by itself; finished when dropped out of.
pub fn clock(what: &str, duration: Duration) -> ProgressBar {
    let bar = bar(what, duration.as_secs());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
