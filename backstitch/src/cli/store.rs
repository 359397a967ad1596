//! `backstitch store`: the log on disk, read beside a running server or without one.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use clap::Subcommand;
use event_store::sqlite::{self, BackupError, BackupStep, CheckReport, Until};
use event_store::{OpenError, Position};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{self, Table, Tone};
use super::{Exit, Failure};
use crate::config;

/// The log on disk: check, count, back up. Works beside a running server.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  backstitch store check
  backstitch store stats --data /srv/shop --json
  backstitch store backup /backups/shop-$(date +%F).db

To restore a backup: stop the server, put the copy as `events.db` into an empty folder, serve that folder. The read
models are folded again from it.")]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    verb: Verb,
}

/// Which log.
#[derive(Debug, Clone, clap::Args)]
struct Folder {
    /// The data folder [default: /var/lib/backstitch for root, else ~/.local/share/backstitch].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Folder {
    fn dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(config::default_dir)
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Verifies every event: checksums, the chain, versions without holes, SQLite's own structure. Exit 1 if it finds
    /// anything.
    Check {
        #[command(flatten)]
        folder: Folder,
    },
    /// Events, streams, bytes, and events per category.
    Stats {
        #[command(flatten)]
        folder: Folder,
    },
    /// Copies the log to a new file and verifies the copy.
    Backup {
        #[command(flatten)]
        folder: Folder,
        /// The new file.
        to: PathBuf,
    },
}

impl Args {
    /// Runs the verb.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn run(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Check { folder } => check(&folder),
            Verb::Stats { folder } => stats(&folder),
            Verb::Backup { folder, to } => backup(&folder, &to),
        }
    }
}

fn check(folder: &Folder) -> anyhow::Result<Exit> {
    let dir = folder.dir();
    let bar = bar("checking");
    let found = sqlite::check(&dir, &mut |done, all| show(&bar, done, all));
    bar.finish_and_clear();
    let report = found.map_err(|error| no_log(&error, &dir))?;
    if folder.json {
        output::json(&report)?;
    } else {
        print(&report);
    }
    if report.is_whole() {
        return Ok(Exit::Done);
    }
    let (what, dir) = (format!("{} problems in `{}`", report.problem_count, report.path), dir.display());
    Err(Failure::no(what, format!("cp -a {dir} {dir}-damaged   # keep a copy, then put the last backup in its place")))
}

fn print(report: &CheckReport) {
    let CheckReport { path, events, streams, position, .. } = report;
    output::line(format_args!("{path}: {events} events in {streams} streams, up to position {position}"));
    if report.is_whole() {
        output::toned(Tone::Good, "whole: every checksum, chain link and version fits");
        return;
    }
    let mut table = Table::new(&[">position", "problem"]);
    for problem in &report.problems {
        let at = if problem.position == Position::START { "-".to_owned() } else { problem.position.to_string() };
        table.row(Tone::Bad, [at, problem.what.clone()]);
    }
    table.print();
    let unnamed = report.problem_count.saturating_sub(report.problems.len() as u64);
    if unnamed > 0 {
        output::line(format_args!("and {unnamed} more"));
    }
}

fn stats(folder: &Folder) -> anyhow::Result<Exit> {
    let dir = folder.dir();
    let stats = sqlite::stats(&dir).map_err(|error| no_log(&error, &dir))?;
    if folder.json {
        output::json(&stats)?;
        return Ok(Exit::Done);
    }
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

fn backup(folder: &Folder, to: &Path) -> anyhow::Result<Exit> {
    let dir = folder.dir();
    let bar = bar("copying");
    let made = sqlite::backup(&dir, to, Until::Now, &mut |step, done, all| {
        bar.set_message(match step {
            BackupStep::Copying => "copying pages",
            BackupStep::Verifying => "verifying events",
        });
        show(&bar, done, all);
    });
    bar.finish_and_clear();
    let report = made.map_err(|error| match &error {
        BackupError::Source(cause) => no_log(cause, &dir),
        BackupError::Exists(_) => Failure::no(error, "backstitch store backup NEW-FOLDER"),
        BackupError::Unwritable { .. } => {
            Failure::no_answer(error, format!("df -h {}", to.parent().unwrap_or(Path::new(".")).display()))
        }
        BackupError::Log(_) | BackupError::Nothing(_) | BackupError::Damaged(_) => {
            Failure::no(error, format!("backstitch store check --data {}", dir.display()))
        }
    })?;
    if folder.json {
        output::json(&report)?;
    } else {
        output::line(format_args!(
            "{}: {} events, up to position {}, verified",
            report.folder, report.report.events, report.report.position
        ));
    }
    Ok(Exit::Done)
}

fn no_log(error: &OpenError, dir: &Path) -> anyhow::Error {
    Failure::no_answer(
        error,
        format!("ls -l {}   # the folder that `serve` names; --data names another", dir.display()),
    )
}

/// A bar on stderr; none where stderr is no terminal.
fn bar(what: &'static str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::with_draw_target(Some(0), target).with_message(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar, // The template is ours and right; the default bar would do as well.
    }
}

fn show(bar: &ProgressBar, done: u64, all: u64) {
    bar.set_length(all);
    bar.set_position(done);
}
