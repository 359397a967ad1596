//! `backstitch store backup|export|import`: the log at another place, or as text, and back.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use event_store::Position;
use event_store::sqlite::{self, BackupError, BackupStep, ExportFileError, ImportError, LoadError, Range};
use terminal::progress::{bar, show};
use terminal::{Exit, Failure, output};

use super::place::Log;
use super::{Folder, no_log};

/// Bytes read at once from an export.
const BUFFER: usize = 1 << 20;

/// Where a backup ends.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(super) struct Until {
    /// Up to this position of the log, or the last one before it that cuts no append in two.
    #[arg(long, value_name = "N")]
    to_position: Option<u64>,
    /// What was written up to this moment, such as 2026-11-21T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,
}

/// What to export, and where to.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Export {
    /// The new file; `-`: stdout.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// From this position on (only an export that begins at 1 can be imported).
    #[arg(long, value_name = "N")]
    from_position: Option<u64>,
    /// Up to this position [default: the last one when the export begins].
    #[arg(long, value_name = "N")]
    to_position: Option<u64>,
    /// Go on with the file that an interrupted export left.
    #[arg(long)]
    resume: bool,
}

pub(super) async fn backup(log: &Log, to: &Path, until: &Until) -> anyhow::Result<Exit> {
    let dir = log.dir().await?;
    let bar = bar("copying");
    let until = match (until.to_position, until.at) {
        (Some(position), _) => sqlite::Until::Position(Position(position)),
        (None, Some(moment)) => sqlite::Until::Moment(moment),
        (None, None) => sqlite::Until::Now,
    };
    let made = sqlite::backup(&dir, to, until, &mut |step, done, all| {
        bar.set_message(match step {
            BackupStep::Copying => "copying events",
            BackupStep::Verifying => "verifying events",
        });
        show(&bar, done, all);
    });
    bar.finish_and_clear();
    let made = made.map_err(|error| no_backup(&error, &dir, to))?;
    if log.json {
        output::json(&made)?;
        return Ok(Exit::Done);
    }
    let written = made.last_recorded_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let (events, position, last) = (made.report.events, made.report.position, made.log_position);
    let of = if position == last { String::new() } else { format!(" of {last}") };
    let written = written.map(|at| format!(", the last written {at}")).unwrap_or_default();
    output::line(format_args!("{}: {events} events, up to position {position}{of}{written}, verified", made.folder));
    Ok(Exit::Done)
}

fn no_backup(error: &BackupError, dir: &Path, to: &Path) -> anyhow::Error {
    let check = format!("backstitch store check --data {}", dir.display());
    match error {
        BackupError::Source(cause) => no_log(cause, dir),
        BackupError::Log(_) | BackupError::Damaged(_) => Failure::no(error, check),
        BackupError::Exists(_) => Failure::no(error, "backstitch store backup NEW-FOLDER"),
        BackupError::Nothing(_) => Failure::no(error, format!("backstitch store stats --data {}", dir.display())),
        BackupError::Unwritable { .. } => Failure::no_answer(error, format!("df -h {}", folder_of(to).display())),
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) async fn export(log: &Log, what: &Export) -> anyhow::Result<Exit> {
    let dir = log.dir().await?;
    let range = Range { from: what.from_position.map(Position), to: what.to_position.map(Position) };
    let to_stdout = what.to == Path::new("-");
    if to_stdout && what.resume {
        return Err(Failure::no_answer("stdout cannot be resumed", "backstitch store export --to FILE --resume"));
    }
    let bar = bar("exporting");
    let mut progress = |done, all| show(&bar, done, all);
    let made = if to_stdout {
        sqlite::export_to(&dir, std::io::stdout().lock(), range, &mut progress)
    } else {
        sqlite::export(&dir, &what.to, range, what.resume, &mut progress)
    };
    bar.finish_and_clear();
    let made = made.map_err(|error| no_export(&error, &dir, &what.to))?;
    if to_stdout {
        return Ok(Exit::Done);
    }
    if log.json {
        output::json(&made)?;
        return Ok(Exit::Done);
    }
    let resumed = if made.resumed > 0 { format!(", {} of them left by before", made.resumed) } else { String::new() };
    let (events, from, to) = (made.events, made.first_position, made.position);
    output::line(format_args!("{}: {events} events, positions {from} to {to}{resumed}", made.path));
    Ok(Exit::Done)
}

fn no_export(error: &ExportFileError, dir: &Path, to: &Path) -> anyhow::Error {
    let (check, to) = (format!("backstitch store check --data {}", dir.display()), to.display());
    match error {
        ExportFileError::Source(cause) => no_log(cause, dir),
        ExportFileError::Log(_) => Failure::no(error, check),
        ExportFileError::Exists(_) => Failure::no(error, "backstitch store export --to NEW-FILE"),
        ExportFileError::Interrupted(draft) => {
            Failure::no(error, format!("backstitch store export --to {to} --resume   # or: rm {}", draft.display()))
        }
        ExportFileError::NotResumable { path, .. } => {
            Failure::no(error, format!("rm {}   # then export again", path.display()))
        }
        ExportFileError::Nothing { .. } => {
            Failure::no(error, format!("backstitch store stats --data {}", dir.display()))
        }
        ExportFileError::Unwritable { path, .. } => Failure::no_answer(
            error,
            format!("df -h {}   # then: backstitch store export --to {to} --resume", folder_of(path).display()),
        ),
    }
}

pub(super) fn import(folder: &Folder, file: &Path) -> anyhow::Result<Exit> {
    let dir = folder.dir();
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = File::open(file)
            .map_err(|error| Failure::no_answer(format!("`{}` cannot be read: {error}", file.display()), "ls -l ."))?;
        Box::new(BufReader::with_capacity(BUFFER, opened))
    };
    let bar = bar("importing");
    let made = sqlite::import(input, &dir, &mut |done, all| show(&bar, done, all));
    bar.finish_and_clear();
    let made = made.map_err(|error| no_import(&error, &dir, file))?;
    if folder.json {
        output::json(&made)?;
        return Ok(Exit::Done);
    }
    let there = if made.there > 0 { format!(", {} were there already", made.there) } else { String::new() };
    let beyond =
        if made.head > made.position { format!("; the log there goes on to {}", made.head) } else { String::new() };
    output::line(format_args!(
        "{}: {} events imported{there}, up to position {}{beyond}",
        made.path, made.events, made.position
    ));
    Ok(Exit::Done)
}

fn no_import(error: &ImportError, dir: &Path, file: &Path) -> anyhow::Error {
    let (folder, file) = (dir.display(), file.display());
    let again = format!("backstitch store import {file} --data {folder}   # continues where it stopped");
    match error {
        ImportError::File { .. } => Failure::no(
            format!("`{file}`: {error}"),
            format!(
                "backstitch store import WHOLE-FILE --data {folder}   # goes on there, with a whole export of the same log"
            ),
        ),
        ImportError::NotFromTheStart(_) => {
            Failure::no(format!("`{file}`: {error}"), "backstitch store export --to FILE   # without --from-position")
        }
        ImportError::AnotherLog { .. } => {
            Failure::no(error, format!("backstitch store import {file} --data {folder}-2"))
        }
        ImportError::Unreadable(_) => Failure::no(error, format!("backstitch store check --data {folder}")),
        ImportError::Open(cause) | ImportError::Load { error: LoadError::Open(cause), .. } => no_log(cause, dir),
        ImportError::Load { error: LoadError::Refused(_), .. } => {
            Failure::no(format!("`{file}`: {error}"), "the file was not made by `store export`, or by another release")
        }
        ImportError::Load { error: LoadError::Unwritable { .. }, .. } => {
            Failure::no_answer(error, format!("df -h {folder}; then: {again}"))
        }
    }
}
